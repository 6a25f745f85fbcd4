// Notifications: a word of bits that is OR-ed into, and one thread that waits for it.
#include "kernel/core/shell.hpp"
#include "spec/calls.hpp"
#include "spec/schedule.hpp"

namespace horos::spec {

// Its thread runs a guest on another core: that core looks, and finds the bits.
static bool interrupts_guest(Frame bound) {
    return bound != 0 && threads[bound].vcpu != 0 && is_current(bound) &&
           sched_contexts[threads[bound].sc].core != shell_core();
}

void raise(Frame f, u64 bits) {
    Notification& n = notifications[f];
    const u64 all = n.bits | bits;
    n.bits = all;
    if (all == 0)
        return;
    if (n.waiter != 0) {
        n.bits = 0;
        end_wait(n.waiter, Error::ok, all);
    } else if (interrupts_guest(n.bound)) {
        shell_send_reschedule(sched_contexts[threads[n.bound].sc].core);
    }
}

Answer notification_create(const Caller& me, const NotificationCreateArgs& a) {
    Refusal refuse;
    if (refuse(vacant(me.domain, a.slot)) || //
        refuse(raw_memory_of(me.domain, a.frame)))
        return refuse.reason;
    make(a.frame, ObjectType::notification);
    put(me.domain, a.slot, full(a.frame));
    return Error::ok;
}

Answer signal(const Caller& me, const SignalArgs& a) {
    Cap note;
    Refusal refuse;
    if (refuse(find(me.domain, a.notification, ObjectType::notification, right::write, note)))
        return refuse.reason;
    const u64 bits = note.badge != 0 ? note.badge : a.bits;
    if (refuse(bits == 0, Error::bad_argument))
        return refuse.reason;
    raise(note.object, bits);
    return Error::ok;
}

Answer wait(const Caller& me, const WaitArgs& a) {
    Cap note;
    Refusal refuse;
    if (refuse(find(me.domain, a.notification, ObjectType::notification, right::read, note)) ||
        refuse(notifications[note.object].waiter != 0, Error::busy))
        return refuse.reason;
    Notification& n = notifications[note.object];
    if (const u64 bits = n.bits; bits != 0) {
        n.bits = 0;
        return Values{{bits, 0, 0, 0, 0, 0}};
    }
    if (refuse(a.deadline != no_deadline && a.deadline <= shell_now(), Error::timeout))
        return refuse.reason;
    n.waiter = me.thread;
    threads[me.thread].state = ThreadState::wait_notification;
    threads[me.thread].waiting_for = note.object;
    if (a.deadline != no_deadline)
        set_deadline(me.thread, a.deadline);
    becomes_unready(me.thread);
    return Ending::blocked;
}

} // namespace horos::spec
