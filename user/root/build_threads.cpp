// The threads of an instance: stack and FS block, thread, notification, time.
#include <horos/rt/time.hpp>

#include "instance.hpp"

namespace horos::root {
namespace {

// What FS points to; offsets as in abi/start_page.hpp and the System V ABI.
struct FsBlock {
    u64 self;
    u64 thread;
    u64 reserved[3];
    u64 canary;
};
static_assert(offsetof(FsBlock, canary) == 0x28);

Outcome build_stack(Instance& instance, SpaceEditor& space, u32 thread) {
    const u64 top = abi::thread_stack_top(thread);
    for (u64 at = top - abi::thread_stack_size; at < top; at += abi::frame_size) {
        u32 frame;
        const Outcome outcome = in_order([&] { return take(instance, frame); },
                                         [&] { return Scratch::fill(frame, nullptr, 0); },
                                         [&] { return space.map_frame(at, frame, read_write); });
        if (!outcome.ok()) {
            return outcome;
        }
    }
    u32 frame;
    // The canary differs between starts and has a zero byte, which stops overlong strings.
    const u64 base = abi::thread_fs_base(thread);
    const FsBlock block = {base, thread, {}, (rt::now() * 0x9e37'79b9'7f4a'7c15) << 8};
    return in_order([&] { return take(instance, frame); },
                    [&] { return Scratch::fill(frame, &block, sizeof block); },
                    [&] { return space.map_frame(base, frame, read_write); });
}

Outcome create_thread(Instance& instance, u32 thread) {
    const u32 slot = selector::thread(instance.index, thread);
    u32 frame;
    return in_order(
        [&] { return take(instance, frame); },
        [&] {
            return check("create a thread",
                         user::thread_create(frame, slot, selector::domain(instance.index),
                                             selector::space(instance.index)));
        },
        [&] {
            return check("monitor a thread",
                         user::thread_monitor(slot, selector::monitor_notification,
                                              monitor_bit::thread(instance.index)));
        },
        [&] { return give(instance, slot, abi::start_selector::thread(thread), read_write); });
}

Outcome create_notification(Instance& instance, u32 thread) {
    const u32 slot = thread == 0 ? selector::notification(instance.index) : selector::scratch;
    const u32 theirs = abi::start_selector::notification(thread);
    u32 frame;
    return in_order(
        [&] { return take(instance, frame); },
        [&] { return check("create a notification", user::notification_create(frame, slot)); },
        [&] {
            return check("bind a notification",
                         user::thread_bind(selector::thread(instance.index, thread), slot));
        },
        [&] {
            return thread == 0 ? give(instance, slot, theirs, read_write)
                               : hand_over(instance, theirs, read_write);
        });
}

Outcome give_time(Instance& instance, u32 thread) {
    const ThreadPlace& place = instance.threads[thread];
    u32 frame;
    return in_order([&] { return take(instance, frame); },
                    [&] {
                        return check("create a scheduling context",
                                     user::sc_create(frame, selector::scratch,
                                                     abi::root_selector::first_core + place.core,
                                                     place.slot, place.budget));
                    },
                    [&] {
                        return check("bind a scheduling context",
                                     user::sc_bind(selector::scratch,
                                                   selector::thread(instance.index, thread)));
                    },
                    [&] { return check("delete", user::cap_delete(selector::scratch)); });
}

} // namespace

Outcome build_threads(Instance& instance, SpaceEditor& space) {
    for (u32 thread = 0; thread < instance.thread_count; ++thread) {
        const Outcome outcome = in_order([&] { return build_stack(instance, space, thread); },
                                         [&] { return create_thread(instance, thread); },
                                         [&] { return create_notification(instance, thread); },
                                         [&] { return give_time(instance, thread); });
        if (!outcome.ok()) {
            return outcome;
        }
    }
    return {};
}

} // namespace horos::root
