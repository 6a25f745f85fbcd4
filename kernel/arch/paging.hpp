// The kernel's own address space. Built once at boot; every host space shares its upper half.
#pragma once
#include "memory_plan.hpp"

namespace horos::arch {

inline u8* direct(u64 physical) { return reinterpret_cast<u8*>(0xffff'8000'0000'0000 + physical); }

// Frames set aside for the kernel, handed out in order.
struct FramePool {
    u64 next;
    u64 end;
    u64 take(u64 count); // zeroed; first frame number
};

namespace page {
inline constexpr u64 present = 1, write = 2, uncached = 8 | 16, accessed = 1u << 5, large = 1u << 7,
                     global = 1u << 8, no_execute = u64{1} << 63;
inline constexpr u64 data = present | write | global | no_execute;
inline constexpr u64 constant = present | global | no_execute;
inline constexpr u64 code = present | global;
inline constexpr u64 device = data | uncached;
} // namespace page

class KernelSpace {
public:
    explicit KernelSpace(FramePool& pool) : pool_(pool), root_(pool.take(1)) {}
    // Maps [virt, virt + size) to physical memory, with 2 MiB pages where both are aligned.
    void map(u64 virt, u64 physical, u64 size, u64 flags);
    void map_image();
    void map_ram(const RangeList& ram);
    u64 root() const { return root_; } // frame
    u64 entry(u32 index) const;

private:
    u64* table(u64* parent, u64 index);
    FramePool& pool_;
    u64 root_;
};

// Upper bound of the page tables that a kernel space needs.
u64 kernel_table_frames(const RangeList& ram, u64 frame_limit);

} // namespace horos::arch
