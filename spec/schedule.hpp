// Words for threads and time, used by several groups of calls.
#pragma once
#include "spec/state.hpp"

namespace horos::spec {

// ---- schedule.cpp
inline bool is_halted(ThreadState s) {
    return s == ThreadState::stopped || s == ThreadState::faulted || s == ThreadState::exited;
}
// A server that works for a client, on the client's scheduling context.
inline bool is_serving(Frame thread) { return threads[thread].running_on != threads[thread].sc; }
// Some core runs the thread now, in ring 3, in the kernel or in its guest.
bool is_current(Frame thread);

// A core is to decide again who runs on it.
void decide_again(u32 core);
// The thread can go on: a core that is idle or runs something less urgent decides again.
void becomes_ready(Frame thread);
// The thread cannot go on: its core decides again if it ran on the same scheduling context.
void becomes_unready(Frame thread);
void set_deadline(Frame thread, u64 tsc);
void clear_deadline(Frame thread);
void refill_budgets(u32 core);

// ---- threads.cpp
// The blocking call that a thread waits in returns, with an error and one value.
void end_wait(Frame thread, Error error, u64 value);
// The part of it that is the thread's own: the queue that it waited in is seen to elsewhere.
void goes_on(Frame thread, Error error);
// Takes a thread out of what it does or waits for; `state` is one of the halted ones.
void halt(Frame thread, ThreadState state);
// Its monitor, if it has one, hears that a thread faulted or exited.
void tell_monitor(Frame thread);

// ---- ipc.cpp
// A server gives the scheduling context that it works on back.
void give_back_time(Frame server);
// Everybody who waits at an endpoint that ends gets `dead`.
void end_endpoint(Frame endpoint);

// ---- notify.cpp
// ORs bits into a notification. Who waits for it takes them all.
void raise(Frame notification, u64 bits);

// ---- devices.cpp
void end_interrupt(Frame interrupt);

} // namespace horos::spec
