// The VMRUN rules, each written once as a branch-free predicate over a value domain D.
//
// D supplies:
//   D::Bits   a 64-bit number with & | ^ ~ == != and construction from uint64_t by D::bits()
//   D::Bool   a truth value with & | !
//   D::ult(a, b), D::shift_right(a, b), D::select(condition, a, b)
// Concrete (horos/model/domain.hpp) makes the rule executable; the Z3 domain in src/symbolic.hpp
// makes it a formula. A rule is true when the state is legal.
//
// Sections are of the AMD64 APM vol. 2, rev. 3.42.
#pragma once

#include "horos/defs/svm.hpp"
#include "horos/defs/x86.hpp"
#include "horos/model/domain.hpp"
#include "horos/model/svm/rules.hpp"

namespace horos::model::svm {

template <class D>
struct RuleInputs {
    std::array<typename D::Bits, RULE_FIELD_COUNT> value;
    const typename D::Bits& operator[](RuleField f) const { return value[static_cast<size_t>(f)]; }
    typename D::Bits& operator[](RuleField f) { return value[static_cast<size_t>(f)]; }
};

namespace predicates {

namespace ctl = horos::svm;
using F = RuleField;

template <class D>
typename D::Bool has(const typename D::Bits& x, uint64_t mask) {
    return (x & D::bits(mask)) != D::bits(0);
}
template <class D>
typename D::Bool none(const typename D::Bits& x, uint64_t mask) {
    return (x & D::bits(mask)) == D::bits(0);
}
template <class Bool>
Bool implies(const Bool& a, const Bool& b) {
    return !a | b;
}

inline constexpr uint64_t PAGE_OFFSET = 0xfff;
inline constexpr uint64_t ABOVE_52_BITS = 0xfff0000000000000ull;
inline constexpr uint64_t SYSCFG_MEM_ENCRYPTION = 1ull << 23;
inline constexpr uint64_t HWCR_SMMLOCK = 1ull << 0;
inline constexpr uint64_t U_CET_SHADOW_STACK = 1ull << 0;

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

} // namespace predicates

// The predicate of a rule, in any domain.
template <class D>
typename D::Bool evaluate_rule(RuleId id, const RuleInputs<D>& s, const Params& p) {
    using namespace predicates;
    switch (id) {
    case RuleId::NONE:
        return D::truth(true);
    case RuleId::INSN_SVME:
        return insn_svme<D>(s, p);
    case RuleId::INSN_PROTECTED_MODE:
        return insn_protected_mode<D>(s, p);
    case RuleId::INSN_CPL0:
        return insn_cpl0<D>(s, p);
    case RuleId::INSN_RAX_ALIGNED:
        return insn_rax_aligned<D>(s, p);
    case RuleId::INSN_RAX_PHYS:
        return insn_rax_phys<D>(s, p);
    case RuleId::INSN_HSAVE_SET:
        return insn_hsave_set<D>(s, p);
    case RuleId::CTL_VMRUN_INTERCEPT:
        return ctl_vmrun_intercept<D>(s, p);
    case RuleId::CTL_ASID:
        return ctl_asid<D>(s, p);
    case RuleId::CTL_ASID_RANGE:
        return ctl_asid_range<D>(s, p);
    case RuleId::CTL_IOPM_RANGE:
        return ctl_iopm_range<D>(s, p);
    case RuleId::CTL_MSRPM_RANGE:
        return ctl_msrpm_range<D>(s, p);
    case RuleId::CTL_NP_HOST_PAGING:
        return ctl_np_host_paging<D>(s, p);
    case RuleId::CTL_NP_NCR3_MBZ:
        return ctl_np_ncr3_mbz<D>(s, p);
    case RuleId::CTL_NP_NCR3_PHYS:
        return ctl_np_ncr3_phys<D>(s, p);
    case RuleId::CTL_NP_GPAT:
        return ctl_np_gpat<D>(s, p);
    case RuleId::CTL_EVENT_TYPE:
        return ctl_event_type<D>(s, p);
    case RuleId::CTL_EVENT_VECTOR:
        return ctl_event_vector<D>(s, p);
    case RuleId::CTL_EVENT_VECTOR_FEATURE:
        return ctl_event_vector_feature<D>(s, p);
    case RuleId::CTL_EVENT_MODE:
        return ctl_event_mode<D>(s, p);
    case RuleId::CTL_EVENT_MODE_OF:
        return ctl_event_mode_of<D>(s, p);
    case RuleId::CTL_VNMI_NMI_INTERCEPT:
        return ctl_vnmi_nmi_intercept<D>(s, p);
    case RuleId::CTL_AVIC_ADDRESSES:
        return ctl_avic_addresses<D>(s, p);
    case RuleId::CTL_X2AVIC_AVIC:
        return ctl_x2avic_avic<D>(s, p);
    case RuleId::CTL_AVIC_MAX_INDEX:
        return ctl_avic_max_index<D>(s, p);
    case RuleId::CTL_SEV_NP:
        return ctl_sev_np<D>(s, p);
    case RuleId::CTL_SEV_SMMLOCK:
        return ctl_sev_smmlock<D>(s, p);
    case RuleId::CTL_SEV_ASID:
        return ctl_sev_asid<D>(s, p);
    case RuleId::CTL_SEV_64BIT_HOST:
        return ctl_sev_64bit_host<D>(s, p);
    case RuleId::SAVE_EFER_SVME:
        return save_efer_svme<D>(s, p);
    case RuleId::SAVE_EFER_MBZ:
        return save_efer_mbz<D>(s, p);
    case RuleId::SAVE_EFER_LONG_MODE:
        return save_efer_long_mode<D>(s, p);
    case RuleId::SAVE_CR0_CD_NW:
        return save_cr0_cd_nw<D>(s, p);
    case RuleId::SAVE_CR0_HIGH:
        return save_cr0_high<D>(s, p);
    case RuleId::SAVE_CR3_MBZ:
        return save_cr3_mbz<D>(s, p);
    case RuleId::SAVE_CR3_PHYS:
        return save_cr3_phys<D>(s, p);
    case RuleId::SAVE_CR4_MBZ:
        return save_cr4_mbz<D>(s, p);
    case RuleId::SAVE_DR6_HIGH:
        return save_dr6_high<D>(s, p);
    case RuleId::SAVE_DR7_HIGH:
        return save_dr7_high<D>(s, p);
    case RuleId::SAVE_LME_PG_PAE:
        return save_lme_pg_pae<D>(s, p);
    case RuleId::SAVE_LME_PG_PE:
        return save_lme_pg_pe<D>(s, p);
    case RuleId::SAVE_CS_L_D:
        return save_cs_l_d<D>(s, p);
    case RuleId::SAVE_CR4_CET_WP:
        return save_cr4_cet_wp<D>(s, p);
    case RuleId::SAVE_S_CET_MBZ:
        return save_s_cet_mbz<D>(s, p);
    case RuleId::SAVE_CET_SS_VM:
        return save_cet_ss_vm<D>(s, p);
    case RuleId::SAVE_PAE_PDPES:
        return save_pae_pdpes<D>(s, p);
    }
    return D::truth(true);
}

} // namespace horos::model::svm
