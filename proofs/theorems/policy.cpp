#include "policy.hpp"

#include <horos/abi/vcpu_state.hpp>
#include <horos/defs/x86.hpp>

namespace horos::proofs {

Term has_unknown_exits(Term asked) {
    namespace extra = abi::extra_exit;
    constexpr uint64_t all = extra::pause | extra::rdtsc | extra::cr0_write | extra::cr3_write |
                             extra::cr4_write | extra::cr8 | extra::dr_access | extra::invlpg |
                             extra::descriptor_access;
    return lnot(eq(band(asked, num(64, ~all)), num(64, 0)));
}

Term is_wrong_xcr0(Term host, Term asked) {
    const auto has = [&](uint64_t bits) {
        return lnot(eq(band(asked, num(64, bits)), num(64, 0)));
    };
    const Term offered = bor(host, num(64, x86::xcr0::X87));
    const Term beyond = lnot(eq(band(asked, bxor(offered, num(64, ~uint64_t{0}))), num(64, 0)));
    return lor(
        {lnot(has(x86::xcr0::X87)), land(has(x86::xcr0::AVX), lnot(has(x86::xcr0::SSE))), beyond});
}

} // namespace horos::proofs
