// The rules on the guest-state area but for the segments (SDM vol. 3C 325384-077US §26.3.1.1,
// §26.3.1.3 to §26.3.1.6).
#pragma once

#include "horos/model/vmx/view.hpp"

namespace horos::model::vmx::predicates {

using namespace horos::vmx;
using F = Field;
using E = Extra;

// Bits of CR0 that are checked: never CD and NW; PE and PG not for an unrestricted guest.
template <class D>
typename D::Bool guest_cr0(const View<D>& v) {
    const uint64_t unchecked = x86::cr0::CD | x86::cr0::NW;
    const uint64_t must = v.p.cr0_fixed0 & ~unchecked;
    const uint64_t relaxed = must & ~(x86::cr0::PE | x86::cr0::PG);
    const auto ones =
        v.all(v[F::GUEST_CR0], relaxed) & (v.unrestricted() | v.all(v[F::GUEST_CR0], must));
    return ones & v.none(v[F::GUEST_CR0], ~(v.p.cr0_fixed1 | unchecked));
}
template <class D>
typename D::Bool guest_efer_lma(const View<D>& v) {
    const auto lma = v.has(v[F::GUEST_EFER], x86::efer::LMA);
    const auto long_mode = v.ia32e_guest();
    return v.implies(v.entry(entry_ctl::LOAD_EFER), (lma & long_mode) | (!lma & !long_mode));
}
template <class D>
typename D::Bool guest_efer_lme(const View<D>& v) {
    const auto lma = v.has(v[F::GUEST_EFER], x86::efer::LMA);
    const auto lme = v.has(v[F::GUEST_EFER], x86::efer::LME);
    return v.implies(v.entry(entry_ctl::LOAD_EFER) & v.has(v[F::GUEST_CR0], x86::cr0::PG),
                     (lma & lme) | (!lma & !lme));
}

template <class D>
typename D::Bool guest_control(RuleId id, const View<D>& v) {
    switch (id) {
    case RuleId::GUEST_CR0:
        return guest_cr0(v);
    case RuleId::GUEST_CR0_PG_PE:
        return v.implies(v.has(v[F::GUEST_CR0], x86::cr0::PG),
                         v.has(v[F::GUEST_CR0], x86::cr0::PE));
    case RuleId::GUEST_CR4:
        return v.fixed(v[F::GUEST_CR4], v.p.cr4_fixed0, v.p.cr4_fixed1);
    case RuleId::GUEST_CET_WP:
        return v.implies(v.has(v[F::GUEST_CR4], x86::cr4::CET & v.p.cr4_fixed1),
                         v.has(v[F::GUEST_CR0], x86::cr0::WP));
    case RuleId::GUEST_IA32E_PG:
        return v.implies(v.ia32e_guest(), v.has(v[F::GUEST_CR0], x86::cr0::PG));
    case RuleId::GUEST_IA32E_PAE:
        return v.implies(v.ia32e_guest(), v.has(v[F::GUEST_CR4], x86::cr4::PAE));
    case RuleId::GUEST_PCIDE:
        return v.ia32e_guest() | v.none(v[F::GUEST_CR4], x86::cr4::PCIDE);
    default: // GUEST_CR3
        return v.address(v[F::GUEST_CR3], 0);
    }
}

template <class D>
typename D::Bool guest_msrs(RuleId id, const View<D>& v) {
    const auto with = [&](uint32_t control, const typename D::Bool& condition) {
        return v.implies(v.entry(control), condition);
    };
    switch (id) {
    case RuleId::GUEST_DEBUGCTL:
        return with(entry_ctl::LOAD_DEBUG_CONTROLS,
                    v.none(v[F::GUEST_DEBUGCTL], ~v.p.debugctl_defined));
    case RuleId::GUEST_DR7:
        return with(entry_ctl::LOAD_DEBUG_CONTROLS, v.none(v[F::GUEST_DR7], HIGH_HALF));
    case RuleId::GUEST_SYSENTER_ESP:
        return v.canonical(v[F::GUEST_SYSENTER_ESP]);
    case RuleId::GUEST_SYSENTER_EIP:
        return v.canonical(v[F::GUEST_SYSENTER_EIP]);
    case RuleId::GUEST_PERF_GLOBAL_CTRL:
        return with(entry_ctl::LOAD_PERF_GLOBAL_CTRL,
                    v.none(v[F::GUEST_PERF_GLOBAL_CTRL], ~v.p.perf_global_defined));
    case RuleId::GUEST_PAT:
        return with(entry_ctl::LOAD_PAT, v.pat_valid(v[F::GUEST_PAT]));
    case RuleId::GUEST_EFER_RESERVED:
        return with(entry_ctl::LOAD_EFER, v.none(v[F::GUEST_EFER], ~v.p.efer_defined));
    case RuleId::GUEST_EFER_LMA:
        return guest_efer_lma(v);
    case RuleId::GUEST_EFER_LME:
        return guest_efer_lme(v);
    case RuleId::GUEST_BNDCFGS:
        return with(entry_ctl::LOAD_BNDCFGS,
                    v.none(v[F::GUEST_BNDCFGS], 0xffc) & v.canonical(v[F::GUEST_BNDCFGS]));
    case RuleId::GUEST_S_CET:
        return with(entry_ctl::LOAD_CET, v.s_cet_valid(v[F::GUEST_S_CET]));
    case RuleId::GUEST_ISST:
        return with(entry_ctl::LOAD_CET, v.canonical(v[F::GUEST_ISST_ADDR]));
    default: // GUEST_PKRS
        return with(entry_ctl::LOAD_PKRS, v.none(v[F::GUEST_PKRS], HIGH_HALF));
    }
}

template <class D>
typename D::Bool guest_tables(RuleId id, const View<D>& v) {
    switch (id) {
    case RuleId::GUEST_GDTR_BASE:
        return v.canonical(v[F::GUEST_GDTR_BASE]);
    case RuleId::GUEST_GDTR_LIMIT:
        return v.none(v[F::GUEST_GDTR_LIMIT], 0xffff0000);
    case RuleId::GUEST_IDTR_BASE:
        return v.canonical(v[F::GUEST_IDTR_BASE]);
    case RuleId::GUEST_IDTR_LIMIT:
        return v.none(v[F::GUEST_IDTR_LIMIT], 0xffff0000);
    case RuleId::GUEST_RIP_HIGH:
        return v.code64() | v.none(v[F::GUEST_RIP], HIGH_HALF);
    case RuleId::GUEST_RIP_CANONICAL:
        // Bits 63:N alone, with N linear-address bits: bit N-1 may differ, and then the first fetch
        // faults.
        return v.implies(v.code64(), v.none(v[F::GUEST_RIP], v.beyond_linear()) |
                                         v.all(v[F::GUEST_RIP], v.beyond_linear()));
    case RuleId::GUEST_RFLAGS_RESERVED:
        return v.none(v[F::GUEST_RFLAGS], ~x86::rflags::DEFINED) &
               v.has(v[F::GUEST_RFLAGS], x86::rflags::ONE);
    case RuleId::GUEST_RFLAGS_VM:
        return v.implies(v.v86(), !v.ia32e_guest() & v.has(v[F::GUEST_CR0], x86::cr0::PE));
    case RuleId::GUEST_RFLAGS_IF:
        return v.implies(v.event_is(InterruptionType::EXTERNAL),
                         v.has(v[F::GUEST_RFLAGS], x86::rflags::IF));
    default: // GUEST_SSP
        return v.implies(v.entry(entry_ctl::LOAD_CET),
                         v.none(v[F::GUEST_SSP], 3) &
                             ((v.code64() & v.canonical(v[F::GUEST_SSP])) |
                              (!v.code64() & v.none(v[F::GUEST_SSP], HIGH_HALF))));
    }
}

// ---- §26.3.1.5 ----

template <class D>
typename D::Bool activity_is(const View<D>& v, Activity activity) {
    return v.is(v[F::GUEST_ACTIVITY], static_cast<uint64_t>(activity));
}
template <class D>
typename D::Bool activity_value(const View<D>& v) {
    return activity_is(v, Activity::ACTIVE) |
           (activity_is(v, Activity::HLT) & v.truth((v.p.misc & misc::ACTIVITY_HLT) != 0)) |
           (activity_is(v, Activity::SHUTDOWN) &
            v.truth((v.p.misc & misc::ACTIVITY_SHUTDOWN) != 0)) |
           (activity_is(v, Activity::WAIT_FOR_SIPI) &
            v.truth((v.p.misc & misc::ACTIVITY_WAIT_FOR_SIPI) != 0));
}
template <class D>
typename D::Bool event_wakes_hlt(const View<D>& v) {
    const auto exception = v.event_is(InterruptionType::HARDWARE_EXCEPTION);
    return v.event_is(InterruptionType::EXTERNAL) | v.event_is(InterruptionType::NMI) |
           (exception & (v.is(v.event_vector(), 1) | v.is(v.event_vector(), 18))) |
           (v.event_is(InterruptionType::OTHER) & v.is(v.event_vector(), 0));
}
template <class D>
typename D::Bool event_wakes_shutdown(const View<D>& v) {
    return v.event_is(InterruptionType::NMI) |
           (v.event_is(InterruptionType::HARDWARE_EXCEPTION) & v.is(v.event_vector(), 18));
}
template <class D>
typename D::Bool activity(RuleId id, const View<D>& v) {
    constexpr uint32_t SHADOW =
        interruptibility::BLOCKING_BY_STI | interruptibility::BLOCKING_BY_MOV_SS;
    switch (id) {
    case RuleId::ACTIVITY_VALUE:
        return activity_value(v);
    case RuleId::ACTIVITY_HLT_DPL:
        return v.implies(activity_is(v, Activity::HLT), v.none(v[F::GUEST_SS_RIGHTS], rights::DPL));
    case RuleId::ACTIVITY_BLOCKING:
        return v.implies(v.has(v[F::GUEST_INTERRUPTIBILITY], SHADOW),
                         activity_is(v, Activity::ACTIVE));
    case RuleId::ACTIVITY_EVENT_HLT:
        return v.implies(v.event() & activity_is(v, Activity::HLT), event_wakes_hlt(v));
    case RuleId::ACTIVITY_EVENT_SHUTDOWN:
        return v.implies(v.event() & activity_is(v, Activity::SHUTDOWN), event_wakes_shutdown(v));
    default: // ACTIVITY_EVENT_SIPI
        return !(v.event() & activity_is(v, Activity::WAIT_FOR_SIPI));
    }
}

template <class D>
typename D::Bool blocking(RuleId id, const View<D>& v) {
    using namespace interruptibility;
    const auto& state = v[F::GUEST_INTERRUPTIBILITY];
    const auto nmi = v.event_is(InterruptionType::NMI);
    switch (id) {
    case RuleId::BLOCKING_RESERVED:
        return v.none(state, interruptibility::RESERVED);
    case RuleId::BLOCKING_BOTH:
        return !v.all(state, BLOCKING_BY_STI | BLOCKING_BY_MOV_SS);
    case RuleId::BLOCKING_STI_IF:
        return v.implies(v.none(v[F::GUEST_RFLAGS], x86::rflags::IF),
                         v.none(state, BLOCKING_BY_STI));
    case RuleId::BLOCKING_EXTERNAL:
        return v.implies(v.event_is(InterruptionType::EXTERNAL),
                         v.none(state, BLOCKING_BY_STI | BLOCKING_BY_MOV_SS));
    case RuleId::BLOCKING_MOV_SS_NMI:
        return v.implies(nmi, v.none(state, BLOCKING_BY_MOV_SS));
    case RuleId::BLOCKING_SMI:
        return v.none(state, BLOCKING_BY_SMI);
    case RuleId::BLOCKING_STI_NMI:
        return v.implies(nmi, v.none(state, BLOCKING_BY_STI));
    case RuleId::BLOCKING_NMI:
        return v.implies(nmi & v.pin(pin::VIRTUAL_NMIS), v.none(state, BLOCKING_BY_NMI));
    default: // BLOCKING_ENCLAVE
        return v.implies(v.has(state, ENCLAVE_INTERRUPTION),
                         v.truth(v.p.sgx) & v.none(state, BLOCKING_BY_MOV_SS));
    }
}

// A single-step trap must be pending exactly when one would be: the guest is held up and steps.
template <class D>
typename D::Bool holds_single_step(const View<D>& v) {
    constexpr uint32_t SHADOW =
        interruptibility::BLOCKING_BY_STI | interruptibility::BLOCKING_BY_MOV_SS;
    return v.has(v[F::GUEST_INTERRUPTIBILITY], SHADOW) | activity_is(v, Activity::HLT);
}
template <class D>
typename D::Bool steps(const View<D>& v) {
    constexpr uint64_t BTF = 1ull << 1;
    return v.has(v[F::GUEST_RFLAGS], x86::rflags::TF) & v.none(v[F::GUEST_DEBUGCTL], BTF);
}
template <class D>
typename D::Bool pending(RuleId id, const View<D>& v) {
    const auto& debug = v[F::GUEST_PENDING_DEBUG];
    switch (id) {
    case RuleId::PENDING_RESERVED:
        return v.none(debug, pending_debug::RESERVED);
    case RuleId::PENDING_BS_SET:
        return v.implies(holds_single_step(v) & steps(v), v.has(debug, pending_debug::BS));
    case RuleId::PENDING_BS_CLEAR:
        return v.implies(holds_single_step(v) & !steps(v), v.none(debug, pending_debug::BS));
    default: // PENDING_RTM: an advanced-debug trap of a transaction has bit 12 and none below or BS
        return v.implies(
            v.has(debug, pending_debug::RTM),
            v.truth(v.p.rtm) & v.has(debug, pending_debug::ENABLED_BREAKPOINT) &
                v.none(debug, pending_debug::B0_B3 | pending_debug::BS) &
                v.none(v[F::GUEST_INTERRUPTIBILITY], interruptibility::BLOCKING_BY_MOV_SS));
    }
}

template <class D>
typename D::Bool link_used(const View<D>& v) {
    return !v.is(v[F::VMCS_LINK_POINTER], NO_LINK_POINTER);
}
template <class D>
typename D::Bool link(RuleId id, const View<D>& v) {
    const auto well_formed = v.address(v[F::VMCS_LINK_POINTER], PAGE_OFFSET);
    const auto shadow = v.proc2(proc2::VMCS_SHADOWING);
    switch (id) {
    case RuleId::LINK_ADDRESS:
        return v.implies(link_used(v), well_formed);
    case RuleId::LINK_REVISION: // memory is read only through a well-formed pointer
        return v.implies(link_used(v) & well_formed,
                         v.is(v[E::LINK_REVISION] & D::bits(basic::REVISION), v.p.revision()));
    case RuleId::LINK_SHADOW: {
        const auto marked = v.has(v[E::LINK_REVISION], REVISION_SHADOW);
        return v.implies(link_used(v) & well_formed, (marked & shadow) | (!marked & !shadow));
    }
    default: // LINK_CURRENT
        return v.implies(link_used(v) & well_formed, v[F::VMCS_LINK_POINTER] != v[E::CURRENT_VMCS]);
    }
}

// ---- §26.3.1.6 ----

template <class D>
typename D::Bool pdpte_valid(const View<D>& v, const typename D::Bits& pdpte) {
    constexpr uint64_t RESERVED = 0x6 | 0x1e0; // 2:1 and 8:5 (table 4-8)
    return v.none(pdpte, x86::pte::P) | v.none(pdpte, RESERVED | v.beyond_physical());
}
template <class D>
typename D::Bool pdptes(RuleId id, const View<D>& v) {
    if (id == RuleId::PDPTE_FIELDS) {
        return v.implies(v.pae_paging() & v.ept(), pdpte_valid(v, v[F::GUEST_PDPTE0]) &
                                                       pdpte_valid(v, v[F::GUEST_PDPTE1]) &
                                                       pdpte_valid(v, v[F::GUEST_PDPTE2]) &
                                                       pdpte_valid(v, v[F::GUEST_PDPTE3]));
    }
    return v.implies(v.pae_paging() & !v.ept(),
                     pdpte_valid(v, v[E::PDPTE0]) & pdpte_valid(v, v[E::PDPTE1]) &
                         pdpte_valid(v, v[E::PDPTE2]) & pdpte_valid(v, v[E::PDPTE3]));
}

} // namespace horos::model::vmx::predicates
