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

#include "horos/model/svm/rule_predicates_control.hpp"
#include "horos/model/svm/rule_predicates_state.hpp"

namespace horos::model::svm {

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
