#include "kernel/core/sched.hpp"
#include "kernel/core/caps.hpp"
#include "kernel/core/frames.hpp"
#include "kernel/core/shell.hpp"
#include "kernel/core/threads.hpp"
#include "kernel/core/vendor.hpp"

namespace horos::core {

u32 core_of(Frame thread) { return sched_contexts[threads[thread].sc].core; }

void kick(u32 core) {
    cores[core].reschedule = 1;
    if (core != shell_core())
        shell_send_reschedule(core);
}

static const SchedContext& context_of(Frame thread) {
    return sched_contexts[threads[thread].running_on];
}

void make_ready(Frame thread) {
    const SchedContext& sc = context_of(thread);
    Core& core = cores[sc.core];
    core.ready |= position_bit(sc.position);
    if (core.thread == 0 || sc.position < sched_contexts[core.context].position)
        kick(sc.core);
}

void make_unready(Frame thread) {
    const SchedContext& sc = context_of(thread);
    cores[sc.core].ready &= static_cast<u16>(~position_bit(sc.position));
    if (cores[sc.core].context == threads[thread].running_on)
        kick(sc.core);
}

void set_deadline(Frame thread, u64 tsc) {
    const SchedContext& sc = context_of(thread);
    Core& core = cores[sc.core];
    core.deadline[sc.position & 15] = tsc;
    core.timed |= position_bit(sc.position);
}

void clear_deadline(Frame thread) {
    const SchedContext& sc = context_of(thread);
    cores[sc.core].timed &= static_cast<u16>(~position_bit(sc.position));
}

// Charges the time since the last decision to who ran.
static void account(Core& core, u64 now) {
    const u64 used = now - core.slice_start;
    core.slice_start = now;
    if (core.thread == 0)
        return;
    threads[core.thread].time_used += used;
    SchedContext& sc = sched_contexts[core.context];
    if (sc.budget == 0 || core.window_count == 0)
        return;
    sc.left = sc.left > used ? sc.left - used : 0;
    if (sc.left == 0)
        core.exhausted |= position_bit(sc.position);
}

static void refill_budgets(Core& core) {
    core.exhausted = 0;
    for (u32 p = 0; p < sc_slots; ++p) {
        if (core.sc[p] != 0)
            sched_contexts[core.sc[p]].left = sched_contexts[core.sc[p]].budget;
    }
}

static bool window_over(const Core& core, u64 now) {
    return core.window_count != 0 && now >= core.window_end;
}

// Windows follow each other without gaps. A core that was away for long (a debugger, a suspended
// emulator) starts a window anew instead of running after lost ones.
static void next_window(Core& core, u64 now) {
    const u32 window = core.window + 1u < core.window_count ? core.window + 1u : 0;
    const u64 length = core.windows[window & 15].length;
    const u64 end = core.window_end + length;
    const bool anew = ++core.windows_late >= max_windows && now >= end;
    core.window = static_cast<u8>(window);
    core.window_end = anew ? now + length : end;
    if (window == 0)
        refill_budgets(core);
}

// Positions whose deadline has passed.
static u16 due(const Core& core, u64 now) {
    u16 mask = 0;
    for (u32 p = 0; p < sc_slots; ++p) {
        if ((core.timed & position_bit(p)) != 0 && core.deadline[p] <= now)
            mask |= position_bit(p);
    }
    return mask;
}

// The thread that waits there goes on. A guest's deadline only needs its loop to look again.
static void expire_deadline(Core& core, u32 position) {
    core.timed &= static_cast<u16>(~position_bit(position));
    const Frame thread = sched_contexts[core.sc[position]].running;
    if (threads[thread].state == ThreadState::wait_notification)
        wake(thread, Error::timeout, 0);
}

static u16 allowed(const Core& core) {
    return core.window_count == 0
               ? u16{0xffff}
               : static_cast<u16>(core.windows[core.window & 15].slots & ~core.exhausted);
}

// Only positions of the current window may interrupt it.
static u64 next_event(const Core& core, u16 mask, u64 now) {
    u64 next = core.window_count != 0 ? core.window_end : no_deadline;
    const u16 timed = core.timed & mask;
#pragma clang loop unroll(disable)
    for (u32 p = 0; p < sc_slots; ++p) {
        const u64 earlier = next < core.deadline[p] ? next : core.deadline[p];
        next = (timed & position_bit(p)) != 0 ? earlier : next;
    }
    if (core.thread != 0 && core.window_count != 0) {
        const SchedContext& sc = sched_contexts[core.context];
        if (sc.budget != 0 && sc.left < next - now)
            next = now + sc.left;
    }
    return next;
}

static u32 first_of(u16 positions) { return static_cast<u32>(__builtin_ctz(positions)); }

static void choose(Core& core, u64 now) {
    core.reschedule = 0;
    core.windows_late = 0;
    const u16 mask = allowed(core);
    const u16 candidates = static_cast<u16>(core.ready & mask);
    if (candidates == 0) {
        core.thread = 0;
        core.context = 0;
    } else {
        core.context = core.sc[first_of(candidates)];
        core.thread = sched_contexts[core.context].running;
    }
    const u64 next = next_event(core, mask, now);
    if (next != core.timer) {
        core.timer = next;
        shell_set_timer(next);
    }
}

// One thing at a time: a window that is over, a deadline, and when there are none, the choice.
// Not on the path of a call or an exit that is measured: small rather than fast.
[[gnu::noinline, clang::minsize]] static void decide(u32 number) {
    Core& core = cores[number];
    const u64 now = shell_now();
    account(core, now);
    if (window_over(core, now))
        return next_window(core, now);
    if (const u16 passed = due(core, now); passed != 0)
        return expire_deadline(core, first_of(passed));
    choose(core, now);
}

Next core_next(u32 number) {
    Core& core = cores[number];
    if (core.reschedule != 0) {
        decide(number);
        if (core.reschedule != 0)
            return Next::again;
    }
    const Frame thread = core.thread;
    core.space = thread != 0 ? threads[thread].space : 0;
    if (thread == 0)
        return Next::idle;
    return threads[thread].vcpu != 0 ? Next::guest : Next::user;
}

void core_timer(u32 core) {
    cores[core].timer = no_deadline;
    cores[core].reschedule = 1;
}

void core_reschedule(u32 core) {
    cores[core].reschedule = 1;
    vendor_rescheduled(core);
}

static Error find_core(const Caller& me, u32 selector, u32& number) {
    CapSlot cap;
    const Error e = lookup(me.domain, selector, ObjectType::core, right::write, cap);
    if (e != Error::ok)
        return e;
    number = core_objects[cap.object].number;
    return number < max_cores && cores[number].online != 0 ? Error::ok : Error::bad_core;
}

Error sc_create(const Caller& me, const ScCreateArgs& a) {
    u32 core;
    if (const Error e = find_core(me, a.core, core); e != Error::ok)
        return e;
    if (a.position >= sc_slots || cores[core].sc[a.position & 15] != 0)
        return Error::bad_slot;
    if (const Error e = check_empty(me.domain, a.slot); e != Error::ok)
        return e;
    if (const Error e = check_retype(me.domain, a.frame); e != Error::ok)
        return e;
    retype(a.frame, ObjectType::sched_context);
    SchedContext& sc = sched_contexts[a.frame];
    sc.core = core;
    sc.position = a.position;
    sc.budget = a.budget;
    sc.left = a.budget;
    cores[core].sc[a.position & 15] = a.frame;
    put(me.domain, a.slot, full_cap(a.frame, ObjectType::sched_context));
    return Error::ok;
}

Error sc_bind(const Caller& me, const ScBindArgs& a) {
    CapSlot sc;
    CapSlot thread;
    if (const Error e = lookup(me.domain, a.sc, ObjectType::sched_context, right::write, sc);
        e != Error::ok)
        return e;
    if (const Error e = lookup(me.domain, a.thread, ObjectType::thread, right::write, thread);
        e != Error::ok)
        return e;
    if (sched_contexts[sc.object].thread != 0 || threads[thread.object].sc != 0)
        return Error::busy;
    if (threads[thread.object].state != ThreadState::stopped)
        return Error::wrong_state;
    // A guest that it is to go on with does not change its core.
    const Frame vcpu = threads[thread.object].vcpu;
    if (vcpu != 0 && vcpus[vcpu].core != sched_contexts[sc.object].core)
        return Error::wrong_core;
    if (!can_reference(thread.object))
        return Error::limit;
    sched_contexts[sc.object].thread = thread.object;
    sched_contexts[sc.object].running = thread.object;
    threads[thread.object].sc = sc.object;
    threads[thread.object].running_on = sc.object;
    reference(thread.object);
    return Error::ok;
}

// A window shorter than this would be spent in the kernel.
static constexpr u64 shortest_window = 10'000; // TSC ticks

Error core_window(const Caller& me, const CoreWindowArgs& a) {
    u32 core;
    if (const Error e = find_core(me, a.core, core); e != Error::ok)
        return e;
    if (a.index >= max_windows || a.length < shortest_window || a.length >= bit(48))
        return Error::bad_window;
    cores[core].next_windows[a.index & 15] = {a.length, a.slots, {}};
    return Error::ok;
}

Error core_schedule(const Caller& me, const CoreScheduleArgs& a) {
    u32 number;
    if (const Error e = find_core(me, a.core, number); e != Error::ok)
        return e;
    if (a.count > max_windows)
        return Error::bad_window;
    Core& core = cores[number];
    for (u32 i = 0; i < max_windows; ++i) {
        if (i < a.count && core.next_windows[i].length == 0)
            return Error::bad_window;
    }
    for (u32 i = 0; i < max_windows; ++i)
        core.windows[i] = i < a.count ? core.next_windows[i] : Window{};
    core.window_count = a.count;
    core.window = 0;
    core.window_end = a.count == 0 ? 0 : shell_now() + core.windows[0].length;
    refill_budgets(core);
    kick(number);
    return Error::ok;
}

} // namespace horos::core
