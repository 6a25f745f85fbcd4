// The model's value domain over the prover's terms: what makes its rules formulas about the memory
// of the kernel.
#pragma once
#include "proofs/engine/terms.hpp"

namespace horos::proofs {

struct TermDomain {
    struct Bool {
        Term t = nullptr;
        friend Bool operator&(const Bool& a, const Bool& b) { return {land(a.t, b.t)}; }
        friend Bool operator|(const Bool& a, const Bool& b) { return {lor(a.t, b.t)}; }
        friend Bool operator!(const Bool& a) { return {lnot(a.t)}; }
    };
    struct Bits { // 64 wide
        Term t = nullptr;
        friend Bits operator&(const Bits& a, const Bits& b) { return {band(a.t, b.t)}; }
        friend Bits operator|(const Bits& a, const Bits& b) { return {bor(a.t, b.t)}; }
        friend Bits operator^(const Bits& a, const Bits& b) { return {bxor(a.t, b.t)}; }
        friend Bits operator~(const Bits& a) { return {bxor(a.t, num(64, ~uint64_t{0}))}; }
        friend Bool operator==(const Bits& a, const Bits& b) { return {eq(a.t, b.t)}; }
        friend Bool operator!=(const Bits& a, const Bits& b) { return {lnot(eq(a.t, b.t))}; }
    };
    static Bits bits(uint64_t value) { return {num(64, value)}; }
    static Bool truth(bool value) { return {proofs::truth(value)}; }
    static Bool ult(const Bits& a, const Bits& b) { return {proofs::ult(a.t, b.t)}; }
    static Bits shift_right(const Bits& a, const Bits& b) { return {lshr(a.t, b.t)}; }
    static Bits shift_left(const Bits& a, const Bits& b) { return {shl(a.t, b.t)}; }
    static Bits add(const Bits& a, const Bits& b) { return {proofs::add(a.t, b.t)}; }
    static Bits select(const Bool& c, const Bits& a, const Bits& b) { return {ite(c.t, a.t, b.t)}; }
};

} // namespace horos::proofs
