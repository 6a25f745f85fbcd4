#include "kernel/core/threads.hpp"
#include "kernel/core/caps.hpp"
#include "kernel/core/frames.hpp"
#include "kernel/core/ipc.hpp"
#include "kernel/core/notify.hpp"
#include "kernel/core/sched.hpp"

namespace horos::core {

bool is_current(Frame thread) {
    const Frame sc = threads[thread].sc;
    return sc != 0 && cores[sched_contexts[sc].core].thread == thread;
}

// Takes a thread out of the queue it waits in. It is on no queue and not ready afterwards.
static void leave_wait(Frame thread) {
    Thread& t = threads[thread];
    const Frame where = t.waiting_for;
    t.waiting_for = 0;
    if (t.state == ThreadState::wait_notification) {
        notifications[where].waiter = 0;
        clear_deadline(thread);
    } else if (t.state == ThreadState::wait_receive) {
        endpoints[where].server = 0;
    } else if (t.state == ThreadState::wait_call) {
        const u8 position = sched_contexts[t.running_on].position;
        endpoints[where].callers &= static_cast<u16>(~position_bit(position));
    } else if (t.state == ThreadState::wait_reply) {
        threads[t.server].client = 0; // the server's answer will find nobody
        t.server = 0;
    }
}

void wake(Frame thread, Error error, u64 value) {
    leave_wait(thread);
    set_values(thread, error, {{value, 0, 0, 0, 0, 0}});
    threads[thread].state = ThreadState::runnable;
    make_ready(thread);
}

// A server that goes away: its client's call ends, and the client has its time back.
static void abandon_client(Frame server) {
    const Frame client = threads[server].client;
    const Frame lent = threads[server].running_on;
    if (client != 0) {
        set_values(client, Error::dead, {});
        threads[client].state = ThreadState::runnable;
        threads[client].server = 0;
    }
    const u32 core = sched_contexts[lent].core;
    return_context(server);
    if (client != 0)
        make_ready(client);
    kick(core);
}

static void detach(Frame thread, ThreadState state) {
    Thread& t = threads[thread];
    const bool was_ready = t.state == ThreadState::runnable;
    leave_wait(thread);
    t.state = state;
    if (t.sc == 0)
        return;
    if (t.running_on != t.sc)
        abandon_client(thread);
    else if (was_ready)
        make_unready(thread);
}

void stop_thread(Frame thread) { detach(thread, ThreadState::stopped); }

static void tell_monitor(const Thread& t) {
    if (t.monitor != 0)
        raise(t.monitor, t.monitor_bits);
}

void core_fault(u32 core, u64 vector, u64 error, u64 address) {
    const Frame thread = cores[core].thread;
    Thread& t = threads[thread];
    t.regs.vector = vector;
    t.regs.error = error;
    t.regs.address = address;
    t.fault_count++;
    detach(thread, ThreadState::faulted);
    tell_monitor(t);
}

u64 thread_exit(const Caller& me, const ThreadExitArgs& a, Values&) {
    threads[me.thread].exit_code = a.code;
    detach(me.thread, ThreadState::exited);
    tell_monitor(threads[me.thread]);
    return result_switch;
}

Error thread_create(const Caller& me, const ThreadCreateArgs& a) {
    CapSlot domain;
    CapSlot space;
    if (const Error e = lookup(me.domain, a.domain, ObjectType::domain, right::write, domain);
        e != Error::ok)
        return e;
    if (const Error e = lookup(me.domain, a.space, ObjectType::space, right::write, space);
        e != Error::ok)
        return e;
    if (spaces[space.object].kind != SpaceKind::host)
        return Error::wrong_space;
    if (const Error e = check_empty(me.domain, a.slot); e != Error::ok)
        return e;
    if (const Error e = check_retype(me.domain, a.frame); e != Error::ok)
        return e;
    if (!can_reference(domain.object) || !can_reference(space.object))
        return Error::limit;
    retype(a.frame, ObjectType::thread);
    threads[a.frame].domain = domain.object;
    threads[a.frame].space = space.object;
    threads[a.frame].tables = u64{spaces[space.object].root} << frame_bits;
    reference(domain.object);
    reference(space.object);
    put(me.domain, a.slot, full_cap(a.frame, ObjectType::thread));
    return Error::ok;
}

static bool is_halted(ThreadState state) {
    return state == ThreadState::stopped || state == ThreadState::faulted ||
           state == ThreadState::exited;
}

// A halted thread that can go on: it has time of its own, nobody holds that time, and no core is
// still busy leaving it.
static Error check_can_run(Frame thread) {
    const Thread& t = threads[thread];
    if (!is_halted(t.state) || t.sc == 0)
        return Error::wrong_state;
    return sched_contexts[t.sc].running == thread && !is_current(thread) ? Error::ok : Error::again;
}

static void leave_vcpu(Frame thread) {
    Thread& t = threads[thread];
    if (t.vcpu == 0)
        return;
    clear_deadline(thread); // it was the guest's
    vcpus[t.vcpu].thread = 0;
    t.vcpu = 0;
}

static Error find_thread(const Caller& me, u32 selector, u8 rights, Frame& thread) {
    CapSlot cap;
    const Error e = lookup(me.domain, selector, ObjectType::thread, rights, cap);
    thread = cap.object;
    return e;
}

Error thread_start(const Caller& me, const ThreadStartArgs& a) {
    Frame thread;
    if (const Error e = find_thread(me, a.thread, right::write, thread); e != Error::ok)
        return e;
    if (a.entry >= user_end || a.stack >= user_end || a.fs_base >= user_end)
        return Error::bad_address;
    if (const Error e = check_can_run(thread); e != Error::ok)
        return e;
    Thread& t = threads[thread];
    leave_vcpu(thread);
    t.regs = Registers{};
    t.regs.gpr[7] = a.argument; // rdi
    t.regs.gpr[4] = a.stack;    // rsp
    t.regs.rip = a.entry;
    t.regs.rflags = 0x202; // IF and the bit that is always one
    t.regs.fs_base = a.fs_base;
    t.regs.full = 1;
    t.exit_code = 0;
    t.state = ThreadState::runnable;
    make_ready(thread);
    return Error::ok;
}

Error thread_resume(const Caller& me, const ThreadResumeArgs& a) {
    Frame thread;
    if (const Error e = find_thread(me, a.thread, right::write, thread); e != Error::ok)
        return e;
    if (threads[thread].state == ThreadState::exited || threads[thread].regs.rip == 0)
        return Error::wrong_state;
    if (const Error e = check_can_run(thread); e != Error::ok)
        return e;
    threads[thread].state = ThreadState::runnable;
    make_ready(thread);
    return Error::ok;
}

Error thread_stop(const Caller& me, const ThreadStopArgs& a) {
    Frame thread;
    if (const Error e = find_thread(me, a.thread, right::write, thread); e != Error::ok)
        return e;
    if (is_halted(threads[thread].state))
        return Error::wrong_state;
    // What it waited for answers `dead` if it is resumed.
    if (threads[thread].state != ThreadState::runnable)
        set_values(thread, Error::dead, {});
    stop_thread(thread);
    return Error::ok;
}

// A thread's reference to a notification replaces the one before.
static Error set_notification(u32& field, Frame notification) {
    if (!can_reference(notification))
        return Error::limit;
    if (field != 0)
        dereference(field);
    reference(notification);
    field = notification;
    return Error::ok;
}

Error thread_monitor(const Caller& me, const ThreadMonitorArgs& a) {
    Frame thread;
    CapSlot cap;
    if (const Error e = find_thread(me, a.thread, right::write, thread); e != Error::ok)
        return e;
    if (const Error e =
            lookup(me.domain, a.notification, ObjectType::notification, right::write, cap);
        e != Error::ok)
        return e;
    const u64 bits = cap.badge != 0 ? cap.badge : a.bits;
    if (bits == 0)
        return Error::bad_argument;
    if (const Error e = set_notification(threads[thread].monitor, cap.object); e != Error::ok)
        return e;
    threads[thread].monitor_bits = bits;
    return Error::ok;
}

Error thread_bind(const Caller& me, const ThreadBindArgs& a) {
    Frame thread;
    CapSlot cap;
    if (const Error e = find_thread(me, a.thread, right::write, thread); e != Error::ok)
        return e;
    if (const Error e =
            lookup(me.domain, a.notification, ObjectType::notification, right::read, cap);
        e != Error::ok)
        return e;
    if (notifications[cap.object].bound != 0 || threads[thread].bound != 0)
        return Error::busy;
    if (const Error e = set_notification(threads[thread].bound, cap.object); e != Error::ok)
        return e;
    notifications[cap.object].bound = thread;
    return Error::ok;
}

Error thread_info(const Caller& me, const ThreadInfoArgs& a, Values& v) {
    Frame thread;
    if (const Error e = find_thread(me, a.thread, right::read, thread); e != Error::ok)
        return e;
    const Thread& t = threads[thread];
    if (a.index == 0) {
        const u64 code = t.state == ThreadState::exited ? t.exit_code : t.regs.error;
        v = {{static_cast<u64>(t.state), t.regs.vector, code, t.regs.address, 0, 0}};
    } else if (a.index == 1) {
        v = {{t.regs.rip, t.regs.gpr[4], t.regs.rflags, t.regs.fs_base, 0, 0}};
    } else if (a.index == 2) {
        const SchedContext& sc = sched_contexts[t.sc];
        v = {{t.time_used, t.sc != 0 ? sc.core : no_core, t.sc != 0 ? sc.position : no_core,
              t.fault_count, 0, 0}};
    } else if (a.index < 7) {
        const u32 first = (a.index - 3u) * 4;
        for (u32 i = 0; i < 4; ++i)
            v.v[i] = t.regs.gpr[(first + i) & 15];
    } else {
        return Error::bad_argument;
    }
    return Error::ok;
}

} // namespace horos::core
