// The rules on the host-state area (SDM vol. 3C 325384-077US §26.2.2 to §26.2.4).
#pragma once

#include "horos/model/vmx/view.hpp"

namespace horos::model::vmx::predicates {

using namespace horos::vmx;
using F = Field;
using E = Extra;

template <class D>
typename D::Bool host_64(const View<D>& v) {
    return v.exit(exit_ctl::HOST_64BIT);
}
template <class D>
typename D::Bool host_efer_mode(const View<D>& v) {
    const auto wide = host_64(v);
    const auto& efer = v[F::HOST_EFER];
    constexpr uint64_t BOTH = x86::efer::LMA | x86::efer::LME;
    return v.implies(v.exit(exit_ctl::LOAD_EFER),
                     (wide & v.all(efer, BOTH)) | (!wide & v.none(efer, BOTH)));
}
template <class D>
typename D::Bool host_selector_bits(const View<D>& v) {
    auto all = v.none(v[F::HOST_ES_SELECTOR], 7);
    for (F field : {F::HOST_CS_SELECTOR, F::HOST_SS_SELECTOR, F::HOST_DS_SELECTOR,
                    F::HOST_FS_SELECTOR, F::HOST_GS_SELECTOR, F::HOST_TR_SELECTOR}) {
        all = all & v.none(v[field], 7);
    }
    return all;
}

template <class D>
typename D::Bool host_registers(RuleId id, const View<D>& v) {
    const auto with = [&](uint32_t control, const typename D::Bool& condition) {
        return v.implies(v.exit(control), condition);
    };
    switch (id) {
    case RuleId::HOST_CR0:
        return v.fixed(v[F::HOST_CR0], v.p.cr0_fixed0, v.p.cr0_fixed1);
    case RuleId::HOST_CR4:
        return v.fixed(v[F::HOST_CR4], v.p.cr4_fixed0, v.p.cr4_fixed1);
    case RuleId::HOST_CET_WP:
        return v.implies(v.has(v[F::HOST_CR4], x86::cr4::CET & v.p.cr4_fixed1),
                         v.has(v[F::HOST_CR0], x86::cr0::WP));
    case RuleId::HOST_CR3:
        return v.address(v[F::HOST_CR3], 0);
    case RuleId::HOST_SYSENTER_ESP:
        return v.canonical(v[F::HOST_SYSENTER_ESP]);
    case RuleId::HOST_SYSENTER_EIP:
        return v.canonical(v[F::HOST_SYSENTER_EIP]);
    case RuleId::HOST_PERF_GLOBAL_CTRL:
        return with(exit_ctl::LOAD_PERF_GLOBAL_CTRL,
                    v.none(v[F::HOST_PERF_GLOBAL_CTRL], ~v.p.perf_global_defined));
    case RuleId::HOST_PAT:
        return with(exit_ctl::LOAD_PAT, v.pat_valid(v[F::HOST_PAT]));
    case RuleId::HOST_EFER_RESERVED:
        return with(exit_ctl::LOAD_EFER, v.none(v[F::HOST_EFER], ~v.p.efer_defined));
    case RuleId::HOST_EFER_MODE:
        return host_efer_mode(v);
    case RuleId::HOST_S_CET:
        return with(exit_ctl::LOAD_CET, v.s_cet_valid(v[F::HOST_S_CET]));
    case RuleId::HOST_SSP:
        return with(exit_ctl::LOAD_CET, v.none(v[F::HOST_SSP], 3) & v.canonical(v[F::HOST_SSP]));
    case RuleId::HOST_ISST:
        return with(exit_ctl::LOAD_CET, v.canonical(v[F::HOST_ISST_ADDR]));
    default: // HOST_PKRS
        return with(exit_ctl::LOAD_PKRS, v.none(v[F::HOST_PKRS], HIGH_HALF));
    }
}

template <class D>
typename D::Bool host_segments(RuleId id, const View<D>& v) {
    const auto wide = host_64(v);
    const auto long_mode = v.has(v[E::EFER], x86::efer::LMA);
    switch (id) {
    case RuleId::HOST_SELECTOR_BITS:
        return host_selector_bits(v);
    case RuleId::HOST_CS_NULL:
        return !v.is(v[F::HOST_CS_SELECTOR], 0);
    case RuleId::HOST_TR_NULL:
        return !v.is(v[F::HOST_TR_SELECTOR], 0);
    case RuleId::HOST_SS_NULL:
        return wide | !v.is(v[F::HOST_SS_SELECTOR], 0);
    case RuleId::HOST_FS_BASE:
        return v.canonical(v[F::HOST_FS_BASE]);
    case RuleId::HOST_GS_BASE:
        return v.canonical(v[F::HOST_GS_BASE]);
    case RuleId::HOST_GDTR_BASE:
        return v.canonical(v[F::HOST_GDTR_BASE]);
    case RuleId::HOST_IDTR_BASE:
        return v.canonical(v[F::HOST_IDTR_BASE]);
    case RuleId::HOST_TR_BASE:
        return v.canonical(v[F::HOST_TR_BASE]);
    case RuleId::HOST_SIZE_64:
        return (long_mode & wide) | (!long_mode & !wide);
    case RuleId::HOST_SIZE_GUEST:
        return v.implies(v.ia32e_guest(), wide);
    case RuleId::HOST_PCIDE:
        return wide | v.none(v[F::HOST_CR4], x86::cr4::PCIDE);
    case RuleId::HOST_RIP_HIGH:
        return wide | v.none(v[F::HOST_RIP], HIGH_HALF);
    case RuleId::HOST_PAE:
        return v.implies(wide, v.has(v[F::HOST_CR4], x86::cr4::PAE));
    default: // HOST_RIP
        return v.implies(wide, v.canonical(v[F::HOST_RIP]));
    }
}

} // namespace horos::model::vmx::predicates
