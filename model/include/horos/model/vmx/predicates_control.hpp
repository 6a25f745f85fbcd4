// The rules on the VM-execution, VM-exit and VM-entry controls (SDM vol. 3C 325384-077US §26.2.1).
// A rule is true when the state is legal.
#pragma once

#include "horos/model/vmx/view.hpp"

namespace horos::model::vmx::predicates {

using namespace horos::vmx;
using F = Field;
using E = Extra;

// ---- the instruction (§26.1) ----

template <class D>
typename D::Bool instruction(RuleId id, const View<D>& v) {
    using V = View<D>;
    switch (id) {
    case RuleId::INSN_VMX_OPERATION:
        return V::has(v[E::VMX_OPERATION], 1);
    case RuleId::INSN_MODE:
        return V::has(v[E::CR0], x86::cr0::PE) & V::none(v[E::RFLAGS], x86::rflags::VM) &
               V::implies(V::has(v[E::EFER], x86::efer::LMA), V::has(v[E::CS_L], 1));
    case RuleId::INSN_CPL0:
        return V::none(v[E::CPL], 3);
    case RuleId::INSN_CURRENT_VMCS:
        return !V::is(v[E::CURRENT_VMCS], ~0ull);
    case RuleId::INSN_SHADOW_VMCS:
        return V::none(v[E::SHADOW_VMCS], 1);
    case RuleId::INSN_MOV_SS:
        return V::none(v[E::MOV_SS], 1);
    case RuleId::INSN_CLEAR:
        return V::has(v[E::VMRESUME], 1) | V::none(v[E::LAUNCHED], 1);
    default: // INSN_LAUNCHED
        return V::none(v[E::VMRESUME], 1) | V::has(v[E::LAUNCHED], 1);
    }
}

// ---- VM-execution controls (§26.2.1.1) ----

template <class D>
typename D::Bool within(const typename D::Bits& x, const Allowed& a) {
    return View<D>::all(x, a.zero) & View<D>::none(x, ~static_cast<uint64_t>(a.one));
}
template <class D>
typename D::Bool tertiary_reserved(const View<D>& v) {
    return v.implies(v.proc(proc::ACTIVATE_TERTIARY), v.none(v[F::PROC_CONTROLS_3], ~v.p.proc3));
}
template <class D>
typename D::Bool tpr_threshold_high(const View<D>& v) {
    return v.implies(v.proc(proc::USE_TPR_SHADOW) & !v.proc2(proc2::VIRTUAL_INTERRUPT_DELIVERY),
                     v.none(v[F::TPR_THRESHOLD], ~0xfull));
}
template <class D>
typename D::Bool tpr_threshold_vtpr(const View<D>& v) {
    return v.implies(v.proc(proc::USE_TPR_SHADOW) & !v.proc2(proc2::VIRTUALIZE_APIC_ACCESSES) &
                         !v.proc2(proc2::VIRTUAL_INTERRUPT_DELIVERY),
                     v.at_most(v[F::TPR_THRESHOLD] & D::bits(0xf), v.field(v[E::VTPR], 4, 0xf)));
}
// The controls that need a TPR shadow.
template <class D>
typename D::Bool needs_tpr_shadow(const View<D>& v, uint32_t control) {
    return v.implies(v.proc2(control), v.proc(proc::USE_TPR_SHADOW));
}
template <class D>
typename D::Bool posted(const View<D>& v, const typename D::Bool& condition) {
    return v.implies(v.pin(pin::POSTED_INTERRUPTS), condition);
}
template <class D>
typename D::Bool needs_ept(const View<D>& v, const typename D::Bool& wanting) {
    return v.implies(wanting, v.ept());
}
template <class D>
typename D::Bool eptp_memory_type(const View<D>& v) {
    const auto type = v[F::EPTP] & D::bits(eptp::MEMORY_TYPE);
    return (v.is(type, eptp::TYPE_UC) & v.truth((v.p.ept_vpid & ept_cap::TYPE_UC) != 0)) |
           (v.is(type, eptp::TYPE_WB) & v.truth((v.p.ept_vpid & ept_cap::TYPE_WB) != 0));
}
template <class D>
typename D::Bool eptp_walk(const View<D>& v) {
    const auto walk = v[F::EPTP] & D::bits(eptp::WALK);
    return (v.is(walk, eptp::WALK_4) & v.truth((v.p.ept_vpid & ept_cap::WALK_4) != 0)) |
           (v.is(walk, 4ull << eptp::WALK_SHIFT) & v.truth((v.p.ept_vpid & ept_cap::WALK_5) != 0));
}
template <class D>
typename D::Bool eptp_switching(const View<D>& v) {
    return v.proc2(proc2::ENABLE_VM_FUNCTIONS) &
           v.has(v[F::VM_FUNCTION_CONTROLS], vmfunc::EPTP_SWITCHING) &
           v.truth((v.p.vmfunc & vmfunc::EPTP_SWITCHING) != 0);
}

template <class D>
typename D::Bool eptp(RuleId id, const View<D>& v) {
    const uint64_t cap = v.p.ept_vpid;
    switch (id) {
    case RuleId::EPTP_MEMORY_TYPE:
        return v.implies(v.ept(), eptp_memory_type(v));
    case RuleId::EPTP_WALK:
        return v.implies(v.ept(), eptp_walk(v));
    case RuleId::EPTP_ACCESSED_DIRTY:
        return v.implies(v.ept() & v.truth((cap & ept_cap::ACCESSED_DIRTY) == 0),
                         v.none(v[F::EPTP], horos::vmx::eptp::ACCESSED_DIRTY));
    case RuleId::EPTP_SHADOW_STACK:
        return v.implies(v.ept() & v.truth((cap & ept_cap::SUPERVISOR_SHADOW_STACK) == 0),
                         v.none(v[F::EPTP], horos::vmx::eptp::SUPERVISOR_SHADOW_STACK));
    default: // EPTP_RESERVED
        return v.implies(v.ept(), v.address(v[F::EPTP], horos::vmx::eptp::RESERVED_LOW));
    }
}

template <class D>
typename D::Bool apic(RuleId id, const View<D>& v) {
    switch (id) {
    case RuleId::VIRTUAL_APIC_ADDRESS:
        return v.implies(v.proc(proc::USE_TPR_SHADOW),
                         v.address(v[F::VIRTUAL_APIC_ADDRESS], PAGE_OFFSET));
    case RuleId::TPR_THRESHOLD_HIGH:
        return tpr_threshold_high(v);
    case RuleId::TPR_THRESHOLD_VTPR:
        return tpr_threshold_vtpr(v);
    case RuleId::APIC_ACCESS_ADDRESS:
        return v.implies(v.proc2(proc2::VIRTUALIZE_APIC_ACCESSES),
                         v.address(v[F::APIC_ACCESS_ADDRESS], PAGE_OFFSET));
    case RuleId::TPR_SHADOW_X2APIC:
        return needs_tpr_shadow(v, proc2::VIRTUALIZE_X2APIC);
    case RuleId::TPR_SHADOW_REGISTERS:
        return needs_tpr_shadow(v, proc2::APIC_REGISTER_VIRTUALIZATION);
    case RuleId::TPR_SHADOW_DELIVERY:
        return needs_tpr_shadow(v, proc2::VIRTUAL_INTERRUPT_DELIVERY);
    case RuleId::X2APIC_APIC_ACCESS:
        return !(v.proc2(proc2::VIRTUALIZE_X2APIC) & v.proc2(proc2::VIRTUALIZE_APIC_ACCESSES));
    case RuleId::VIRTUAL_INTERRUPT_DELIVERY:
        return v.implies(v.proc2(proc2::VIRTUAL_INTERRUPT_DELIVERY),
                         v.pin(pin::EXTERNAL_INTERRUPT_EXITING));
    case RuleId::POSTED_DELIVERY:
        return posted(v, v.proc2(proc2::VIRTUAL_INTERRUPT_DELIVERY));
    case RuleId::POSTED_ACKNOWLEDGE:
        return posted(v, v.exit(exit_ctl::ACKNOWLEDGE_INTERRUPT));
    case RuleId::POSTED_VECTOR:
        return posted(v, v.none(v[F::POSTED_INTERRUPT_VECTOR], 0xff00));
    default: // POSTED_DESCRIPTOR
        return posted(v, v.address(v[F::POSTED_INTERRUPT_DESCRIPTOR], 0x3f));
    }
}

template <class D>
typename D::Bool execution(RuleId id, const View<D>& v) {
    const auto page = [&](const typename D::Bool& on, F field) {
        return v.implies(on, v.address(v[field], PAGE_OFFSET));
    };
    switch (id) {
    case RuleId::PIN_RESERVED:
        return within<D>(v[F::PIN_CONTROLS], v.p.pin);
    case RuleId::PROC_RESERVED:
        return within<D>(v[F::PROC_CONTROLS], v.p.proc);
    case RuleId::PROC2_RESERVED:
        return v.implies(v.proc(proc::ACTIVATE_SECONDARY),
                         within<D>(v[F::PROC_CONTROLS_2], v.p.proc2));
    case RuleId::PROC3_RESERVED:
        return tertiary_reserved(v);
    case RuleId::CR3_TARGET_COUNT:
        return D::ult(v[F::CR3_TARGET_COUNT],
                      D::bits(((v.p.misc & misc::CR3_TARGETS) >> misc::CR3_TARGETS_SHIFT) + 1));
    case RuleId::IO_BITMAP_A_ADDRESS:
        return page(v.proc(proc::USE_IO_BITMAPS), F::IO_BITMAP_A);
    case RuleId::IO_BITMAP_B_ADDRESS:
        return page(v.proc(proc::USE_IO_BITMAPS), F::IO_BITMAP_B);
    case RuleId::MSR_BITMAP_ADDRESS:
        return page(v.proc(proc::USE_MSR_BITMAPS), F::MSR_BITMAP);
    case RuleId::VIRTUAL_NMIS:
        return v.implies(v.pin(pin::VIRTUAL_NMIS), v.pin(pin::NMI_EXITING));
    case RuleId::NMI_WINDOW:
        return v.implies(v.proc(proc::NMI_WINDOW_EXITING), v.pin(pin::VIRTUAL_NMIS));
    case RuleId::VPID_ZERO:
        return v.implies(v.proc2(proc2::ENABLE_VPID), !v.is(v[F::VPID], 0));
    case RuleId::PML_EPT:
        return needs_ept(v, v.proc2(proc2::ENABLE_PML));
    case RuleId::PML_ADDRESS:
        return page(v.proc2(proc2::ENABLE_PML), F::PML_ADDRESS);
    case RuleId::UNRESTRICTED_EPT:
        return needs_ept(v, v.unrestricted());
    case RuleId::MODE_BASED_EPT:
        return needs_ept(v, v.proc2(proc2::MODE_BASED_EPT_EXECUTE));
    case RuleId::SUB_PAGE_EPT:
        return needs_ept(v, v.proc2(proc2::SUB_PAGE_WRITE));
    case RuleId::SUB_PAGE_ADDRESS:
        return page(v.proc2(proc2::SUB_PAGE_WRITE), F::SPP_TABLE_POINTER);
    case RuleId::VMFUNC_RESERVED:
        return v.implies(v.proc2(proc2::ENABLE_VM_FUNCTIONS),
                         v.none(v[F::VM_FUNCTION_CONTROLS], ~v.p.vmfunc));
    case RuleId::EPTP_SWITCHING_EPT:
        return needs_ept(v, eptp_switching(v));
    case RuleId::EPTP_LIST_ADDRESS:
        return page(eptp_switching(v), F::EPTP_LIST_ADDRESS);
    case RuleId::VMREAD_BITMAP_ADDRESS:
        return page(v.proc2(proc2::VMCS_SHADOWING), F::VMREAD_BITMAP);
    case RuleId::VMWRITE_BITMAP_ADDRESS:
        return page(v.proc2(proc2::VMCS_SHADOWING), F::VMWRITE_BITMAP);
    case RuleId::VE_INFORMATION_ADDRESS:
        return page(v.proc2(proc2::EPT_VIOLATION_VE), F::VE_INFORMATION_ADDRESS);
    case RuleId::PT_GUEST_PHYSICAL:
        return v.implies(v.proc2(proc2::PT_GUEST_PHYSICAL), v.ept() &
                                                                v.entry(entry_ctl::LOAD_RTIT_CTL) &
                                                                v.exit(exit_ctl::CLEAR_RTIT_CTL));
    default: // TSC_MULTIPLIER
        return v.implies(v.proc2(proc2::USE_TSC_SCALING), !v.is(v[F::TSC_MULTIPLIER], 0));
    }
}

// ---- VM-exit and VM-entry controls (§26.2.1.2, §26.2.1.3) ----

// An MSR area: its first byte on 16, all of it below the physical limit.
template <class D>
typename D::Bool msr_area_start(const View<D>& v, F count, F address) {
    return v.is(v[count], 0) | v.address(v[address], 0xf);
}
template <class D>
typename D::Bool msr_area_end(const View<D>& v, F count, F address) {
    // The addition cannot wrap unnoticed: the start has no bit beyond the physical width, and where
    // it has, the sum is large too or the other rule is broken as well.
    const auto bytes = D::shift_left(v[count], D::bits(4));
    const auto last = D::add(D::add(v[address], bytes), D::bits(~0ull));
    return v.is(v[count], 0) | v.none(last, v.beyond_physical());
}

template <class D>
typename D::Bool exit_controls(RuleId id, const View<D>& v) {
    switch (id) {
    case RuleId::EXIT_RESERVED:
        return within<D>(v[F::EXIT_CONTROLS], v.p.exit);
    case RuleId::EXIT_SAVE_TIMER:
        return v.implies(v.exit(exit_ctl::SAVE_PREEMPTION_TIMER), v.pin(pin::PREEMPTION_TIMER));
    case RuleId::EXIT_MSR_STORE_ADDRESS:
        return msr_area_start(v, F::EXIT_MSR_STORE_COUNT, F::EXIT_MSR_STORE_ADDRESS);
    case RuleId::EXIT_MSR_STORE_END:
        return msr_area_end(v, F::EXIT_MSR_STORE_COUNT, F::EXIT_MSR_STORE_ADDRESS);
    case RuleId::EXIT_MSR_LOAD_ADDRESS:
        return msr_area_start(v, F::EXIT_MSR_LOAD_COUNT, F::EXIT_MSR_LOAD_ADDRESS);
    default: // EXIT_MSR_LOAD_END
        return msr_area_end(v, F::EXIT_MSR_LOAD_COUNT, F::EXIT_MSR_LOAD_ADDRESS);
    }
}

// Vectors that push an error code as far as VM entry is concerned.
inline uint32_t error_code_vectors(const Profile& p) {
    constexpr uint32_t ALWAYS =
        (1u << 8) | (1u << 10) | (1u << 11) | (1u << 12) | (1u << 13) | (1u << 14) | (1u << 17);
    return ALWAYS | (p.cet ? 1u << 21 : 0);
}
// Whether the event is one with an error code (§26.2.1.3): a hardware exception of such a vector,
// not in real mode.
template <class D>
typename D::Bool wants_error_code(const View<D>& v) {
    return v.event_is(InterruptionType::HARDWARE_EXCEPTION) &
           v.in(v.event_vector(), error_code_vectors(v.p)) &
           (!v.unrestricted() | v.has(v[F::GUEST_CR0], x86::cr0::PE));
}
template <class D>
typename D::Bool may_have_error_code(const View<D>& v) {
    if ((v.p.basic & basic::ANY_ERROR_CODE) == 0) {
        return wants_error_code(v);
    }
    return v.event_is(InterruptionType::HARDWARE_EXCEPTION) &
           (!v.unrestricted() | v.has(v[F::GUEST_CR0], x86::cr0::PE));
}

template <class D>
typename D::Bool event(RuleId id, const View<D>& v) {
    const auto& info = v[F::ENTRY_INTERRUPTION_INFO];
    const auto delivers = v.event() & v.has(info, interruption::ERROR_CODE_VALID);
    const bool mtf = v.p.proc.can(proc::MONITOR_TRAP_FLAG);
    switch (id) {
    case RuleId::EVENT_TYPE:
        return v.implies(v.event(), v.in(v.event_type(), mtf ? 0xfdu : 0x7du));
    case RuleId::EVENT_VECTOR_NMI:
        return v.implies(v.event_is(InterruptionType::NMI), v.is(v.event_vector(), 2));
    case RuleId::EVENT_VECTOR_EXCEPTION:
        return v.implies(v.event_is(InterruptionType::HARDWARE_EXCEPTION),
                         v.none(v.event_vector(), 0xe0));
    case RuleId::EVENT_VECTOR_OTHER:
        return v.implies(v.event_is(InterruptionType::OTHER) & v.truth(mtf),
                         v.is(v.event_vector(), 0));
    case RuleId::EVENT_ERROR_CODE_PRESENT:
        return v.implies(wants_error_code(v) & v.truth((v.p.basic & basic::ANY_ERROR_CODE) == 0),
                         delivers);
    case RuleId::EVENT_ERROR_CODE_ABSENT:
        return v.implies(delivers, may_have_error_code(v));
    case RuleId::EVENT_RESERVED:
        return v.implies(v.event(), v.none(info, interruption::RESERVED_ENTRY));
    case RuleId::EVENT_ERROR_CODE_HIGH:
        return v.implies(delivers, v.none(v[F::ENTRY_EXCEPTION_ERROR_CODE], 0xffff0000));
    case RuleId::EVENT_ERROR_CODE_15:
        return v.implies(delivers, v.none(v[F::ENTRY_EXCEPTION_ERROR_CODE], 0x8000));
    default: { // EVENT_LENGTH
        const auto software = v.event() & v.in(v.event_type(), 0x70);
        const auto length = v[F::ENTRY_INSTRUCTION_LENGTH];
        const auto zero_ok = v.truth((v.p.misc & misc::INJECT_LENGTH_0) != 0);
        return v.implies(software, D::ult(length, D::bits(16)) & (zero_ok | !v.is(length, 0)));
    }
    }
}

template <class D>
typename D::Bool entry_controls(RuleId id, const View<D>& v) {
    switch (id) {
    case RuleId::ENTRY_RESERVED:
        return within<D>(v[F::ENTRY_CONTROLS], v.p.entry);
    case RuleId::ENTRY_MSR_LOAD_ADDRESS:
        return msr_area_start(v, F::ENTRY_MSR_LOAD_COUNT, F::ENTRY_MSR_LOAD_ADDRESS);
    case RuleId::ENTRY_MSR_LOAD_END:
        return msr_area_end(v, F::ENTRY_MSR_LOAD_COUNT, F::ENTRY_MSR_LOAD_ADDRESS);
    case RuleId::ENTRY_SMM: // the model is never in SMM
        return v.none(v[F::ENTRY_CONTROLS],
                      (entry_ctl::ENTRY_TO_SMM | entry_ctl::DEACTIVATE_DUAL_MONITOR) &
                          v.p.entry.one);
    default:
        return event(id, v);
    }
}

} // namespace horos::model::vmx::predicates
