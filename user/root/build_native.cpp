// What a partition gets besides its program: memory of its own, devices, channels, the console.
#include "bundle_check.hpp"
#include "instance.hpp"

namespace horos::root {
namespace {

// A block that an earlier life of the program has split goes back to it frame by frame.
Outcome give_frames(u32 domain, u32 block) {
    constexpr u8 at_once = abi::frames_per_give;
    for (u32 at = 0; at < abi::frames_per_block; at += at_once) {
        const auto result = user::frame_give(domain, block * abi::frames_per_block + at, at_once);
        if (!result.ok()) {
            return check("give frames", result);
        }
    }
    return {};
}

Outcome give_port_range(Instance& instance, u32 slot, abi::PortRange range) {
    u32 frame;
    return in_order([&] { return take(instance, frame); },
                    [&] {
                        return check("create a port range",
                                     user::ports_create(frame, selector::scratch,
                                                        abi::root_selector::ports, range.first,
                                                        range.last));
                    },
                    [&] { return hand_over(instance, slot, read_write); });
}

Outcome give_irq(Instance& instance, u32 slot, abi::IrqLine line) {
    u32 frame;
    const u32 core = instance.threads[0].core;
    return in_order(
        [&] { return take(instance, frame); },
        [&] {
            return check("create an interrupt",
                         user::irq_create(frame, selector::scratch, abi::root_selector::irq_control,
                                          abi::root_selector::first_core + core,
                                          static_cast<u8>(line.gsi), static_cast<u8>(line.flags)));
        },
        [&] { return hand_over(instance, slot, abi::right::write); });
}

// A guest sees device memory where it physically is.
Outcome map_mmio_range(Instance& instance, SpaceEditor& space, u32 number) {
    const abi::MmioRange& range = instance.partition->mmio[number];
    SpaceEditor guest(selector::guest_space(instance.index), instance.pool);
    for (u64 at = 0; at < range.size; at += abi::frame_size) {
        const u32 page = static_cast<u32>((range.address + at) >> abi::frame_bits);
        const Outcome outcome =
            instance.is_guest()
                ? guest.map_device(range.address + at, abi::root_selector::mmio, page, read_write)
                : space.map_device(abi::mmio_address + number * abi::mmio_stride + at,
                                   abi::root_selector::mmio, page, read_write);
        if (!outcome.ok()) {
            return outcome;
        }
    }
    return {};
}

struct Grant {
    u32 bit;
    u32 source;
    u32 slot;
    u8 rights;
};

constexpr Grant grants[] = {
    {abi::system_grant::irq_control, abi::root_selector::irq_control,
     abi::start_selector::irq_control, read_write},
    {abi::system_grant::ports, abi::root_selector::ports, abi::start_selector::all_ports,
     read_write},
    {abi::system_grant::mmio, abi::root_selector::mmio, abi::start_selector::all_mmio, read_write},
    {abi::system_grant::platform, abi::root_selector::platform, abi::start_selector::platform,
     read_write},
};

Outcome give_grants(const Instance& instance) {
    const u32 wanted = instance.partition->grants;
    for (const Grant& grant : grants) {
        if ((wanted & grant.bit) == 0) {
            continue;
        }
        if (Outcome outcome = give(instance, grant.source, grant.slot, grant.rights);
            !outcome.ok()) {
            return outcome;
        }
    }
    const u32 cores = (wanted & abi::system_grant::cores) != 0 ? machine().boot->core_count : 0;
    for (u32 core = 0; core < cores && core < 16; ++core) {
        if (Outcome outcome = give(instance, abi::root_selector::first_core + core,
                                   abi::start_selector::first_core + core, read_write);
            !outcome.ok()) {
            return outcome;
        }
    }
    return {};
}

// Which end of a channel an instance has: 0, 1, or 2 for none.
u32 end_of(const abi::Channel& channel, u32 index) {
    return channel.partition[0] == index ? 0 : channel.partition[1] == index ? 1 : 2;
}

bool is_built(const Instance& instance) {
    return instance.state == InstanceState::built || instance.state == InstanceState::running;
}

// `to` may wake thread 0 of `from`.
Outcome give_wake(const Instance& from, const Instance& to, u32 channel) {
    return give(to, selector::notification(from.index),
                abi::start_selector::first_channel + channel, abi::right::write,
                static_cast<u32>(abi::wake_bit::channel(channel)));
}

Outcome connect_channel(Instance& instance, SpaceEditor& space, u32 number) {
    const abi::Channel& channel = machine().system->channels[number];
    const u32 end = end_of(channel, instance.index);
    if (end == 2) {
        return {};
    }
    const u32 first = machine().channel_frames[number];
    const u64 frames = channel.size >> abi::frame_bits;
    SpaceEditor guest(selector::guest_space(instance.index), instance.pool);
    const Outcome mapped = instance.is_guest()
                               ? guest.map_frames(channel.address[end], first, frames, read_write)
                               : space.map_frames(channel.address[end], first, frames, read_write);
    const Instance& other = machine().instances[channel.partition[1 - end]];
    if (!mapped.ok() || !is_built(other)) {
        return mapped; // the other end makes the connection when it is built
    }
    return in_order([&] { return give_wake(instance, other, number); },
                    [&] { return give_wake(other, instance, number); });
}

} // namespace

Outcome give_memory(Instance& instance) {
    const u32 domain = selector::domain(instance.index);
    u32 number = 0;
    for (u32 i = 0; i < instance.extent_count; ++i) {
        for (u32 n = 0; n < instance.memory[i].count; ++n, ++number) {
            const u32 block = instance.memory[i].first + n;
            const bool split = (instance.split_blocks >> number & 1) != 0;
            const Outcome outcome = split ? give_frames(domain, block)
                                          : check("give a block", user::block_give(domain, block));
            if (!outcome.ok()) {
                return outcome;
            }
        }
    }
    if (number == 0) {
        return {};
    }
    constexpr u8 own = abi::right::all & ~abi::right::grant;
    return in_order([&] { return give(instance, domain, abi::start_selector::domain, own); },
                    [&] {
                        return give(instance, selector::space(instance.index),
                                    abi::start_selector::space, abi::right::write);
                    });
}

Outcome give_devices(Instance& instance, SpaceEditor& space) {
    const abi::Partition& partition = *instance.partition;
    Outcome outcome = give_grants(instance);
    for (u32 i = 0; outcome.ok() && i < partition.port_count; ++i) {
        outcome =
            give_port_range(instance, abi::start_selector::first_ports + i, partition.ports[i]);
    }
    for (u32 i = 0; outcome.ok() && i < partition.irq_count; ++i) {
        outcome = give_irq(instance, abi::start_selector::first_irq + i, partition.irqs[i]);
    }
    for (u32 i = 0; outcome.ok() && i < partition.mmio_count; ++i) {
        outcome = map_mmio_range(instance, space, i);
    }
    return outcome;
}

Outcome connect_channels(Instance& instance, SpaceEditor& space) {
    Outcome outcome;
    for (u32 i = 0; outcome.ok() && i < machine().system->channel_count; ++i) {
        outcome = connect_channel(instance, space, i);
    }
    return outcome;
}

// The console server is built first; each partition then gets the right to wake it, and it the
// right to wake the partition.
Outcome connect_console(Instance& instance, SpaceEditor& space) {
    const Instance& console = machine().instances[console_index];
    if (!instance.is_console()) {
        return in_order(
            [&] {
                return give(instance, selector::notification(console_index),
                            abi::start_selector::console, abi::right::write,
                            u32{1} << instance.index);
            },
            [&] {
                return give(console, selector::notification(instance.index),
                            abi::console_first_signal + instance.index, abi::right::write,
                            static_cast<u32>(abi::wake_bit::console));
            });
    }
    Outcome outcome = in_order(
        [&] {
            return space.map_frame(abi::console_table_address, machine().console_table_frame,
                                   read_only);
        },
        [&] {
            return give(instance, abi::root_selector::platform, abi::start_selector::platform,
                        abi::right::read);
        });
    for (u32 i = 0; outcome.ok() && i < max_instances; ++i) {
        outcome = machine().console_frames[i] == 0
                      ? Outcome()
                      : space.map_frame(abi::console_pages_address + i * abi::frame_size,
                                        machine().console_frames[i], read_write);
    }
    return outcome;
}

} // namespace horos::root
