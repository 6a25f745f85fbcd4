// Threads: making, starting, stopping and watching them.
#pragma once
#include "kernel/core/caller.hpp"

namespace horos::core {

// Takes a thread out of whatever it does or waits for. Its partner's call ends with Error::dead.
void stop_thread(Frame thread);
// Ends a wait: the thread's blocking call returns `error` and one value.
void wake(Frame thread, Error error, u64 value);
// Sets what a hypercall that a thread is stopped in will return.
void set_values(Frame thread, Error error, const Values& values);
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
