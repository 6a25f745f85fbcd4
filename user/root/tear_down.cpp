// Taking an instance apart: every frame becomes ordinary memory of the root task again.
#include "instance.hpp"

namespace horos::root {
namespace {

constexpr u32 max_passes = 64;
constexpr u32 table_steps = 512 / abi::entries_per_reclaim;

void stop_threads(const Instance& instance) {
    for (u32 thread = 0; thread < instance.thread_count; ++thread) {
        // wrong_state: it has stopped already.
        (void)user::thread_stop(selector::thread(instance.index, thread));
    }
}

// Others hold capabilities to wake this instance; they would be stale and take up slots.
void disconnect(const Instance& instance) {
    (void)user::cap_take(selector::domain(console_index),
                         abi::console_first_signal + instance.index);
    const abi::System& system = *machine().system;
    for (u32 i = 0; i < system.channel_count; ++i) {
        for (u32 end = 0; end < 2; ++end) {
            if (system.channels[i].partition[end] == instance.index) {
                (void)user::cap_take(selector::domain(system.channels[i].partition[1 - end]),
                                     abi::start_selector::first_channel + i);
            }
        }
    }
}

// Whether the frame is ordinary memory of the root task afterwards.
bool reclaim_frame(u32 domain, u32 frame) {
    for (u8 step = 0; step < table_steps; ++step) {
        const auto result = user::frame_reclaim(domain, frame, step);
        if (result.ok()) {
            return true;
        }
        if (result.error != Error::again) {
            return false;
        }
    }
    return false;
}

// Frames that still belong to the instance's domain come first to the root task.
bool reclaim_any(const Instance& instance, u32 frame) {
    const auto info = user::frame_info(frame);
    if (info.error == Error::not_owner) {
        return reclaim_frame(selector::domain(instance.index), frame);
    }
    return info.ok() && reclaim_frame(abi::root_selector::domain, frame);
}

// A native program's block: still whole, or split by it.
bool reclaim_block(Instance& instance, u32 number, u32 block) {
    const u32 first = block * abi::frames_per_block;
    const auto mine = user::block_reclaim(selector::domain(instance.index), block);
    const auto info = user::frame_info(first);
    const bool whole = info.ok() && (info.type & 0x100) != 0;
    if (whole) {
        return true;
    }
    if (!mine.ok() && mine.error != Error::not_owner) {
        return false;
    }
    instance.split_blocks |= u32{1} << number;
    bool all = true;
    for (u32 i = 0; i < abi::frames_per_block; ++i) {
        all &= reclaim_any(instance, first + i);
    }
    return all;
}

bool reclaim_memory(Instance& instance) {
    if (instance.is_guest()) { // its memory was the root task's all the time
        return instance.apic_frame == 0 || reclaim_any(instance, instance.apic_frame);
    }
    bool all = true;
    u32 number = 0;
    for (u32 i = 0; i < instance.extent_count; ++i) {
        for (u32 n = 0; n < instance.memory[i].count; ++n) {
            all &= reclaim_block(instance, number++, instance.memory[i].first + n);
        }
    }
    return all;
}

bool reclaim_pool(const Instance& instance) {
    bool all = true;
    for (u32 i = 0; i < instance.pool.used(); ++i) {
        all &= reclaim_frame(abi::root_selector::domain, instance.pool.frame(i));
    }
    return all;
}

void forget_capabilities(const Instance& instance) {
    for (u32 i = 0; i < selector::per_instance; ++i) {
        (void)user::cap_delete(selector::base(instance.index) + i);
    }
}

} // namespace

// Objects refer to each other, and what is referred to cannot go: each pass takes away what the
// one before has set free. A core that is just leaving the instance is waited for.
Outcome tear_down(Instance& instance) {
    stop_threads(instance);
    disconnect(instance);
    for (u32 pass = 0; pass < max_passes; ++pass) {
        const bool memory = reclaim_memory(instance);
        const bool pool = reclaim_pool(instance);
        if (memory && pool) {
            forget_capabilities(instance);
            instance.pool.clear();
            return {};
        }
        if (pass > 8) {
            sleep_ms(1);
        }
    }
    return Outcome::failure("its memory cannot be taken back");
}

} // namespace horos::root
