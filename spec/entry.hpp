// From the six registers of a hypercall to what spec/ says about it, and from the answer to the
// result word: the part that all calls share.
#pragma once
#include "kernel/core/entry.hpp"
#include "kernel/core/shell.hpp"
#include "spec/answer.hpp"
#include "spec/state.hpp"

namespace horos::spec {

// A result word of spec/'s own: the kernel enters the guest here (vendor_enter), and the lock is
// free. What follows is another step.
inline constexpr u64 result_enters_guest = 0x800;

// What a thread finds in its registers when it goes on after a call that did not answer at once.
void answer_later(Frame thread, Error error, const Values& values);

// The result word for the entry code: from there the answer goes into registers rax, rdx, rdi, ...
// of the caller, at once or when it is scheduled again.
u64 deliver(const Caller& me, const Answer& answer, bool blocking);

template <class Args, auto call>
u64 entry(bool blocking, bool has_values, const RawArgs& raw) {
    Args args;
    if (const Error e = decode(raw, args); e != Error::ok)
        return static_cast<u64>(e); // first of all, whoever asks
    if constexpr (__is_same(Args, NullArgs))
        return 0; // does not even look at its caller
    const u32 core = shell_core();
    const Frame thread = cores[core].thread;
    const Caller me{core, thread, threads[thread].domain};
    // Another core has stopped the caller, and the interrupt that says so is under way: the call is
    // not made. Should the caller be resumed, it finds `again`.
    if (threads[thread].state != ThreadState::runnable) {
        answer_later(thread, Error::again, {});
        return result_switch;
    }
    Answer answer = call(me, args);
    if (has_values && !blocking && answer.error == Error::ok)
        answer.has_values = true;
    return deliver(me, answer, blocking);
}

} // namespace horos::spec
