// Who runs on a core: cyclic windows, fixed priorities by position, budgets.
#pragma once
#include "kernel/core/caller.hpp"

namespace horos::core {

// The thread on scheduling context `running_on` can run: marks its position ready and, if it should
// run before what its core runs now, makes that core look again.
void make_ready(Frame thread);
// The thread cannot go on: its position is not ready, its core must look again.
void make_unready(Frame thread);
// A thread that waits, or runs a guest, with a deadline.
void set_deadline(Frame thread, u64 tsc);
void clear_deadline(Frame thread);
// Makes another core (or this one) look again who should run.
void kick(u32 core);
// The thread runs next in ring 3 in place of the caller, on the same scheduling context: the result
// word that says so.
[[gnu::always_inline]] inline u64 switch_directly(u32 number, Frame thread) {
    Core& core = cores[number];
    core.thread = thread;
    if (core.reschedule != 0)
        return result_switch;
    core.space = threads[thread].space;
    return result_switch | result_direct | u64{thread} << 32;
}
// The core on which a thread lives.
u32 core_of(Frame thread);

Error sc_create(const Caller&, const ScCreateArgs&);
Error sc_bind(const Caller&, const ScBindArgs&);
Error core_window(const Caller&, const CoreWindowArgs&);
Error core_schedule(const Caller&, const CoreScheduleArgs&);

} // namespace horos::core
