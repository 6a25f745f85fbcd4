// Which predicate is which rule's.
#pragma once

#include "horos/model/vmx/predicates_control.hpp"
#include "horos/model/vmx/predicates_guest.hpp"
#include "horos/model/vmx/predicates_host.hpp"
#include "horos/model/vmx/predicates_segment.hpp"

namespace horos::model::vmx {

template <class D>
typename D::Bool evaluate_rule(RuleId id, const RuleInputs<D>& inputs, const Profile& profile) {
    const View<D> v{inputs, profile};
    const auto between = [id](RuleId first, RuleId last) { return id >= first && id <= last; };
    namespace p = predicates;
    if (between(RuleId::INSN_VMX_OPERATION, RuleId::INSN_LAUNCHED)) {
        return p::instruction(id, v);
    }
    if (between(RuleId::VIRTUAL_APIC_ADDRESS, RuleId::TPR_THRESHOLD_VTPR) ||
        between(RuleId::APIC_ACCESS_ADDRESS, RuleId::POSTED_DESCRIPTOR)) {
        return p::apic(id, v);
    }
    if (between(RuleId::EPTP_MEMORY_TYPE, RuleId::EPTP_RESERVED)) {
        return p::eptp(id, v);
    }
    if (between(RuleId::PIN_RESERVED, RuleId::TSC_MULTIPLIER)) {
        return p::execution(id, v);
    }
    if (between(RuleId::EXIT_RESERVED, RuleId::EXIT_MSR_LOAD_END)) {
        return p::exit_controls(id, v);
    }
    if (between(RuleId::ENTRY_RESERVED, RuleId::EVENT_ERROR_CODE_15)) {
        return p::entry_controls(id, v);
    }
    if (between(RuleId::HOST_CR0, RuleId::HOST_PKRS)) {
        return p::host_registers(id, v);
    }
    if (between(RuleId::HOST_SELECTOR_BITS, RuleId::HOST_RIP)) {
        return p::host_segments(id, v);
    }
    if (horos::vmx::is_segment_rule(id)) {
        return p::segment(id, v);
    }
    if (between(RuleId::GUEST_GDTR_BASE, RuleId::GUEST_SSP)) {
        return p::guest_tables(id, v);
    }
    if (between(RuleId::ACTIVITY_VALUE, RuleId::ACTIVITY_EVENT_SIPI)) {
        return p::activity(id, v);
    }
    if (between(RuleId::BLOCKING_RESERVED, RuleId::BLOCKING_ENCLAVE)) {
        return p::blocking(id, v);
    }
    if (between(RuleId::PENDING_RESERVED, RuleId::PENDING_RTM)) {
        return p::pending(id, v);
    }
    if (between(RuleId::LINK_ADDRESS, RuleId::LINK_CURRENT)) {
        return p::link(id, v);
    }
    if (between(RuleId::PDPTE_FIELDS, RuleId::PDPTE_MEMORY)) {
        return p::pdptes(id, v);
    }
    const bool control = id == RuleId::GUEST_CR0 || id == RuleId::GUEST_CR0_PG_PE ||
                         id == RuleId::GUEST_CR4 || id == RuleId::GUEST_CET_WP ||
                         between(RuleId::GUEST_IA32E_PG, RuleId::GUEST_CR3);
    return control ? p::guest_control(id, v) : p::guest_msrs(id, v);
}

} // namespace horos::model::vmx
