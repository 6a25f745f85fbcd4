// What a VMM must not ask for, on any processor.
#pragma once
#include "kernel.hpp"

namespace horos::proofs {

// A bit of a request's extra_exits that is not one of horos/abi/vcpu_state.hpp. 64 bits.
Term has_unknown_exits(Term asked);
// XSETBV would refuse it (SDM vol. 2D, XSETBV): x87 off, AVX without SSE; or the host (XCR0 as the
// boot code set it) has not all of it. 64 bits each.
Term is_wrong_xcr0(Term host, Term asked);

} // namespace horos::proofs
