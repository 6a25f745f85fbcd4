// A guest's state as both backends see it, whatever the control block: which registers there are,
// and what a monitor may ask for.
#pragma once
#include "kernel/core/shell.hpp"
#include "kernel/core/vendor.hpp"
#include <horos/defs/x86.hpp>

namespace horos::core {

// Registers that two of state page, request and control block have under the same names.
template <class To, class From, class Move>
[[gnu::always_inline]] inline void for_segments(To& to, From& from, Move move) {
    move(to.es, from.es);
    move(to.cs, from.cs);
    move(to.ss, from.ss);
    move(to.ds, from.ds);
    move(to.fs, from.fs);
    move(to.gs, from.gs);
    move(to.ldtr, from.ldtr);
    move(to.tr, from.tr);
    move(to.gdtr, from.gdtr);
    move(to.idtr, from.idtr);
}
template <class To, class From, class Move>
[[gnu::always_inline]] inline void for_system(To& to, From& from, Move move) {
    move(to.star, from.star);
    move(to.lstar, from.lstar);
    move(to.cstar, from.cstar);
    move(to.sfmask, from.sfmask);
    move(to.kernel_gs_base, from.kernel_gs_base);
    move(to.sysenter_cs, from.sysenter_cs);
    move(to.sysenter_esp, from.sysenter_esp);
    move(to.sysenter_eip, from.sysenter_eip);
}
inline constexpr auto assign = [](auto& to, const auto& from) { to = from; };

// The MSRs that are part of a virtual CPU. Each backend switches them, so they can be left to a
// guest.
inline constexpr u32 own_msrs[] = {
    x86::msr::FS_BASE,      x86::msr::GS_BASE,     x86::msr::KERNEL_GS_BASE,
    x86::msr::STAR,         x86::msr::LSTAR,       x86::msr::CSTAR,
    x86::msr::SFMASK,       x86::msr::SYSENTER_CS, x86::msr::SYSENTER_ESP,
    x86::msr::SYSENTER_EIP, x86::msr::PAT,
};
inline bool is_own_msr(u32 msr) {
    for (const u32 own : own_msrs) {
        if (own == msr)
            return true;
    }
    return false;
}

template <bool set_msr(Frame first, u32 msr, u8 access)>
inline void init_msr_map(Frame first) {
    for (u32 i = 0; i < msr_map_frames; ++i)
        __builtin_memset(&permission_maps[first + i], 0xff, frame_size);
    for (const u32 msr : own_msrs)
        set_msr(first, msr, 3);
}

// EFER bits that a guest may set.
inline constexpr u64 guest_efer = x86::efer::SCE | x86::efer::LME | x86::efer::LMA | x86::efer::NXE;

inline bool is_memory_type(u64 t) { return t <= 1 || (t >= 4 && t <= 7); } // APM vol. 2 §7.8.1
inline bool pat_is_valid(u64 pat) {
    bool valid = true;
    for (u32 i = 0; i < 8; ++i)
        valid &= is_memory_type((pat >> (8 * i)) & 0xff);
    return valid;
}

// group::policy. XCR0 as XSETBV would take it: x87 always, AVX only with SSE, nothing the host
// lacks.
inline u32 check_policy(u64 xcr0, u32 extra_exits) {
    const bool avx_alone = (xcr0 & x86::xcr0::AVX) != 0 && (xcr0 & x86::xcr0::SSE) == 0;
    if ((xcr0 & x86::xcr0::X87) == 0 || avx_alone || (xcr0 & ~(machine.xcr0 | 1)) != 0)
        return guard_rule::xcr0;
    return (extra_exits & ~extra_exit::known) != 0 ? guard_rule::extra_exits : 0;
}

} // namespace horos::core
