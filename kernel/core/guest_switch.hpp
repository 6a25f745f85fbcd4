// What both backends do around a guest's run, whatever the control block: TLB tags, registers that
// an entry does not switch, and the host's own state.
#pragma once
#include "kernel/core/shell.hpp"
#include "kernel/core/vendor.hpp"

namespace horos::core {

// A tag that no entry of this core's TLB has. True: they had been used up, and all are void.
[[gnu::always_inline]] inline bool next_tag(Core& core, Vcpu& vcpu) {
    bool all_void = false;
    if (core.tlb_next >= machine.tlb_tags) {
        core.tlb_era++;
        core.tlb_next = 1;
        all_void = true;
    }
    vcpu.tlb_tag = core.tlb_next++;
    vcpu.tlb_era = core.tlb_era;
    vcpu.flushes_seen = spaces[vcpu.space].flushes;
    return all_void;
}

inline void set_xcr0(u64 value) {
    asm volatile("xsetbv" ::"c"(0), "a"(static_cast<u32>(value)),
                 "d"(static_cast<u32>(value >> 32)));
}

// The guest's breakpoint addresses are kept in the processor only while it has breakpoints.
inline void load_breakpoints(const Vcpu& v) {
    asm volatile("mov %0, %%dr0\n\tmov %1, %%dr1\n\tmov %2, %%dr2\n\tmov %3, %%dr3" ::"r"(v.dr[0]),
                 "r"(v.dr[1]), "r"(v.dr[2]), "r"(v.dr[3]));
}
// Guest registers that an entry does not switch and that are rarely other than the host's.
[[gnu::always_inline]] inline void load_rare(const Vcpu& vcpu) {
    if (vcpu.xcr0 != machine.xcr0 && machine.has_xsave != 0) [[unlikely]]
        set_xcr0(vcpu.xcr0);
    if (vcpu.dr_live != 0) [[unlikely]]
        load_breakpoints(vcpu);
}
inline void store_breakpoints(Vcpu& v) {
    asm volatile("mov %%dr0, %0\n\tmov %%dr1, %1\n\tmov %%dr2, %2\n\tmov %%dr3, %3"
                 : "=r"(v.dr[0]), "=r"(v.dr[1]), "=r"(v.dr[2]), "=r"(v.dr[3]));
}

struct HostState {
    u64 cr0, cr3, cr4;
};
[[gnu::always_inline]] inline HostState host_state() {
    HostState h;
    asm volatile("mov %%cr0, %0\n\tmov %%cr3, %1\n\tmov %%cr4, %2"
                 : "=r"(h.cr0), "=r"(h.cr3), "=r"(h.cr4));
    return h;
}
// Every way out, a refused entry included, comes through here. A processor that did not restore
// the host is not one to go on with.
[[gnu::always_inline]] inline void check_host(const HostState& before) {
    const HostState now = host_state();
    if (now.cr0 != before.cr0 || now.cr3 != before.cr3 || now.cr4 != before.cr4)
        shell_stop("host control registers after a guest exit");
}

} // namespace horos::core
