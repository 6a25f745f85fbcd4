// From the six words of a hypercall to its handler, and back to a result word. The handler's form
// says what kind of call it is.
#pragma once
#include "kernel/core/caller.hpp"
#include "kernel/core/shell.hpp"

namespace horos::core {

[[gnu::always_inline]] inline Caller fast_caller() {
    const u32 core = shell_core();
    const Frame thread = cores[core].thread;
    return {core, thread, threads[thread].domain};
}

Caller caller();
// Another core has stopped the thread, the interrupt that says so has not arrived yet: its call is
// not made. Should it be resumed, it finds `again`.
u64 refuse_halted(Frame thread);
inline bool is_running(const Caller& me) {
    return threads[me.thread].state == ThreadState::runnable;
}
u64 finish(const Caller& me, u64 result);

// Answers with an error only.
template <class Args>
inline u64 run(Error (*handler)(const Caller&, const Args&), const Caller& me, const Args& args) {
    return finish(me, word(handler(me, args)));
}
// Answers with values.
template <class Args>
inline u64 run(Error (*handler)(const Caller&, const Args&, Values&), const Caller& me,
               const Args& args) {
    Values& values = results[me.core];
    values = {};
    const Error error = handler(me, args, values);
    return finish(me, word(error) | (error == Error::ok ? result_values : 0));
}
// May block: makes the result word itself.
template <class Args>
inline u64 run(u64 (*handler)(const Caller&, const Args&, Values&), const Caller& me,
               const Args& args) {
    return handler(me, args, results[me.core]);
}

template <class Args, auto handler>
u64 entry(u64 rdi, u64 rsi, u64 rdx, u64 r10, u64 r8, u64 r9) {
    Args args;
    const RawArgs raw{rdi, rsi, rdx, r10, r8, r9};
    if (const Error e = decode(raw, args); e != Error::ok)
        return word(e);
    const Caller me = caller();
    return is_running(me) ? run(handler, me, args) : refuse_halted(me.thread);
}

// For the calls that are measured: everything inline, in the handler's own file.
template <class Args, auto handler>
[[gnu::always_inline]] inline u64 fast_entry(u64 rdi, u64 rsi, u64 rdx, u64 r10, u64 r8, u64 r9) {
    Args args;
    const RawArgs raw{rdi, rsi, rdx, r10, r8, r9};
    if (const Error e = decode(raw, args); e != Error::ok) [[unlikely]]
        return word(e);
    const Caller me = fast_caller();
    if (!is_running(me)) [[unlikely]]
        return refuse_halted(me.thread);
    return run(handler, me, args);
}

u64 call_entry(u64, u64, u64, u64, u64, u64);
u64 reply_receive_entry(u64, u64, u64, u64, u64, u64);
u64 wait_entry(u64, u64, u64, u64, u64, u64);
u64 signal_entry(u64, u64, u64, u64, u64, u64);
u64 vcpu_run_entry(u64, u64, u64, u64, u64, u64);

} // namespace horos::core
