// What the predicates are written with: the inputs in a value domain, the part, and short words.
#pragma once

#include "horos/model/domain.hpp"
#include "horos/model/vmx/rules.hpp"

namespace horos::model::vmx {

template <class D>
struct RuleInputs {
    std::array<typename D::Bits, INPUTS> value;
    const typename D::Bits& operator[](Field f) const { return value[input_of(f)]; }
    typename D::Bits& operator[](Field f) { return value[input_of(f)]; }
    const typename D::Bits& operator[](Extra e) const { return value[input_of(e)]; }
    typename D::Bits& operator[](Extra e) { return value[input_of(e)]; }
};

inline constexpr uint64_t PAGE_OFFSET = 0xfff;
inline constexpr uint64_t HIGH_HALF = 0xffffffff00000000ull;

template <class D>
struct View {
    using Bits = typename D::Bits;
    using Bool = typename D::Bool;

    const RuleInputs<D>& s;
    const Profile& p;

    template <class I>
    const Bits& operator[](I input) const {
        return s[input];
    }
    static Bool has(const Bits& x, uint64_t mask) { return (x & D::bits(mask)) != D::bits(0); }
    static Bool none(const Bits& x, uint64_t mask) { return (x & D::bits(mask)) == D::bits(0); }
    static Bool all(const Bits& x, uint64_t mask) { return (x & D::bits(mask)) == D::bits(mask); }
    static Bool is(const Bits& x, uint64_t value) { return x == D::bits(value); }
    static Bool implies(const Bool& a, const Bool& b) { return !a | b; }
    static Bool truth(bool value) { return D::truth(value); }
    static Bits field(const Bits& x, unsigned shift, uint64_t mask) {
        return D::shift_right(x, D::bits(shift)) & D::bits(mask);
    }
    // Membership of a number below 32 in a set.
    static Bool in(const Bits& n, uint32_t set) { return has(D::shift_right(D::bits(set), n), 1); }
    static Bool at_most(const Bits& a, const Bits& b) { return !D::ult(b, a); }

    // A control counts only where the part has it; where it has not, the reserved-bit rule speaks.
    Bool pin(uint32_t bit) const {
        return has(s[Field::PIN_CONTROLS], bit) & truth(p.pin.can(bit));
    }
    Bool proc(uint32_t bit) const {
        return has(s[Field::PROC_CONTROLS], bit) & truth(p.proc.can(bit));
    }
    Bool proc2(uint32_t bit) const {
        return has(s[Field::PROC_CONTROLS_2], bit) & truth(p.proc2.can(bit)) &
               proc(horos::vmx::proc::ACTIVATE_SECONDARY);
    }
    Bool exit(uint32_t bit) const {
        return has(s[Field::EXIT_CONTROLS], bit) & truth(p.exit.can(bit));
    }
    Bool entry(uint32_t bit) const {
        return has(s[Field::ENTRY_CONTROLS], bit) & truth(p.entry.can(bit));
    }

    uint64_t beyond_physical() const { return ~(p.physical_limit() - 1); }
    Bool address(const Bits& x, uint64_t low) const { return none(x, beyond_physical() | low); }
    uint64_t sign_bits() const { return ~((1ull << (p.linear_bits - 1)) - 1); }
    uint64_t beyond_linear() const { return ~((1ull << p.linear_bits) - 1); }
    Bool canonical(const Bits& x) const { return none(x, sign_bits()) | all(x, sign_bits()); }
    // Each byte is 0, 1, 4, 5, 6 or 7: no bit above 2, and bit 1 only with bit 2 (§11.12.2).
    static Bool pat_valid(const Bits& pat) {
        constexpr uint64_t EACH = 0x0101010101010101ull;
        const Bits bit1 = field(pat, 1, EACH);
        const Bits bit2 = field(pat, 2, EACH);
        return none(pat, EACH * 0xf8) & ((bit1 & ~bit2) == D::bits(0));
    }
    Bool fixed(const Bits& x, uint64_t must_be_1, uint64_t may_be_1) const {
        return all(x, must_be_1) & none(x, ~may_be_1);
    }
    // IA32_S_CET: 9:6 are reserved, 10 and 11 not both, bits 63:12 are a canonical address.
    Bool s_cet_valid(const Bits& x) const { return none(x, 0x3c0) & !all(x, 0xc00) & canonical(x); }

    // The mode of the guest to be.
    Bool ia32e_guest() const { return entry(horos::vmx::entry_ctl::IA32E_MODE_GUEST); }
    Bool v86() const { return has(s[Field::GUEST_RFLAGS], x86::rflags::VM); }
    Bool unrestricted() const { return proc2(horos::vmx::proc2::UNRESTRICTED_GUEST); }
    Bool ept() const { return proc2(horos::vmx::proc2::ENABLE_EPT); }
    Bool code64() const {
        return ia32e_guest() & has(s[Field::GUEST_CS_RIGHTS], horos::vmx::rights::L);
    }
    Bool pae_paging() const {
        return has(s[Field::GUEST_CR0], x86::cr0::PG) & has(s[Field::GUEST_CR4], x86::cr4::PAE) &
               !ia32e_guest();
    }
    // The event to be injected.
    Bool event() const {
        return has(s[Field::ENTRY_INTERRUPTION_INFO], horos::vmx::interruption::VALID);
    }
    Bits event_type() const {
        return field(s[Field::ENTRY_INTERRUPTION_INFO], horos::vmx::interruption::TYPE_SHIFT, 7);
    }
    Bits event_vector() const {
        return s[Field::ENTRY_INTERRUPTION_INFO] & D::bits(horos::vmx::interruption::VECTOR);
    }
    Bool event_is(horos::vmx::InterruptionType type) const {
        return event() & is(event_type(), static_cast<uint64_t>(type));
    }
};

} // namespace horos::model::vmx
