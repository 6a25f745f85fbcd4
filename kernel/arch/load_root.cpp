// Hands all memory to the core and builds the root task.
#include "apic.hpp"
#include "boot.hpp"
#include "cpu.hpp"
#include "layout.hpp"
#include "log.hpp"
#include "panic.hpp"
#include "vendor.hpp"
#include <horos/abi/boot_page.hpp>

namespace horos::arch {
namespace {

using abi::BootPage;
namespace rights = abi::right;

u32 low(u64 value) { return static_cast<u32>(value); }
u32 length(const Range& range) { return low(range.end - range.first); }

void hand_over_memory(const BootState& boot) {
    for (u32 i = 0; i < boot.ram.count; ++i)
        core::core_add_ram(low(boot.ram.item[i].first), length(boot.ram.item[i]));
    core::core_add_ram(low(boot.image.first), length(boot.image));
    const Range taken[] = {boot.image, boot.pool_range, boot.frame_table, boot.block_table};
    for (const Range& range : taken)
        core::core_reserve(low(range.first), length(range), abi::ObjectType::kernel);
    core::core_split(low(boot.bundle.first), length(boot.bundle));
    core::core_split(low(boot.root_pool.next), low(boot.root_pool.end - boot.root_pool.next));
}

// Maps frames for the root task; page tables come from the root pool.
struct RootMapper {
    const core::RootTask& root;
    FramePool& pool;

    void map(u64 address, u64 frame, u8 right) {
        if (pool.end - pool.next < 3)
            fatal("the root task's memory was reckoned too small");
        pool.next += core::core_root_map(root, address, low(frame), right, low(pool.next));
    }
    // Fresh zeroed frames; the first one's number.
    u64 map_new(u64 address, u64 count, u8 right) {
        const u64 first = pool.take(count);
        for (u64 i = 0; i < count; ++i)
            map(address + i * abi::frame_size, first + i, right);
        return first;
    }
};

u8 rights_of(const abi::ProgramSegment& segment) {
    using namespace abi::segment_right;
    return static_cast<u8>(rights::read | (segment.rights & write ? rights::write : 0) |
                           (segment.rights & exec ? rights::exec : 0));
}

void fill_ranges(const BootState& boot, BootPage& page) {
    RangeList list = boot.free;
    while (list.count > abi::max_memory_ranges) {
        u32 smallest = 0;
        for (u32 i = 1; i < list.count; ++i)
            if (length(list.item[i]) < length(list.item[smallest]))
                smallest = i;
        check(list.subtract(list.item[smallest].first, list.item[smallest].end));
    }
    page.range_count = list.count;
    for (u32 i = 0; i < list.count; ++i)
        page.ranges[i] = {list.item[i].first, list.item[i].end - list.item[i].first};
}

bool in_ram(const BootState& boot, u64 address) {
    const u64 frame = address / abi::frame_size;
    for (u32 i = 0; i < boot.ram.count; ++i)
        if (frame >= boot.ram.item[i].first && frame < boot.ram.item[i].end)
            return true;
    return false;
}

void fill_boot_page(const BootState& boot, BootPage& page) {
    page.magic = abi::boot_page_magic;
    page.core_count = core::machine.core_count;
    page.vendor = vendor_name();
    page.tsc_khz = core::machine.tsc_khz;
    page.bundle_size = boot.data.module_size;
    page.bundle_first_frame = boot.bundle.first;
    page.rsdp = in_ram(boot, boot.data.rsdp) ? 0 : boot.data.rsdp; // a loader's copy is gone now
    page.dsdt = boot.acpi.dsdt;
    page.xcr0 = core::machine.xcr0;
    page.asid_count = core::machine.tlb_tags;
    page.has_next_rip = core::machine.has_next_rip;
    page.has_decode_assist = core::machine.has_decode_assist;
    fill_ranges(boot, page);
    static_assert(sizeof page.command_line >= BootData::max_command_line);
    __builtin_memcpy(page.command_line, boot.data.command_line, BootData::max_command_line);
}

} // namespace

void load_root(BootState& boot) {
    hand_over_memory(boot);
    core::core_init_core(0);
    core::RootTask root;
    FramePool& pool = boot.root_pool;
    const u64 objects = pool.next;
    pool.next += core::root_frames + core::machine.core_count;
    core::core_init_root(low(objects), root);
    RootMapper mapper{root, pool};
    for (u32 i = 0; i < boot.root.header.segment_count; ++i) {
        const abi::ProgramSegment& s = boot.root.header.segments[i];
        const u64 first = mapper.map_new(s.address, s.memory_size / abi::frame_size, rights_of(s));
        __builtin_memcpy(direct(first * abi::frame_size), boot.root.contents + s.offset,
                         s.file_size);
    }
    mapper.map_new(abi::root_stack_top - abi::root_stack_size,
                   abi::root_stack_size / abi::frame_size, rights::read | rights::write);
    const u64 page = mapper.map_new(abi::boot_page_address, 1, rights::read);
    for (u64 f = boot.bundle.first; f < boot.bundle.end; ++f)
        mapper.map(abi::bundle_address + (f - boot.bundle.first) * abi::frame_size, f,
                   rights::read);
    fill_boot_page(boot, *reinterpret_cast<BootPage*>(direct(page * abi::frame_size)));
    core::core_root_start(root, boot.root.header.entry, abi::root_stack_top - 8,
                          abi::boot_page_address);
}

} // namespace horos::arch
