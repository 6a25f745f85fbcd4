#include "spec/events.hpp"
#include "kernel/core/shell.hpp"
#include "spec/entry.hpp"
#include "spec/schedule.hpp"

namespace horos::spec {

// A level-triggered line stays masked until irq_ack. What nobody has made an object for is
// spurious.
extern "C" void spec_core_interrupt(u32, u8 vector) {
    const Frame f = irq_of_vector[vector];
    if (f == 0)
        return;
    Interrupt& i = interrupts[f];
    if (i.is_message == 0 && (i.flags & irq_flag::level) != 0) {
        shell_mask_line(i.gsi, true);
        i.masked = 1;
    }
    if (i.notification != 0)
        raise(i.notification, i.bits);
}

extern "C" void spec_core_timer(u32 core) {
    cores[core].timer = no_deadline; // it fires once
    cores[core].reschedule = 1;
}

extern "C" void spec_core_reschedule(u32 core) { cores[core].reschedule = 1; }

extern "C" void spec_core_fault(u32 core, u64 vector, u64 error, u64 address) {
    const Frame f = cores[core].thread;
    threads[f].regs.vector = vector;
    threads[f].regs.error = error;
    threads[f].regs.address = address;
    threads[f].fault_count += 1;
    halt(f, ThreadState::faulted);
    tell_monitor(f);
}

// The time since the last decision is charged to who ran. Budgets count in windows only.
static void charge(Core& core, u64 now) {
    const u64 used = now - core.slice_start;
    core.slice_start = now;
    if (core.thread == 0)
        return;
    threads[core.thread].time_used += used;
    SchedContext& sc = sched_contexts[core.context];
    if (core.window_count == 0 || sc.budget == 0)
        return;
    sc.left = sc.left < used ? 0 : sc.left - used;
    if (sc.left == 0)
        include(core.exhausted, sc.position);
}

static u64 length_of(const Core& core, u32 window) { return core.windows[window % 16].length; }

static bool window_is_over(const Core& core, u64 now) {
    return core.window_count != 0 && core.window_end <= now;
}

// Windows follow each other without gaps; with the first, a major frame begins and budgets are full
// again. A core that has missed 16 windows begins one anew instead of running after them.
static void follow_window(u32 number, u64 now) {
    Core& core = cores[number];
    const bool last = core.window + 1u >= core.window_count;
    const u32 window = last ? 0 : core.window + 1u;
    const u64 length = core.windows[window % 16].length;
    const u64 end = core.window_end + length;
    core.windows_late++;
    core.window = static_cast<u8>(window);
    core.window_end = core.windows_late >= max_windows && end <= now ? now + length : end;
    if (last)
        refill_budgets(number);
}

static u16 bit_of(u32 p) { return static_cast<u16>(1u << p); }

// The positions whose time has come.
static u16 due_at(const Core& core, u64 now) {
    u16 due = 0;
    for (u32 p = 0; p < sc_slots; ++p)
        due |= has(core.timed, p) && core.deadline[p] <= now ? bit_of(p) : 0;
    return due;
}

// Who waits until a time that has come goes on. A guest's deadline only makes its loop look.
static void pass_deadline(Core& core, u32 position) {
    exclude(core.timed, position);
    const Frame thread = sched_contexts[core.sc[position]].running;
    if (threads[thread].state == ThreadState::wait_notification)
        end_wait(thread, Error::timeout, 0);
}

// Positions that may run now.
static u16 allowed_now(const Core& core) {
    if (core.window_count == 0)
        return 0xffff;
    return static_cast<u16>(core.windows[core.window % 16].slots & ~core.exhausted);
}

static u64 least(u64 a, u64 b) { return a < b ? a : b; }

// When the core must decide again: at the end of its window, at a deadline of a position that may
// run, or when the budget of who runs is used up.
static u64 next_decision(const Core& core, u16 allowed, u64 now) {
    const bool windows = core.window_count != 0;
    u64 when = windows ? core.window_end : no_deadline;
    for (u32 p = 0; p < sc_slots; ++p) {
        if (has(core.timed & allowed, p))
            when = least(when, core.deadline[p]);
    }
    if (!windows || core.thread == 0)
        return when;
    const SchedContext& sc = sched_contexts[core.context];
    return sc.budget != 0 && sc.left < when - now ? now + sc.left : when;
}

// The lowest of some positions.
static u32 most_urgent(u16 positions) {
    u32 position = 0;
    for (u32 p = sc_slots; p > 0; --p) {
        if (has(positions, p - 1))
            position = p - 1;
    }
    return position;
}

static void choose(Core& core, u64 now) {
    core.reschedule = 0;
    core.windows_late = 0;
    const u16 allowed = allowed_now(core);
    const u16 candidates = static_cast<u16>(core.ready & allowed);
    core.context = candidates != 0 ? core.sc[most_urgent(candidates)] : 0;
    core.thread = core.context != 0 ? sched_contexts[core.context].running : 0;
    const u64 when = next_decision(core, allowed, now);
    if (when != core.timer)
        shell_set_timer(when);
    core.timer = when;
}

// One thing: the next window, the most urgent deadline that has passed, or who runs.
static void decide(u32 number) {
    Core& core = cores[number];
    const u64 now = shell_now();
    charge(core, now);
    if (window_is_over(core, now))
        return follow_window(number, now);
    if (const u16 due = due_at(core, now); due != 0)
        return pass_deadline(core, most_urgent(due));
    choose(core, now);
}

// Until the core has chosen, it is asked again.
extern "C" Next spec_core_next(u32 number) {
    Core& core = cores[number];
    if (core.reschedule != 0)
        decide(number);
    if (core.reschedule != 0)
        return Next::again;
    core.space = core.thread != 0 ? threads[core.thread].space : 0; // an unmap reaches this core
    if (core.thread == 0)
        return Next::idle;
    return threads[core.thread].vcpu != 0 ? Next::guest : Next::user;
}

extern "C" u64 spec_core_run_guest(u32 core) {
    const Frame thread = cores[core].thread;
    return deliver({core, thread, threads[thread].domain}, run_guest(core), true);
}

} // namespace horos::spec
