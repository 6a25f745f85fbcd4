// What each hypercall must do. One function a call, generated list; each says in order
//   - the reasons to refuse, of which the first that applies is the answer, and
//   - what changes otherwise. Everything that a function does not write stays as it was.
#pragma once
#include <horos/abi/gen/spec_calls.hpp>
