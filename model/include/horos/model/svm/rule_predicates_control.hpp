// The rules of the VMRUN instruction and of the VMCB's control area.
#pragma once

#include "horos/model/svm/rule_domain.hpp"

namespace horos::model::svm::predicates {

// ---- the instruction (§15.5.1; vol. 3 "VMRUN") ----

template <class D>
typename D::Bool insn_svme(const RuleInputs<D>& s, const Params&) {
    return has<D>(s[F::HOST_EFER], x86::efer::SVME);
}
template <class D>
typename D::Bool insn_protected_mode(const RuleInputs<D>& s, const Params&) {
    return has<D>(s[F::HOST_CR0], x86::cr0::PE) & none<D>(s[F::HOST_RFLAGS], x86::rflags::VM);
}
template <class D>
typename D::Bool insn_cpl0(const RuleInputs<D>& s, const Params&) {
    return none<D>(s[F::HOST_CPL], 3);
}
template <class D>
typename D::Bool insn_rax_aligned(const RuleInputs<D>& s, const Params&) {
    return none<D>(s[F::RAX], PAGE_OFFSET);
}
template <class D>
typename D::Bool insn_rax_phys(const RuleInputs<D>& s, const Params& p) {
    return D::ult(s[F::RAX], D::bits(p.physical_limit));
}
template <class D>
typename D::Bool insn_hsave_set(const RuleInputs<D>& s, const Params&) {
    return s[F::HOST_VM_HSAVE_PA] != D::bits(0);
}

// ---- control area ----

template <class D>
typename D::Bool ctl_vmrun_intercept(const RuleInputs<D>& s, const Params&) {
    return has<D>(s[F::INTERCEPT_MISC2], bit(ctl::Misc2::VMRUN));
}
template <class D>
typename D::Bool ctl_asid(const RuleInputs<D>& s, const Params&) {
    return s[F::GUEST_ASID] != D::bits(0);
}
template <class D>
typename D::Bool ctl_asid_range(const RuleInputs<D>& s, const Params& p) {
    return D::ult(s[F::GUEST_ASID], D::bits(p.asid_count));
}
// A map of `bytes` at `base` (low 12 bits ignored) ends below the physical limit.
template <class D>
typename D::Bool map_in_range(const typename D::Bits& base, uint64_t bytes, const Params& p) {
    return D::ult(base & ~D::bits(PAGE_OFFSET), D::bits(p.physical_limit - bytes + 1));
}
template <class D>
typename D::Bool ctl_iopm_range(const RuleInputs<D>& s, const Params& p) {
    return map_in_range<D>(s[F::IOPM_BASE_PA], ctl::IOPM_BYTES, p);
}
template <class D>
typename D::Bool ctl_msrpm_range(const RuleInputs<D>& s, const Params& p) {
    return map_in_range<D>(s[F::MSRPM_BASE_PA], ctl::MSRPM_BYTES, p);
}

template <class D>
typename D::Bool nested_paging(const RuleInputs<D>& s, const Params& p) {
    return has<D>(s[F::NESTED_CTL], ctl::nested_ctl::NP_ENABLE) & D::truth(p.nested_paging);
}
template <class D>
typename D::Bool ctl_np_host_paging(const RuleInputs<D>& s, const Params& p) {
    return implies(nested_paging<D>(s, p), has<D>(s[F::HOST_CR0], x86::cr0::PG));
}
template <class D>
typename D::Bool host_long_mode(const RuleInputs<D>& s) {
    return has<D>(s[F::HOST_EFER], x86::efer::LMA);
}
template <class D>
typename D::Bool ctl_np_ncr3_mbz(const RuleInputs<D>& s, const Params& p) {
    return implies(nested_paging<D>(s, p) & host_long_mode<D>(s),
                   none<D>(s[F::NESTED_CR3], ABOVE_52_BITS));
}
template <class D>
typename D::Bool ctl_np_ncr3_phys(const RuleInputs<D>& s, const Params& p) {
    return implies(
        nested_paging<D>(s, p) & host_long_mode<D>(s),
        D::ult(s[F::NESTED_CR3] & D::bits(x86::cr3::ADDR_4K_MASK), D::bits(p.physical_limit)));
}
// Each byte is 0, 1, 4, 5, 6 or 7: no bit above 2, and bit 1 only with bit 2 (§7.8.1).
template <class D>
typename D::Bool pat_valid(const typename D::Bits& pat) {
    constexpr uint64_t EACH = 0x0101010101010101ull;
    const auto bit1 = D::shift_right(pat, D::bits(1)) & D::bits(EACH);
    const auto bit2 = D::shift_right(pat, D::bits(2)) & D::bits(EACH);
    return none<D>(pat, EACH * 0xf8) & ((bit1 & ~bit2) == D::bits(0));
}
template <class D>
typename D::Bool ctl_np_gpat(const RuleInputs<D>& s, const Params& p) {
    return implies(nested_paging<D>(s, p), pat_valid<D>(s[F::G_PAT]));
}

template <class D>
typename D::Bits event_type(const RuleInputs<D>& s) {
    return D::shift_right(s[F::EVENT_INJ], D::bits(ctl::event::TYPE_SHIFT)) & D::bits(7);
}
template <class D>
typename D::Bool event_valid(const RuleInputs<D>& s) {
    return has<D>(s[F::EVENT_INJ], ctl::event::VALID);
}
template <class D>
typename D::Bool event_is_exception(const RuleInputs<D>& s) {
    return event_valid<D>(s) &
           (event_type<D>(s) == D::bits(static_cast<uint64_t>(ctl::EventType::EXCEPTION)));
}
// Membership of the event's vector in a set of the vectors 0..31.
template <class D>
typename D::Bool vector_in(const RuleInputs<D>& s, uint32_t set) {
    const auto vector = s[F::EVENT_INJ] & D::bits(ctl::event::VECTOR);
    return has<D>(D::shift_right(D::bits(set), vector), 1);
}
template <class D>
typename D::Bool ctl_event_type(const RuleInputs<D>& s, const Params&) {
    constexpr uint64_t LEGAL = (1u << 0) | (1u << 2) | (1u << 3) | (1u << 4);
    return implies(event_valid<D>(s), has<D>(D::shift_right(D::bits(LEGAL), event_type<D>(s)), 1));
}
// Vectors of table 8-1 that name an exception on some AMD64 part.
inline constexpr uint32_t EXCEPTION_VECTORS =
    0x000003fb | (0x1fu << 10) | (0xfu << 16) | (1u << 21) | (7u << 28);
// Of those, the ones that depend on the part: 9 never raised, 21 #CP (CET), 28 #HV and 29 #VC
// (SEV).
template <class D>
typename D::Bool ctl_event_vector(const RuleInputs<D>& s, const Params&) {
    return implies(event_is_exception<D>(s), vector_in<D>(s, EXCEPTION_VECTORS));
}
inline uint32_t absent_exceptions(const Params& p) {
    return (1u << 9) | (p.cet ? 0 : 1u << 21) | (p.sev ? 0 : 3u << 28);
}
template <class D>
typename D::Bool ctl_event_vector_feature(const RuleInputs<D>& s, const Params& p) {
    return implies(event_is_exception<D>(s), !vector_in<D>(s, absent_exceptions(p)));
}
template <class D>
typename D::Bool guest_lme_pg(const RuleInputs<D>& s) {
    return has<D>(s[F::EFER], x86::efer::LME) & has<D>(s[F::CR0], x86::cr0::PG);
}
template <class D>
typename D::Bool guest_64bit(const RuleInputs<D>& s) {
    return guest_lme_pg<D>(s) & has<D>(s[F::CS_ATTRIBUTES], x86::seg::L);
}
template <class D>
typename D::Bool ctl_event_mode(const RuleInputs<D>& s, const Params&) {
    return implies(event_is_exception<D>(s) & guest_64bit<D>(s), !vector_in<D>(s, 1u << 5));
}
template <class D>
typename D::Bool ctl_event_mode_of(const RuleInputs<D>& s, const Params&) {
    return implies(event_is_exception<D>(s) & guest_64bit<D>(s), !vector_in<D>(s, 1u << 4));
}

template <class D>
typename D::Bool ctl_vnmi_nmi_intercept(const RuleInputs<D>& s, const Params& p) {
    return implies(D::truth(p.vnmi) & has<D>(s[F::INT_CTL], ctl::int_ctl::V_NMI_ENABLE),
                   has<D>(s[F::INTERCEPT_MISC1], bit(ctl::Misc1::NMI)));
}
template <class D>
typename D::Bool avic_enabled(const RuleInputs<D>& s, const Params& p) {
    return D::truth(p.avic) & has<D>(s[F::INT_CTL], ctl::int_ctl::AVIC_ENABLE);
}
template <class D>
typename D::Bool x2avic_enabled(const RuleInputs<D>& s, const Params& p) {
    return D::truth(p.x2avic) & has<D>(s[F::INT_CTL], ctl::int_ctl::X2AVIC_ENABLE);
}
template <class D>
typename D::Bool page_in_range(const typename D::Bits& address, const Params& p) {
    return D::ult(address & ~D::bits(PAGE_OFFSET), D::bits(p.physical_limit));
}
template <class D>
typename D::Bool ctl_avic_addresses(const RuleInputs<D>& s, const Params& p) {
    const auto tables = page_in_range<D>(s[F::AVIC_BACKING_PAGE], p) &
                        page_in_range<D>(s[F::AVIC_PHYSICAL_TABLE], p);
    const auto logical = x2avic_enabled<D>(s, p) | page_in_range<D>(s[F::AVIC_LOGICAL_TABLE], p);
    return implies(avic_enabled<D>(s, p), tables & logical);
}
template <class D>
typename D::Bool ctl_x2avic_avic(const RuleInputs<D>& s, const Params& p) {
    return implies(x2avic_enabled<D>(s, p), has<D>(s[F::INT_CTL], ctl::int_ctl::AVIC_ENABLE));
}
template <class D>
typename D::Bool ctl_avic_max_index(const RuleInputs<D>& s, const Params& p) {
    const auto index = s[F::AVIC_PHYSICAL_TABLE] & D::bits(PAGE_OFFSET);
    const auto x2avic_ok = D::truth(p.x2avic_ext) | D::ult(index, D::bits(512));
    return implies(avic_enabled<D>(s, p),
                   (x2avic_enabled<D>(s, p) & x2avic_ok) | D::ult(index, D::bits(256)));
}

// SEV is only on with SYSCFG.MemEncryptionModEn; else its bit is ignored (§15.34.3).
template <class D>
typename D::Bool sev_enabled(const RuleInputs<D>& s, const Params& p) {
    return D::truth(p.sev) & has<D>(s[F::HOST_SYSCFG], SYSCFG_MEM_ENCRYPTION) &
           has<D>(s[F::NESTED_CTL], ctl::nested_ctl::SEV_ENABLE);
}
template <class D>
typename D::Bool ctl_sev_np(const RuleInputs<D>& s, const Params& p) {
    return implies(sev_enabled<D>(s, p), nested_paging<D>(s, p));
}
template <class D>
typename D::Bool ctl_sev_smmlock(const RuleInputs<D>& s, const Params& p) {
    return implies(sev_enabled<D>(s, p), has<D>(s[F::HOST_HWCR], HWCR_SMMLOCK));
}
template <class D>
typename D::Bool ctl_sev_asid(const RuleInputs<D>& s, const Params& p) {
    return implies(sev_enabled<D>(s, p), D::ult(s[F::GUEST_ASID], D::bits(p.sev_max_asid + 1)));
}
template <class D>
typename D::Bool ctl_sev_64bit_host(const RuleInputs<D>& s, const Params& p) {
    return implies(sev_enabled<D>(s, p) & D::truth(p.sev_needs_64bit_host), host_long_mode<D>(s));
}

} // namespace horos::model::svm::predicates
