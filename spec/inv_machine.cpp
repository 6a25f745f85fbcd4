// Statements about the facts that are fixed at boot, and about cores that do not exist.
#include "spec/invariants.hpp"
#include "spec/page_entry.hpp"
#include "spec/state.hpp"

namespace horos::spec {

static bool is_kernels(Frame f) { return is(f, ObjectType::kernel); }

bool inv_machine() {
    const Machine& m = machine;
    const bool sizes = m.frame_limit != 0 && m.frame_limit <= max_frames &&
                       m.frame_limit % frames_per_block == 0 && m.core_count != 0 &&
                       m.core_count <= max_cores;
    const bool numbers = m.kernel_device_count <= max_kernel_devices && m.tlb_tags >= 2 &&
                         m.physical_bits >= 32 && m.physical_bits <= 52 && (m.xcr0 & 1) != 0 &&
                         m.vendor <= Vendor::vmx && m.guest_format <= TableFormat::ept &&
                         u64{m.frame_limit} << frame_bits <= u64{1} << m.physical_bits;
    // There, not for ring 3, and nothing that the processor would write to: every host space has
    // copies.
    constexpr u64 bits = pte::present | pte::user | pte::accessed;
    constexpr u64 right = pte::present | pte::accessed;
    const bool kernel_half = (m.kernel_entries[0] & bits) == right &&
                             (m.kernel_entries[1] & bits) == right &&
                             (m.kernel_tables_entry & bits) == right;
    return sizes && numbers && kernel_half;
}

// Frames that the kernel keeps for itself: default permission maps, host save areas.
bool inv_machine_io_map(u32 i) { return i >= 3 || is_kernels(machine.io_map + i); }
bool inv_machine_msr_map(u32 i) { return i >= 2 || is_kernels(machine.msr_map + i); }
bool inv_machine_host_frames(u32 i) {
    return i >= 2 * machine.core_count || is_kernels(machine.host_frames + i);
}

// Frame 0 means "none": nothing can be made of it.
bool inv_frame_zero() {
    const FrameInfo& f = frames[0];
    return f.type == ObjectType::reserved && f.owner == 0 && f.references == 0 && f.mappings == 0 &&
           f.live == 0 && f.level == 0;
}

bool inv_core_absent(u32 core) {
    const Core& c = cores[core];
    return core < machine.core_count ||
           (c.online == 0 && c.thread == 0 && c.context == 0 && c.space == 0 && c.ready == 0);
}

} // namespace horos::spec
