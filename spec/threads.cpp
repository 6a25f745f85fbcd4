// Threads: making, starting, stopping and watching them.
#include "spec/calls.hpp"
#include "spec/entry.hpp"
#include "spec/schedule.hpp"

namespace horos::spec {

// A thread that waits is known where it waits; it is no longer.
static void leave_queue(Frame f) {
    Thread& t = threads[f];
    const Frame where = t.waiting_for;
    t.waiting_for = 0;
    switch (t.state) {
    case ThreadState::wait_notification:
        notifications[where].waiter = 0;
        clear_deadline(f);
        break;
    case ThreadState::wait_receive:
        endpoints[where].server = 0;
        break;
    case ThreadState::wait_call:
        exclude(endpoints[where].callers, sched_contexts[t.running_on].position);
        break;
    case ThreadState::wait_reply:
        threads[t.server].client = 0; // the server's answer will find nobody
        t.server = 0;
        break;
    default:
        break;
    }
}

void goes_on(Frame f, Error error) {
    threads[f].waiting_for = 0;
    threads[f].state = ThreadState::runnable;
    answer_later(f, error, {});
}

void end_wait(Frame f, Error error, u64 value) {
    leave_queue(f);
    answer_later(f, error, {{value, 0, 0, 0, 0, 0}});
    threads[f].state = ThreadState::runnable;
    becomes_ready(f);
}

// A server that halts: its client's call ends with `dead`, and the time is the client's again.
static void leave_client(Frame server) {
    const Frame client = threads[server].client;
    const u32 core = sched_contexts[threads[server].running_on].core;
    if (client != 0) {
        answer_later(client, Error::dead, {});
        threads[client].state = ThreadState::runnable;
        threads[client].server = 0;
    }
    give_back_time(server);
    if (client != 0)
        becomes_ready(client);
    decide_again(core);
}

void halt(Frame f, ThreadState state) {
    const bool was_runnable = threads[f].state == ThreadState::runnable;
    leave_queue(f);
    threads[f].state = state;
    if (threads[f].sc == 0)
        return;
    if (is_serving(f))
        leave_client(f);
    else if (was_runnable)
        becomes_unready(f);
}

void tell_monitor(Frame f) {
    if (threads[f].monitor != 0)
        raise(threads[f].monitor, threads[f].monitor_bits);
}

static Error find_thread(const Caller& me, u32 selector, u8 rights, Frame& thread) {
    Cap cap;
    const Error e = find(me.domain, selector, ObjectType::thread, rights, cap);
    thread = cap.object;
    return e;
}

Answer thread_create(const Caller& me, const ThreadCreateArgs& a) {
    Cap domain;
    Cap space;
    Refusal refuse;
    if (refuse(find(me.domain, a.domain, ObjectType::domain, right::write, domain)) ||
        refuse(find(me.domain, a.space, ObjectType::space, right::write, space)) ||
        refuse(spaces[space.object].kind != SpaceKind::host, Error::wrong_space) ||
        refuse(vacant(me.domain, a.slot)) || //
        refuse(raw_memory_of(me.domain, a.frame)) ||
        refuse(!may_refer(domain.object) || !may_refer(space.object), Error::limit))
        return refuse.reason;
    make(a.frame, ObjectType::thread);
    threads[a.frame].domain = domain.object;
    threads[a.frame].space = space.object;
    threads[a.frame].tables = u64{spaces[space.object].root} << frame_bits;
    refer(domain.object);
    refer(space.object);
    put(me.domain, a.slot, full(a.frame));
    return Error::ok;
}

// A halted thread can go on when it has time of its own that no server still uses, and no core is
// still busy leaving it.
static Error startable(Frame f) {
    Refusal refuse;
    if (refuse(!is_halted(threads[f].state), Error::wrong_state) ||
        refuse(threads[f].sc == 0, Error::wrong_state) ||
        refuse(sched_contexts[threads[f].sc].running != f, Error::again) ||
        refuse(is_current(f), Error::again))
        return refuse.reason;
    return Error::ok;
}

// It was stopped in its guest: with new registers it is the program's again.
static void leave_guest(Frame f) {
    const Frame vcpu = threads[f].vcpu;
    if (vcpu == 0)
        return;
    clear_deadline(f);
    vcpus[vcpu].thread = 0;
    threads[f].vcpu = 0;
}

Answer thread_start(const Caller& me, const ThreadStartArgs& a) {
    Frame f = 0;
    Refusal refuse;
    if (refuse(find_thread(me, a.thread, right::write, f)) ||
        refuse(a.entry >= user_end || a.stack >= user_end || a.fs_base >= user_end,
               Error::bad_address) ||
        refuse(startable(f)))
        return refuse.reason;
    leave_guest(f);
    Registers fresh{};
    fresh.gpr[7] = a.argument; // rdi
    fresh.gpr[4] = a.stack;    // rsp
    fresh.rip = a.entry;
    fresh.rflags = 0x202; // interrupts on, and the bit that is always one
    fresh.fs_base = a.fs_base;
    fresh.full = 1;
    threads[f].regs = fresh;
    threads[f].exit_code = 0;
    threads[f].state = ThreadState::runnable;
    becomes_ready(f);
    return Error::ok;
}

Answer thread_resume(const Caller& me, const ThreadResumeArgs& a) {
    Frame f = 0;
    Refusal refuse;
    if (refuse(find_thread(me, a.thread, right::write, f)) ||
        refuse(threads[f].state == ThreadState::exited, Error::wrong_state) ||
        refuse(threads[f].regs.rip == 0, Error::wrong_state) || // never started
        refuse(startable(f)))
        return refuse.reason;
    threads[f].state = ThreadState::runnable;
    becomes_ready(f);
    return Error::ok;
}

// The call that it was blocked in answers `dead` should it be resumed.
Answer thread_stop(const Caller& me, const ThreadStopArgs& a) {
    Frame f = 0;
    Refusal refuse;
    if (refuse(find_thread(me, a.thread, right::write, f)) ||
        refuse(is_halted(threads[f].state), Error::wrong_state))
        return refuse.reason;
    if (threads[f].state != ThreadState::runnable)
        answer_later(f, Error::dead, {});
    halt(f, ThreadState::stopped);
    return Error::ok;
}

Answer thread_exit(const Caller& me, const ThreadExitArgs& a) {
    threads[me.thread].exit_code = a.code;
    halt(me.thread, ThreadState::exited);
    tell_monitor(me.thread);
    return Ending::blocked;
}

// A thread refers to its monitor; the one before is let go.
Answer thread_monitor(const Caller& me, const ThreadMonitorArgs& a) {
    Frame f = 0;
    Cap note;
    Refusal refuse;
    if (refuse(find_thread(me, a.thread, right::write, f)) ||
        refuse(find(me.domain, a.notification, ObjectType::notification, right::write, note)))
        return refuse.reason;
    const u64 bits = note.badge != 0 ? note.badge : a.bits;
    if (refuse(bits == 0, Error::bad_argument) || //
        refuse(!may_refer(note.object), Error::limit))
        return refuse.reason;
    if (threads[f].monitor != 0)
        unrefer(threads[f].monitor);
    refer(note.object);
    threads[f].monitor = note.object;
    threads[f].monitor_bits = bits;
    return Error::ok;
}

Answer thread_bind(const Caller& me, const ThreadBindArgs& a) {
    Frame f = 0;
    Cap note;
    Refusal refuse;
    if (refuse(find_thread(me, a.thread, right::write, f)) ||
        refuse(find(me.domain, a.notification, ObjectType::notification, right::read, note)) ||
        refuse(notifications[note.object].bound != 0, Error::busy) ||
        refuse(threads[f].bound != 0, Error::busy) || refuse(!may_refer(note.object), Error::limit))
        return refuse.reason;
    refer(note.object);
    threads[f].bound = note.object;
    notifications[note.object].bound = f;
    return Error::ok;
}

static Values state_of(const Thread& t) {
    const u64 code = t.state == ThreadState::exited ? t.exit_code : t.regs.error;
    return {{static_cast<u64>(t.state), t.regs.vector, code, t.regs.address, 0, 0}};
}

static Values time_of(const Thread& t) {
    const u64 core = t.sc != 0 ? sched_contexts[t.sc].core : no_core;
    const u64 position = t.sc != 0 ? sched_contexts[t.sc].position : no_core;
    return {{t.time_used, core, position, t.fault_count, 0, 0}};
}

Answer thread_info(const Caller& me, const ThreadInfoArgs& a) {
    Frame f = 0;
    Refusal refuse;
    if (refuse(find_thread(me, a.thread, right::read, f)) ||
        refuse(a.index > 6, Error::bad_argument))
        return refuse.reason;
    const Thread& t = threads[f];
    const Registers& r = t.regs;
    switch (a.index) {
    case 0:
        return state_of(t);
    case 1:
        return Values{{r.rip, r.gpr[4], r.rflags, r.fs_base, 0, 0}};
    case 2:
        return time_of(t);
    default: {
        const u32 first = (a.index - 3u) % 4 * 4;
        return Values{{r.gpr[first], r.gpr[first + 1], r.gpr[first + 2], r.gpr[first + 3], 0, 0}};
    }
    }
}

} // namespace horos::spec
