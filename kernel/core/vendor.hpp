// The narrow seam to the processor vendor's backends, kernel/svm and kernel/vmx. Which of the two
// runs is found at boot (machine.vendor); these functions are the only place that asks.
#pragma once
#include "kernel/core/state.hpp"
#include <horos/abi/vcpu_state.hpp>

namespace horos::core {

using StatePage = abi::VcpuPage;
static_assert(sizeof(StatePage) == frame_size);

// Pages shared with VMMs. A VMM can write them at any time: every field is read once, into a local.
extern "C" StatePage state_pages[max_frames];

// Reads a field of a shared page exactly once.
template <class T>
inline T read_once(const T& field) {
    return *const_cast<const volatile T*>(&field);
}

struct Permission {
    u8 bytes[frame_size];
};
extern "C" Permission permission_maps[max_frames];

// A bit of a map of several frames: what it stands for exits.
inline void set_permission(Frame map, u32 bit, bool exits) {
    u8& byte = permission_maps[map + bit / (8 * frame_size)].bytes[(bit / 8) % frame_size];
    const u8 mask = static_cast<u8>(1u << (bit % 8));
    byte = static_cast<u8>(exits ? byte | mask : byte & ~mask);
}

inline constexpr u32 io_map_frames = 3;
inline constexpr u32 msr_map_frames = 2;

// ---- The backends, each with the same functions. kernel/svm:
void svm_init_vcpu(Frame vcpu);
bool svm_end_vcpu(Frame vcpu);
void svm_init_msr_map(Frame first);
bool svm_set_msr(Frame first, u32 msr, u8 access);
u32 svm_take_state(Frame vcpu);
ExitReason svm_enter(u32 core, Frame vcpu);
void svm_store_exit(Frame vcpu, ExitReason reason, u64 info);
// kernel/vmx, not inlined: it has a text section of its own.
[[gnu::noinline]] void vmx_init_vcpu(Frame vcpu);
[[gnu::noinline]] bool vmx_end_vcpu(Frame vcpu);
[[gnu::noinline]] void vmx_rescheduled(u32 core);
[[gnu::noinline]] void vmx_init_msr_map(Frame first);
[[gnu::noinline]] bool vmx_set_msr(Frame first, u32 msr, u8 access);
[[gnu::noinline]] u32 vmx_take_state(Frame vcpu);
[[gnu::noinline]] ExitReason vmx_enter(u32 core, Frame vcpu);
[[gnu::noinline]] void vmx_store_exit(Frame vcpu, ExitReason reason, u64 info);

// ---- The seam.
inline bool uses_vmx() { return machine.vendor == Vendor::vmx; }

// Fills a fresh control block: mandatory controls, nested paging, everything that is the host's.
inline void vendor_init_vcpu(Frame vcpu) { uses_vmx() ? vmx_init_vcpu(vcpu) : svm_init_vcpu(vcpu); }
// A virtual CPU that nobody runs is taken apart: no processor may go on holding its control block.
// False: another core does and has been told; ask again.
inline bool vendor_end_vcpu(Frame vcpu) {
    return uses_vmx() ? vmx_end_vcpu(vcpu) : svm_end_vcpu(vcpu);
}
// Another core sent an interrupt to look up.
inline void vendor_rescheduled(u32 core) {
    if (uses_vmx())
        vmx_rescheduled(core);
}
// Fills the MSR permission map at `first`: everything exits but the virtual CPU's own MSRs.
inline void vendor_init_msr_map(Frame first) {
    uses_vmx() ? vmx_init_msr_map(first) : svm_init_msr_map(first);
}
// Lets reads (bit 0) and writes (bit 1) of an MSR pass, and the others exit. False when the MSR
// cannot be left to a guest.
inline bool vendor_set_msr(Frame first, u32 msr, u8 access) {
    return uses_vmx() ? vmx_set_msr(first, msr, access) : svm_set_msr(first, msr, access);
}
// The guard: takes over what the VMM asks for. Gives back the number of the broken rule, 0 = none;
// after a refusal the control block is as it was.
[[gnu::always_inline]] inline u32 vendor_take_state(Frame vcpu) {
    return uses_vmx() ? vmx_take_state(vcpu) : svm_take_state(vcpu);
}
// One entry and exit; the lock is released while the guest runs. `none`: the exit was the kernel's
// own affair. Otherwise the state page tells the rest. A root or permission map of the guest's
// space that is new since the last entry (Space::flushes) is used from this entry on.
[[gnu::always_inline]] inline ExitReason vendor_enter(u32 core, Frame vcpu) {
    return uses_vmx() ? vmx_enter(core, vcpu) : svm_enter(core, vcpu);
}
// Stores the guest's state where the VMM reads it, with an exit that the kernel made up.
inline void vendor_store_exit(Frame vcpu, ExitReason reason, u64 info) {
    uses_vmx() ? vmx_store_exit(vcpu, reason, info) : svm_store_exit(vcpu, reason, info);
}

} // namespace horos::core
