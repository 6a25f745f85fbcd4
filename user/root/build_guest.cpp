// A virtual machine: RAM in the guest's space and its monitor's, virtual CPUs, the guest's files.
#include "bundle_check.hpp"
#include "instance.hpp"

namespace horos::root {
namespace {

constexpr u8 guest_rights = abi::right::read | abi::right::write | abi::right::exec;

u64 guest_address(u64 offset) {
    return offset < abi::guest_low_end ? offset
                                       : abi::guest_high_start + (offset - abi::guest_low_end);
}

Outcome map_ram(Instance& instance, SpaceEditor& space, SpaceEditor& guest) {
    u64 offset = 0;
    for (u32 i = 0; i < instance.extent_count; ++i) {
        const Extent& extent = instance.memory[i];
        for (u32 n = 0; n < extent.count; ++n, offset += abi::block_size) {
            const u32 block = extent.first + n;
            const Outcome outcome = in_order(
                [&] { return guest.map_block(guest_address(offset), block, guest_rights); },
                [&] {
                    return space.map_block(abi::guest_memory_address + offset, block, read_write);
                });
            if (!outcome.ok()) {
                return outcome;
            }
        }
    }
    return {};
}

Outcome map_file(SpaceEditor& space, u64 address, u32 entry) {
    if (entry == abi::no_entry) {
        return {};
    }
    const u64 size = bundle_header(machine().bundle).entries[entry].size;
    return space.map_frames(address, machine().bundle_frame(entry),
                            (size + abi::frame_size - 1) >> abi::frame_bits, read_only);
}

Outcome create_vcpu(Instance& instance, SpaceEditor& space, u32 number) {
    u32 frames; // virtual CPU, control block, FPU area, state page
    return in_order(
        [&] { return take(instance, frames, 4); },
        [&] { return Scratch::fill(frames + 3, nullptr, 0); },
        [&] {
            return check("create a virtual CPU",
                         user::vcpu_create(frames, selector::scratch,
                                           selector::guest_space(instance.index), frames + 1,
                                           frames + 2, frames + 3));
        },
        [&] { return hand_over(instance, abi::start_selector::vcpu(number), abi::right::write); },
        [&] {
            return space.map_frame(abi::vcpu_state_address + number * abi::frame_size, frames + 3,
                                   read_write);
        });
}

// Where the processor can serve a guest's APIC, the monitor needs a frame of its own for that, and
// tables under which it can put it. Whether to, it decides as the guest goes.
Outcome give_apic_frame(Instance& instance, SpaceEditor& guest) {
    if (machine().boot->vendor != abi::Vendor::vmx) {
        return {};
    }
    const u32 space = selector::guest_space(instance.index);
    u32& frame = instance.apic_frame;
    return in_order([&] { return take(instance, frame); },
                    [&] { return guest.map_frame(abi::apic_address, frame, read_write); },
                    [&] { return check("unmap", user::unmap(space, abi::apic_address, 1)); },
                    [&] {
                        return check("give a frame",
                                     user::frame_give(selector::domain(instance.index), frame, 1));
                    });
}

} // namespace

Outcome build_guest(Instance& instance, SpaceEditor& space) {
    SpaceEditor guest(selector::guest_space(instance.index), instance.pool);
    Outcome outcome = in_order(
        [&] { return map_ram(instance, space, guest); },
        [&] { return give_apic_frame(instance, guest); },
        [&] { return map_file(space, abi::kernel_file_address, instance.partition->kernel); },
        [&] { return map_file(space, abi::initramfs_file_address, instance.partition->initramfs); },
        [&] {
            return give(instance, selector::guest_space(instance.index),
                        abi::start_selector::guest_space, abi::right::write);
        });
    for (u32 i = 0; outcome.ok() && i < instance.partition->placement_count; ++i) {
        outcome = create_vcpu(instance, space, i);
    }
    return outcome;
}

} // namespace horos::root
