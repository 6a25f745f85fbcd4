// What a VMM asks for in the page that it shares with the kernel, as one execution reads it.
#pragma once
#include "entry_view.hpp"
#include "policy.hpp"
#include <horos/abi/vcpu_state.hpp>

namespace horos::proofs::entry {

// The execution does not read a field of the page exactly once: the VMM could change it in between,
// or nobody looks at what it asks for.
struct NotReadOnce : Unsupported {
    using Unsupported::Unsupported;
};

// The value that the execution found in a field of the page; it is read once. Null: it is not read.
Term found_in_page(const Step& step, size_t field);
Term read_of_page(const Step& step, size_t field); // it must be

} // namespace horos::proofs::entry
