// The narrow seam to the processor vendor's backend (kernel/svm; kernel/vmx to come).
#pragma once
#include "kernel/core/state.hpp"
#include <horos/abi/vcpu_state.hpp>

namespace horos::core {

struct StatePage {
    VcpuState state;
    u8 pad[frame_size - sizeof(VcpuState)];
};
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

inline constexpr u32 io_map_frames = 3;
inline constexpr u32 msr_map_frames = 2;

// Fills a fresh control block: mandatory controls, nested paging, everything that is the host's.
void vendor_init_vcpu(Frame vcpu);
// Fills the MSR permission map at `first`: everything exits but the virtual CPU's own MSRs.
void vendor_init_msr_map(Frame first);
// Lets reads (bit 0) and writes (bit 1) of an MSR pass, and the others exit. False when the MSR
// cannot be left to a guest.
bool vendor_set_msr(Frame first, u32 msr, u8 access);
// Uses the guest space's maps from the next entry on.
void vendor_use_maps(Frame vcpu);

// The guard: takes over what the VMM asks for. Gives back the number of the broken rule, 0 = none;
// after a refusal the control block is as it was.
u32 vendor_take_state(Frame vcpu);

enum class GuestStep : u8 { again, exit_to_vmm };
// One entry and exit. The lock is released while the guest runs. `again`: the exit was the kernel's
// own affair. exit_to_vmm: the state page tells the rest.
GuestStep vendor_enter(u32 core, Frame vcpu);
// Stores the guest's state where the VMM reads it, with an exit that the kernel made up.
void vendor_store_exit(Frame vcpu, ExitReason reason, u64 info);

} // namespace horos::core
