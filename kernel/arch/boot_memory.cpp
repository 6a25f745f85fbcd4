// Divides the machine's memory at boot and builds the kernel's address space.
#include "boot.hpp"
#include "cpu.hpp"
#include "io.hpp"
#include "layout.hpp"
#include "panic.hpp"
#include "smp.hpp"
#include <horos/abi/boot_page.hpp>

namespace horos::arch {

extern "C" const u8 image_start[], image_end[];

namespace {

constexpr u64 firmware_frames = 16; // the first 64 KiB: BIOS data that no map mentions
constexpr u64 reach = u64{1} << 32 >> abi::frame_bits; // what the boot page tables map
constexpr u64 stack_frames = abi::root_stack_size / abi::frame_size;
constexpr u64 permission_map_frames = 3 + 2;
constexpr u64 cpu_frames =
    layout::stack_pages + 4 + layout::per_cpu_pages + 2; // 4 IST stacks, 2 of the vendor

u64 frames_for(u64 bytes) { return (bytes + abi::frame_size - 1) / abi::frame_size; }

bool contains(const RangeList& list, const Range& range) {
    for (u32 i = 0; i < list.count; ++i)
        if (range.first >= list.item[i].first && range.end <= list.item[i].end)
            return true;
    return false;
}

void claim_image(BootState& boot) {
    const u64 base = layout::image_base;
    boot.image = {(reinterpret_cast<u64>(image_start) - base) / abi::frame_size,
                  (reinterpret_cast<u64>(image_end) - base) / abi::frame_size};
    if (!contains(boot.ram, boot.image))
        fatal("the memory map has no RAM where the kernel lies");
    check(boot.ram.subtract(boot.image.first, boot.image.end));
}

// One page below 640 KiB. It stays out of use: a core that is reset later would start there.
void claim_trampoline(BootState& boot) {
    if (boot.acpi.cpu_count == 1)
        return;
    boot.trampoline_page = static_cast<u8>(take_frames(boot.free, 1, 1, 0xa0));
    if (boot.trampoline_page == 0)
        fatal("no RAM below 640 KiB to start the other processors from");
    check(boot.ram.subtract(boot.trampoline_page, boot.trampoline_page + 1u));
}

void claim_bundle(BootState& boot) {
    const BootData& data = boot.data;
    if (data.module_count == 0)
        fatal("there is no boot bundle (module 0)");
    if (data.module_base % abi::frame_size)
        fatal("the boot bundle does not start on a page");
    if (data.module_size == 0)
        fatal("the boot bundle is empty");
    const u64 first = data.module_base / abi::frame_size;
    boot.bundle = {first, first + frames_for(data.module_size)};
    if (boot.bundle.end > reach || !contains(boot.ram, boot.bundle))
        fatal("the boot bundle does not lie in RAM below 4 GiB");
    check(boot.free.subtract(boot.bundle.first, boot.bundle.end));
    check(check_bundle(direct(data.module_base), data.module_size, boot.root));
}

Range claim(BootState& boot, u64 count, const char* purpose) {
    const bool large = count >= abi::frames_per_block;
    if (large)
        count = align_up(count, abi::frames_per_block);
    const u64 first = take_frames(boot.free, count, large ? abi::frames_per_block : 1, reach);
    if (first == 0)
        fatal("too little memory: ", count * 4, " KiB for ", purpose, " cannot be had");
    return {first, first + count};
}

// frames[] ends with a whole block.
u64 frame_limit(const BootState& boot) {
    return align_up(boot.ram.item[boot.ram.count - 1].end, abi::frames_per_block);
}

} // namespace

void plan_memory(BootState& boot) {
    check(find_ram(boot.data, abi::max_frames, boot.ram));
    claim_image(boot);
    check(boot.ram.subtract(0, firmware_frames));
    if (boot.ram.count == 0)
        fatal("too little memory: there is no RAM above 64 KiB");
    boot.free = boot.ram;
    claim_bundle(boot);
    claim_trampoline(boot);
    const u64 limit = frame_limit(boot);
    boot.pool_range = claim(boot,
                            kernel_table_frames(boot.ram, limit) + permission_map_frames +
                                boot.acpi.cpu_count * cpu_frames,
                            "the kernel");
    boot.pool = {boot.pool_range.first, boot.pool_range.end};
    boot.frame_table = claim(boot, frames_for(limit * sizeof(core::FrameInfo)), "the frame table");
    boot.block_table =
        claim(boot, frames_for(limit / abi::frames_per_block * sizeof(core::BlockInfo)),
              "the block table");
    const u64 tables =
        3 * (abi::max_program_segments + 3) +
        (boot.root.pages + boot.bundle.end - boot.bundle.first) / abi::frames_per_block;
    const Range root = claim(
        boot, core::root_frames + boot.acpi.cpu_count + 1 + stack_frames + boot.root.pages + tables,
        "the root task");
    boot.root_pool = {root.first, root.end};
}

namespace {

void map_cpu(KernelSpace& space, FramePool& pool, u32 core) {
    const auto map = [&](u64 page, u64 count) {
        space.map(layout::cpu_page(core, page), pool.take(count) * abi::frame_size,
                  count * abi::frame_size, page::data);
    };
    map(layout::stack_first_page, layout::stack_pages);
    map(layout::nmi_stack_page, 1);
    map(layout::double_fault_stack_page, 1);
    map(layout::machine_check_stack_page, 1);
    map(layout::per_cpu_page, layout::per_cpu_pages);
    map(layout::debug_stack_page, 1);
}

void map_table(KernelSpace& space, u64 virt, const Range& frames) {
    const u64 bytes = (frames.end - frames.first) * abi::frame_size;
    __builtin_memset(direct(frames.first * abi::frame_size), 0, bytes);
    space.map(virt, frames.first * abi::frame_size, bytes, page::data);
}

// Pages that no domain may ever map.
void map_devices(KernelSpace& space, const AcpiInfo& acpi) {
    core::Machine& machine = core::machine;
    const auto map = [&](u64 virt, u64 address) {
        const u64 physical = align_down(address, abi::frame_size);
        space.map(virt, physical, abi::frame_size, page::device);
        machine.kernel_devices[machine.kernel_device_count++] = physical / abi::frame_size;
    };
    map(layout::lapic, acpi.lapic_address);
    for (u32 i = 0; i < acpi.ioapic_count; ++i)
        map(layout::ioapic(i), acpi.ioapics[i].address);
}

} // namespace

void build_kernel_space(BootState& boot) {
    KernelSpace space(boot.pool);
    space.map_image();
    space.map_ram(boot.ram);
    map_table(space, layout::frame_table, boot.frame_table);
    map_table(space, layout::block_table, boot.block_table);
    map_devices(space, boot.acpi);
    for (u32 i = 0; i < boot.acpi.cpu_count; ++i)
        map_cpu(space, boot.pool, i);
    core::machine.kernel_entries[0] = space.entry(256);
    core::machine.kernel_entries[1] = space.entry(511);
    core::machine.kernel_tables_entry = space.entry(510);
    core::machine.frame_limit = static_cast<u32>(frame_limit(boot));
    kernel_cr3 = space.root() * abi::frame_size;
}

} // namespace horos::arch
