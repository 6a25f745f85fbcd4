// Time: scheduling contexts, windows, and who is ready.
#include "spec/schedule.hpp"
#include "kernel/core/shell.hpp"
#include "spec/calls.hpp"

namespace horos::spec {

bool is_current(Frame thread) {
    const Frame sc = threads[thread].sc;
    return sc != 0 && cores[sched_contexts[sc].core].thread == thread;
}

void decide_again(u32 core) {
    cores[core].reschedule = 1;
    if (core != shell_core())
        shell_send_reschedule(core);
}

void becomes_ready(Frame thread) {
    const SchedContext& on = sched_contexts[threads[thread].running_on];
    Core& core = cores[on.core];
    include(core.ready, on.position);
    if (core.thread == 0 || on.position < sched_contexts[core.context].position)
        decide_again(on.core);
}

void becomes_unready(Frame thread) {
    const Frame sc = threads[thread].running_on;
    const SchedContext& on = sched_contexts[sc];
    exclude(cores[on.core].ready, on.position);
    if (cores[on.core].context == sc)
        decide_again(on.core);
}

void set_deadline(Frame thread, u64 tsc) {
    const SchedContext& on = sched_contexts[threads[thread].running_on];
    cores[on.core].deadline[on.position % sc_slots] = tsc;
    include(cores[on.core].timed, on.position);
}

void clear_deadline(Frame thread) {
    const SchedContext& on = sched_contexts[threads[thread].running_on];
    exclude(cores[on.core].timed, on.position);
}

void refill_budgets(u32 number) {
    Core& core = cores[number];
    core.exhausted = 0;
    for (u32 p = 0; p < sc_slots; ++p) {
        if (core.sc[p] != 0)
            sched_contexts[core.sc[p]].left = sched_contexts[core.sc[p]].budget;
    }
}

// A core that runs.
static Error find_core(const Caller& me, u32 selector, u32& number) {
    Cap cap;
    Refusal refuse;
    if (refuse(find(me.domain, selector, ObjectType::core, right::write, cap)))
        return refuse.reason;
    number = core_objects[cap.object].number;
    return number < max_cores && cores[number].online != 0 ? Error::ok : Error::bad_core;
}

Answer sc_create(const Caller& me, const ScCreateArgs& a) {
    u32 core = 0;
    Refusal refuse;
    if (refuse(find_core(me, a.core, core)) ||
        refuse(a.position >= sc_slots || cores[core].sc[a.position % sc_slots] != 0,
               Error::bad_slot) ||
        refuse(vacant(me.domain, a.slot)) || //
        refuse(raw_memory_of(me.domain, a.frame)))
        return refuse.reason;
    make(a.frame, ObjectType::sched_context);
    SchedContext& made = sched_contexts[a.frame];
    made.core = core;
    made.position = a.position;
    made.budget = a.budget;
    made.left = a.budget;
    cores[core].sc[a.position % sc_slots] = a.frame;
    put(me.domain, a.slot, full(a.frame));
    return Error::ok;
}

// A thread that is to go on with a guest stays on the guest's core.
static bool guest_elsewhere(Frame thread, u32 core) {
    const Frame vcpu = threads[thread].vcpu;
    return vcpu != 0 && vcpus[vcpu].core != core;
}

Answer sc_bind(const Caller& me, const ScBindArgs& a) {
    Cap sc;
    Cap thread;
    Refusal refuse;
    if (refuse(find(me.domain, a.sc, ObjectType::sched_context, right::write, sc)) ||
        refuse(find(me.domain, a.thread, ObjectType::thread, right::write, thread)) ||
        refuse(sched_contexts[sc.object].thread != 0, Error::busy) ||
        refuse(threads[thread.object].sc != 0, Error::busy) ||
        refuse(threads[thread.object].state != ThreadState::stopped, Error::wrong_state) ||
        refuse(guest_elsewhere(thread.object, sched_contexts[sc.object].core), Error::wrong_core) ||
        refuse(!may_refer(thread.object), Error::limit))
        return refuse.reason;
    sched_contexts[sc.object].thread = thread.object;
    sched_contexts[sc.object].running = thread.object;
    threads[thread.object].sc = sc.object;
    threads[thread.object].running_on = sc.object;
    refer(thread.object);
    return Error::ok;
}

static constexpr u64 shortest_window = 10'000;      // TSC ticks; less would be spent in the kernel
static constexpr u64 longest_window = u64{1} << 48; // so that sums do not overflow

Answer core_window(const Caller& me, const CoreWindowArgs& a) {
    u32 core = 0;
    Refusal refuse;
    if (refuse(find_core(me, a.core, core)) || refuse(a.index >= max_windows, Error::bad_window) ||
        refuse(a.length < shortest_window || a.length >= longest_window, Error::bad_window))
        return refuse.reason;
    Window& window = cores[core].next_windows[a.index % max_windows];
    window = {a.length, a.slots, {}};
    return Error::ok;
}

// Whether each of the first `count` windows was set.
static bool all_set(u32 core, u32 count) {
    bool all = true;
    for (u32 i = 0; i < max_windows; ++i)
        all = all && (i >= count || cores[core].next_windows[i].length != 0);
    return all;
}

Answer core_schedule(const Caller& me, const CoreScheduleArgs& a) {
    u32 number = 0;
    Refusal refuse;
    if (refuse(find_core(me, a.core, number)) || refuse(a.count > max_windows, Error::bad_window) ||
        refuse(!all_set(number, a.count), Error::bad_window))
        return refuse.reason;
    Core& core = cores[number];
    for (u32 i = 0; i < max_windows; ++i)
        core.windows[i] = i < a.count ? core.next_windows[i] : Window{};
    core.window_count = a.count;
    core.window = 0;
    core.window_end = a.count != 0 ? shell_now() + core.windows[0].length : 0;
    refill_budgets(number);
    decide_again(number);
    return Error::ok;
}

} // namespace horos::spec
