// Threads: making, starting, stopping and watching them.
#pragma once
#include "kernel/core/caller.hpp"

namespace horos::core {

// Takes a thread out of whatever it does or waits for. Its partner's call ends with Error::dead.
void stop_thread(Frame thread);
// Ends a wait: the thread's blocking call returns `error` and one value.
void wake(Frame thread, Error error, u64 value);
// Sets what a hypercall that a thread is stopped in will return.
inline void set_values(Frame thread, Error error, const Values& values) {
    Registers& regs = threads[thread].regs;
    regs.gpr[0] = static_cast<u64>(error); // rax
    regs.gpr[2] = values.v[0];             // rdx
    regs.gpr[7] = values.v[1];             // rdi
    regs.gpr[6] = values.v[2];             // rsi
    regs.gpr[8] = values.v[3];             // r8
    regs.gpr[9] = values.v[4];             // r9
    regs.gpr[10] = values.v[5];            // r10
    regs.full = 0;
}
// What a wait leaves in the thread itself when it ends; who calls it takes care of the rest.
inline void end_wait(Frame thread, Error error) {
    threads[thread].waiting_for = 0;
    threads[thread].state = ThreadState::runnable;
    set_values(thread, error, {});
}
// The thread is the one some core runs now.
bool is_current(Frame thread);

Error thread_create(const Caller&, const ThreadCreateArgs&);
Error thread_start(const Caller&, const ThreadStartArgs&);
Error thread_stop(const Caller&, const ThreadStopArgs&);
Error thread_resume(const Caller&, const ThreadResumeArgs&);
Error thread_monitor(const Caller&, const ThreadMonitorArgs&);
Error thread_info(const Caller&, const ThreadInfoArgs&, Values&);
Error thread_bind(const Caller&, const ThreadBindArgs&);
u64 thread_exit(const Caller&, const ThreadExitArgs&, Values&);

} // namespace horos::core
