#include "kernel/core/notify.hpp"
#include "kernel/core/caps.hpp"
#include "kernel/core/frames.hpp"
#include "kernel/core/hypercall_entry.hpp"
#include "kernel/core/sched.hpp"
#include "kernel/core/shell.hpp"
#include "kernel/core/threads.hpp"

namespace horos::core {

void raise(Frame notification, u64 bits) {
    Notification& n = notifications[notification];
    n.bits |= bits;
    if (n.bits == 0)
        return;
    if (n.waiter != 0) {
        const Frame waiter = n.waiter;
        const u64 taken = n.bits;
        n.bits = 0;
        wake(waiter, Error::ok, taken);
        return;
    }
    if (n.bound == 0 || threads[n.bound].vcpu == 0 || !is_current(n.bound))
        return;
    const u32 core = core_of(n.bound);
    if (core != shell_core())
        shell_send_reschedule(core); // it leaves its guest and finds the bits
}

Error notification_create(const Caller& me, const NotificationCreateArgs& a) {
    if (const Error e = check_empty(me.domain, a.slot); e != Error::ok)
        return e;
    if (const Error e = check_retype(me.domain, a.frame); e != Error::ok)
        return e;
    retype(a.frame, ObjectType::notification);
    put(me.domain, a.slot, full_cap(a.frame, ObjectType::notification));
    return Error::ok;
}

Error signal(const Caller& me, const SignalArgs& a) {
    CapSlot cap;
    if (const Error e =
            lookup_fast(me.domain, a.notification, ObjectType::notification, right::write, cap);
        e != Error::ok)
        return e;
    const u64 bits = cap.badge != 0 ? cap.badge : a.bits;
    if (bits == 0)
        return Error::bad_argument;
    raise(cap.object, bits);
    return Error::ok;
}

u64 wait(const Caller& me, const WaitArgs& a, Values& v) {
    CapSlot cap;
    if (const Error e =
            lookup_fast(me.domain, a.notification, ObjectType::notification, right::read, cap);
        e != Error::ok)
        return word(e);
    Notification& n = notifications[cap.object];
    if (n.waiter != 0)
        return word(Error::busy);
    if (n.bits != 0) {
        v = {{n.bits, 0, 0, 0, 0, 0}};
        n.bits = 0;
        return result_values;
    }
    if (a.deadline != no_deadline && a.deadline <= shell_now())
        return word(Error::timeout);
    Thread& thread = threads[me.thread];
    n.waiter = me.thread;
    thread.state = ThreadState::wait_notification;
    thread.waiting_for = cap.object;
    if (a.deadline != no_deadline)
        set_deadline(me.thread, a.deadline);
    make_unready(me.thread);
    return result_switch;
}

u64 wait_entry(u64 rdi, u64 rsi, u64 rdx, u64 r10, u64 r8, u64 r9) {
    return fast_entry<WaitArgs, wait>(rdi, rsi, rdx, r10, r8, r9);
}

u64 signal_entry(u64 rdi, u64 rsi, u64 rdx, u64 r10, u64 r8, u64 r9) {
    return fast_entry<SignalArgs, signal>(rdi, rsi, rdx, r10, r8, r9);
}

} // namespace horos::core
