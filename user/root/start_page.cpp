// Filling in an instance's start page.
#include "bundle_check.hpp"
#include "instance.hpp"

namespace horos::root {
namespace {

u64 file_size(u32 entry) {
    return entry == abi::no_entry ? 0 : bundle_header(machine().bundle).entries[entry].size;
}

void fill_machine(abi::StartPage& page) {
    const abi::BootPage& boot = *machine().boot;
    page.vendor = boot.vendor;
    page.tsc_khz = boot.tsc_khz;
    page.host_xcr0 = boot.xcr0;
    page.wall_clock_seconds = machine().wall_clock_seconds;
    page.wall_clock_tsc = machine().wall_clock_tsc;
    page.has_next_rip = boot.has_next_rip;
    page.has_decode_assist = boot.has_decode_assist;
}

void fill_memory(abi::StartPage& page, const Instance& instance) {
    if (instance.is_guest()) {
        page.guest_memory_size = instance.partition->memory;
        page.apic_frame = instance.apic_frame;
        page.kernel_size = file_size(instance.partition->kernel);
        page.initramfs_size = file_size(instance.partition->initramfs);
        return;
    }
    for (u32 i = 0; i < instance.extent_count && i < abi::max_pool_ranges; ++i) {
        page.pool[page.pool_count++] = {u64{instance.memory[i].first} * abi::frames_per_block,
                                        u64{instance.memory[i].count} * abi::frames_per_block};
    }
}

void fill_channels(abi::StartPage& page, const Instance& instance) {
    const abi::System& system = *machine().system;
    for (u32 i = 0; i < system.channel_count; ++i) {
        const abi::Channel& channel = system.channels[i];
        for (u32 end = 0; end < 2; ++end) {
            if (channel.partition[end] == instance.index) {
                page.channels[page.channel_count++] = {channel.address[end], channel.size, i, 0};
                break;
            }
        }
    }
}

} // namespace

Outcome fill_start_page(Instance& instance, SpaceEditor& space) {
    static abi::StartPage page;
    __builtin_memset(&page, 0, sizeof page);
    page.magic = abi::start_page_magic;
    page.size = sizeof page;
    page.partition_index = instance.index;
    page.incarnation = instance.incarnation;
    page.thread_count = instance.thread_count;
    page.vcpu_count = instance.is_guest() ? instance.partition->placement_count : 0;
    page.partition = *instance.partition;
    fill_machine(page);
    fill_memory(page, instance);
    fill_channels(page, instance);
    const auto* bytes = reinterpret_cast<const u8*>(&page);
    for (u64 at = 0; at < sizeof page; at += abi::frame_size) {
        const u64 left = sizeof page - at;
        u32 frame;
        const Outcome outcome = in_order(
            [&] { return take(instance, frame); },
            [&] {
                return Scratch::fill(frame, bytes + at,
                                     left < abi::frame_size ? left : abi::frame_size);
            },
            [&] { return space.map_frame(abi::start_page_address + at, frame, read_only); });
        if (!outcome.ok()) {
            return outcome;
        }
    }
    return {};
}

} // namespace horos::root
