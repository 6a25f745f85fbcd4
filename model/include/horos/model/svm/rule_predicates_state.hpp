// The rules of the VMCB's state-save area.
#pragma once

#include "horos/model/svm/rule_predicates_control.hpp"

namespace horos::model::svm::predicates {

// ---- state-save area (§15.5.1, "Canonicalization and Consistency Checks") ----

template <class D>
typename D::Bool save_efer_svme(const RuleInputs<D>& s, const Params&) {
    return has<D>(s[F::EFER], x86::efer::SVME);
}
template <class D>
typename D::Bool save_efer_mbz(const RuleInputs<D>& s, const Params& p) {
    return none<D>(s[F::EFER], p.efer_mbz);
}
template <class D>
typename D::Bool save_efer_long_mode(const RuleInputs<D>& s, const Params& p) {
    return D::truth(p.long_mode) | none<D>(s[F::EFER], x86::efer::LME | x86::efer::LMA);
}
template <class D>
typename D::Bool save_cr0_cd_nw(const RuleInputs<D>& s, const Params&) {
    return has<D>(s[F::CR0], x86::cr0::CD) | none<D>(s[F::CR0], x86::cr0::NW);
}
template <class D>
typename D::Bool save_cr0_high(const RuleInputs<D>& s, const Params&) {
    return none<D>(s[F::CR0], x86::cr0::MBZ_HIGH);
}
template <class D>
typename D::Bool save_cr3_mbz(const RuleInputs<D>& s, const Params&) {
    return implies(guest_lme_pg<D>(s), none<D>(s[F::CR3], ABOVE_52_BITS));
}
template <class D>
typename D::Bool save_cr3_phys(const RuleInputs<D>& s, const Params& p) {
    const auto long_mode = guest_lme_pg<D>(s);
    const auto low = D::ult(s[F::CR3] & D::bits(x86::cr3::ADDR_4K_MASK), D::bits(p.physical_limit));
    return implies(long_mode, low) & (long_mode | none<D>(s[F::CR3], 0xffffffff00000000ull));
}
template <class D>
typename D::Bool save_cr4_mbz(const RuleInputs<D>& s, const Params& p) {
    return none<D>(s[F::CR4], p.cr4_mbz);
}
template <class D>
typename D::Bool save_dr6_high(const RuleInputs<D>& s, const Params&) {
    return none<D>(s[F::DR6], x86::dr6::MBZ_HIGH);
}
template <class D>
typename D::Bool save_dr7_high(const RuleInputs<D>& s, const Params&) {
    return none<D>(s[F::DR7], x86::dr7::MBZ_HIGH);
}
template <class D>
typename D::Bool save_lme_pg_pae(const RuleInputs<D>& s, const Params&) {
    return implies(guest_lme_pg<D>(s), has<D>(s[F::CR4], x86::cr4::PAE));
}
template <class D>
typename D::Bool save_lme_pg_pe(const RuleInputs<D>& s, const Params&) {
    return implies(guest_lme_pg<D>(s), has<D>(s[F::CR0], x86::cr0::PE));
}
template <class D>
typename D::Bool save_cs_l_d(const RuleInputs<D>& s, const Params&) {
    return implies(guest_64bit<D>(s) & has<D>(s[F::CR4], x86::cr4::PAE),
                   none<D>(s[F::CS_ATTRIBUTES], x86::seg::DB));
}
template <class D>
typename D::Bool save_cr4_cet_wp(const RuleInputs<D>& s, const Params& p) {
    return implies(D::truth(p.cet) & has<D>(s[F::CR4], x86::cr4::CET),
                   has<D>(s[F::CR0], x86::cr0::WP));
}
template <class D>
typename D::Bool save_s_cet_mbz(const RuleInputs<D>& s, const Params& p) {
    return implies(D::truth(p.cet), none<D>(s[F::S_CET], p.s_cet_mbz));
}
template <class D>
typename D::Bool save_cet_ss_vm(const RuleInputs<D>& s, const Params& p) {
    return implies(D::truth(p.cet) & has<D>(s[F::CR4], x86::cr4::CET) &
                       has<D>(s[F::HOST_U_CET], U_CET_SHADOW_STACK),
                   none<D>(s[F::RFLAGS], x86::rflags::VM));
}
// Legacy PAE without nested paging: VMRUN reads the four PDPEs (§15.5.1, §5.3.3 for their form).
template <class D>
typename D::Bool reads_pdpes(const RuleInputs<D>& s, const Params& p) {
    return has<D>(s[F::CR0], x86::cr0::PG) & has<D>(s[F::CR4], x86::cr4::PAE) &
           none<D>(s[F::EFER], x86::efer::LME) & !nested_paging<D>(s, p);
}
inline constexpr uint64_t PAE_PDPE_RESERVED = ABOVE_52_BITS | 0x1e6;
template <class D>
typename D::Bool pdpe_valid(const typename D::Bits& pdpe, const Params& p) {
    const uint64_t beyond = ~(p.physical_limit - 1) & x86::pte::ADDR;
    return none<D>(pdpe, x86::pte::P) | none<D>(pdpe, PAE_PDPE_RESERVED | beyond);
}
template <class D>
typename D::Bool save_pae_pdpes(const RuleInputs<D>& s, const Params& p) {
    return implies(reads_pdpes<D>(s, p),
                   pdpe_valid<D>(s[F::PDPE0], p) & pdpe_valid<D>(s[F::PDPE1], p) &
                       pdpe_valid<D>(s[F::PDPE2], p) & pdpe_valid<D>(s[F::PDPE3], p));
}

} // namespace horos::model::svm::predicates
