#include "paging.hpp"
#include "layout.hpp"
#include "panic.hpp"

namespace horos::arch {

extern "C" const u8 image_start[], text_end[], rodata_end[], image_end[];

u64 FramePool::take(u64 count) {
    if (end - next < count)
        fatal("the kernel's own memory was reckoned too small");
    const u64 first = next;
    next += count;
    __builtin_memset(direct(first * abi::frame_size), 0, count * abi::frame_size);
    return first;
}

u64 KernelSpace::entry(u32 index) const {
    return reinterpret_cast<const u64*>(direct(root_ * abi::frame_size))[index];
}

u64* KernelSpace::table(u64* parent, u64 index) {
    if (parent[index] == 0)
        // Copies of the top table's entries are compared: the processor must not change them.
        parent[index] =
            pool_.take(1) * abi::frame_size | page::present | page::write | page::accessed;
    return reinterpret_cast<u64*>(direct(align_down(parent[index], abi::frame_size)));
}

void KernelSpace::map(u64 virt, u64 physical, u64 size, u64 flags) {
    const u64 end = virt + size;
    while (virt != end) {
        u64* level4 = reinterpret_cast<u64*>(direct(root_ * abi::frame_size));
        u64* level3 = table(level4, virt >> 39 & 511);
        u64* level2 = table(level3, virt >> 30 & 511);
        const bool large =
            (virt | physical) % abi::block_size == 0 && end - virt >= abi::block_size;
        if (large)
            level2[virt >> 21 & 511] = physical | flags | page::large;
        else
            table(level2, virt >> 21 & 511)[virt >> 12 & 511] = physical | flags;
        const u64 step = large ? abi::block_size : abi::frame_size;
        virt += step;
        physical += step;
    }
}

void KernelSpace::map_image() {
    const u64 start = reinterpret_cast<u64>(image_start), text = reinterpret_cast<u64>(text_end),
              rodata = reinterpret_cast<u64>(rodata_end), end = reinterpret_cast<u64>(image_end);
    map(start, start - layout::image_base, text - start, page::code);
    map(text, text - layout::image_base, rodata - text, page::constant);
    map(rodata, rodata - layout::image_base, end - rodata, page::data);
}

void KernelSpace::map_ram(const RangeList& ram) {
    for (u32 i = 0; i < ram.count; ++i) {
        const u64 first = ram.item[i].first * abi::frame_size,
                  end = ram.item[i].end * abi::frame_size;
        map(layout::direct_map + first, first, end - first, page::data);
    }
}

u64 kernel_table_frames(const RangeList& ram, u64 frame_limit) {
    const u64 gigabytes = frame_limit / (512 * 512) + 1;
    return 40 + gigabytes + 2 * ram.count; // image, per-CPU areas, devices, frame and block tables
}

} // namespace horos::arch
