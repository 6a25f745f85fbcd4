#include "kernel/core/ipc.hpp"
#include "kernel/core/caps.hpp"
#include "kernel/core/frames.hpp"
#include "kernel/core/hypercall_entry.hpp"
#include "kernel/core/sched.hpp"
#include "kernel/core/shell.hpp"
#include "kernel/core/threads.hpp"

namespace horos::core {

Error endpoint_create(const Caller& me, const EndpointCreateArgs& a) {
    if (const Error e = check_empty(me.domain, a.slot); e != Error::ok)
        return e;
    if (const Error e = check_retype(me.domain, a.frame); e != Error::ok)
        return e;
    retype(a.frame, ObjectType::endpoint);
    put(me.domain, a.slot, full_cap(a.frame, ObjectType::endpoint));
    return Error::ok;
}

// The server takes up the client's message and its scheduling context.
[[gnu::always_inline]] static inline void serve(Frame server, Frame client, Thread& c) {
    Thread& s = threads[server];
    const Frame sc = c.running_on;
    s.state = ThreadState::runnable;
    s.waiting_for = 0;
    s.client = client;
    s.running_on = sc;
    c.state = ThreadState::wait_reply;
    c.server = server;
    sched_contexts[sc].running = server;
}

// The thread that runs on a core's current scheduling context has changed.
static void follow_context(u32 core) {
    if (cores[core].context != 0)
        cores[core].thread = sched_contexts[cores[core].context].running;
}

u64 call(const Caller& me, const CallArgs& a, Values&) {
    CapSlot cap;
    if (const Error e = lookup(me.domain, a.endpoint, ObjectType::endpoint, right::write, cap);
        e != Error::ok)
        return word(e);
    Endpoint& endpoint = endpoints[cap.object];
    if (endpoint.bound != 0 && endpoint.core != me.core)
        return word(Error::wrong_core);
    Thread& thread = threads[me.thread];
    if (thread.running_on != thread.sc)
        return word(Error::wrong_state); // a server does not call while it serves
    if (endpoint.server != 0) {
        const Frame server = endpoint.server;
        endpoint.server = 0;
        serve(server, me.thread, thread);
        set_values(server, Error::ok, {{cap.badge, a.w0, a.w1, a.w2, a.w3, 0}});
        return switch_directly(me.core, server);
    }
    endpoint.core = me.core;
    endpoint.bound = 1;
    endpoint.callers |= position_bit(sched_contexts[thread.running_on].position);
    thread.message[0] = a.w0;
    thread.message[1] = a.w1;
    thread.message[2] = a.w2;
    thread.message[3] = a.w3;
    thread.badge = cap.badge;
    thread.state = ThreadState::wait_call;
    thread.waiting_for = cap.object;
    make_unready(me.thread);
    return result_switch;
}

void return_context(Frame server) {
    Thread& s = threads[server];
    const Frame lent = s.running_on;
    if (lent == 0 || lent == s.sc)
        return;
    SchedContext& sc = sched_contexts[lent];
    const Frame home = s.client != 0 ? s.client : sc.thread;
    sc.running = home;
    threads[home].running_on = lent;
    s.running_on = s.sc;
    s.client = 0;
    // Without a client to answer (it was stopped), its context has nobody to run.
    if (threads[home].state != ThreadState::runnable)
        cores[sc.core].ready &= static_cast<u16>(~position_bit(sc.position));
}

// Gives the client its answer; the server has no scheduling context of a client's afterwards.
static void answer(Frame server, u64 w0, u64 w1, u64 w2, u64 w3) {
    const Frame client = threads[server].client;
    if (client != 0) {
        Thread& c = threads[client];
        c.state = ThreadState::runnable;
        c.server = 0;
        set_values(client, Error::ok, {{w0, w1, w2, w3, 0, 0}});
    }
    return_context(server);
}

Error reply(const Caller& me, const ReplyArgs& a) {
    Thread& server = threads[me.thread];
    if (server.running_on == server.sc)
        return Error::wrong_state;
    const bool gone = server.client == 0;
    answer(me.thread, a.w0, a.w1, a.w2, a.w3);
    make_ready(me.thread);
    follow_context(me.core);
    cores[me.core].reschedule = 1;
    return gone ? Error::dead : Error::ok;
}

// The waiting caller with the highest priority, or 0.
static Frame next_caller(const Endpoint& endpoint) {
    if (endpoint.callers == 0)
        return 0;
    const u32 position = static_cast<u32>(__builtin_ctz(endpoint.callers));
    return sched_contexts[cores[endpoint.core].sc[position & 15]].running;
}

// The calling thread, which serves nobody, waits at the endpoint or takes up a waiting call.
static void wait_at(const Caller& me, Frame number) {
    Endpoint& endpoint = endpoints[number];
    Thread& server = threads[me.thread];
    endpoint.core = me.core;
    endpoint.bound = 1;
    const Frame client = next_caller(endpoint);
    if (client == 0) {
        endpoint.server = me.thread;
        server.state = ThreadState::wait_receive;
        server.waiting_for = number;
        return;
    }
    const SchedContext& sc = sched_contexts[threads[client].running_on];
    endpoint.callers &= static_cast<u16>(~position_bit(sc.position));
    threads[client].waiting_for = 0;
    serve(me.thread, client, threads[client]);
    const u64(&m)[message_words] = threads[client].message;
    set_values(me.thread, Error::ok, {{threads[client].badge, m[0], m[1], m[2], m[3], 0}});
    cores[me.core].ready |= position_bit(sc.position);
    cores[me.core].reschedule = 1;
}

static Error find_endpoint(const Caller& me, u32 selector, Frame& number) {
    CapSlot cap;
    if (const Error e = lookup(me.domain, selector, ObjectType::endpoint, right::read, cap);
        e != Error::ok)
        return e;
    number = cap.object;
    const Endpoint& endpoint = endpoints[number];
    if (endpoint.bound != 0 && endpoint.core != me.core)
        return Error::wrong_core;
    return endpoint.server == 0 ? Error::ok : Error::busy;
}

u64 receive(const Caller& me, const ReceiveArgs& a, Values&) {
    Frame number;
    if (const Error e = find_endpoint(me, a.endpoint, number); e != Error::ok)
        return word(e);
    if (threads[me.thread].running_on != threads[me.thread].sc)
        return word(Error::wrong_state); // it owes an answer
    make_unready(me.thread);
    wait_at(me, number);
    return result_switch;
}

// With one client, and nobody else waiting at an endpoint that is bound to this core: what answer()
// and wait_at() would do.
[[gnu::always_inline]] static inline void exchange(Frame thread, Thread& server, Frame client,
                                                   Frame number) {
    Thread& c = threads[client];
    c.state = ThreadState::runnable;
    c.server = 0;
    sched_contexts[server.running_on].running = client;
    server.running_on = server.sc;
    server.client = 0;
    server.state = ThreadState::wait_receive;
    server.waiting_for = number;
    endpoints[number].server = thread;
}

u64 reply_receive(const Caller& me, const ReplyReceiveArgs& a, Values&) {
    Frame number;
    if (const Error e = find_endpoint(me, a.endpoint, number); e != Error::ok)
        return word(e);
    if (threads[me.thread].client != 0 && endpoints[number].callers == 0) {
        endpoints[number].core = me.core;
        endpoints[number].bound = 1;
        const Frame client = threads[me.thread].client;
        exchange(me.thread, threads[me.thread], client, number);
        set_values(client, Error::ok, {{a.w0, a.w1, a.w2, a.w3, 0, 0}});
        return switch_directly(me.core, client);
    }
    if (threads[me.thread].running_on == threads[me.thread].sc)
        make_unready(me.thread);
    else if (threads[me.thread].client == 0)
        cores[me.core].reschedule = 1;
    answer(me.thread, a.w0, a.w1, a.w2, a.w3);
    wait_at(me, number);
    follow_context(me.core);
    return result_switch;
}

void empty_endpoint(Frame number) {
    Endpoint& endpoint = endpoints[number];
    if (endpoint.server != 0)
        wake(endpoint.server, Error::dead, 0);
    if (endpoint.callers == 0)
        return;
    Core& core = cores[endpoint.core];
    for (u32 p = 0; p < sc_slots; ++p) {
        if ((endpoint.callers & position_bit(p)) != 0)
            end_wait(sched_contexts[core.sc[p]].running, Error::dead);
    }
    core.ready |= endpoint.callers;
    endpoint.callers = 0;
    kick(endpoint.core);
}

[[gnu::noinline]] u64 call_entry(u64 rdi, u64 rsi, u64 rdx, u64 r10, u64 r8, u64 r9) {
    return entry<CallArgs, call>(rdi, rsi, rdx, r10, r8, r9);
}

[[gnu::noinline]] u64 reply_receive_entry(u64 rdi, u64 rsi, u64 rdx, u64 r10, u64 r8, u64 r9) {
    return entry<ReplyReceiveArgs, reply_receive>(rdi, rsi, rdx, r10, r8, r9);
}

// Whether a selector of the domain's first table names an endpoint that may be used like this;
// nothing about why not.
[[gnu::always_inline]] static inline bool find_quickly(Frame domain, u64 selector, u8 rights,
                                                       Frame& number, u32& badge) {
    if (selector >= slots_per_table)
        return false;
    // Every domain has its first table (inv_domain_table).
    const CapSlot& slot = cap_tables[domains[domain].tables[0]].slots[selector];
    if (slot.type != ObjectType::endpoint || (slot.rights & rights) != rights ||
        slot.generation != frames[slot.object].generation)
        return false;
    number = slot.object;
    badge = slot.badge;
    return true;
}

// What set_values() does, but for what entry_switch knows.
[[gnu::always_inline]] static inline void set_words(Thread& thread, u64 v0, u64 v1, u64 v2, u64 v3,
                                                    u64 v4) {
    thread.regs.gpr[2] = v0; // rdx
    thread.regs.gpr[7] = v1; // rdi
    thread.regs.gpr[6] = v2; // rsi
    thread.regs.gpr[8] = v3;
    thread.regs.gpr[9] = v4;
    thread.regs.full = 0;
}

// Out of the way, so that the common case has no stack.
HOROS_FAST_ENTRY [[gnu::noinline]] u64 call_slow(Core&, u64, u64, u64, u64 endpoint, u64 w0, u64 w1,
                                                 u64 w2, u64 w3, Thread&) {
    return call_entry(endpoint, w0, w1, w2, w3, 0);
}
HOROS_FAST_ENTRY [[gnu::noinline]] u64 reply_receive_slow(Core&, u64, u64, u64, u64 endpoint,
                                                          u64 w0, u64 w1, u64 w2, u64 w3, Thread&) {
    return reply_receive_entry(endpoint, w0, w1, w2, w3, 0);
}

// The common case of call(): the server waits. All else is call()'s. That the caller is runnable
// needs no check: whoever stops it has its core look again.
HOROS_FAST_ENTRY u64 core_call_fast(Core& core, u64 number, u64 r14, u64 r15, u64 endpoint, u64 w0,
                                    u64 w1, u64 w2, u64 w3, Thread& self) {
    Frame object;
    u32 badge;
    if (find_quickly(self.domain, endpoint, right::write, object, badge) && core.reschedule == 0 &&
        self.running_on == self.sc) [[likely]] {
        Endpoint& e = endpoints[object];
        const Frame server = e.server;
        if (server != 0 && e.core == static_cast<u32>(number)) [[likely]] {
            e.server = 0;
            serve(server, core.thread, self);
            core.thread = server;
            Thread& next = threads[server];
            core.space = next.space;
            set_words(next, badge, w0, w1, w2, w3);
            return entry_switch(next);
        }
    }
    return call_slow(core, number, r14, r15, endpoint, w0, w1, w2, w3, self);
}

// The common case of reply_receive(): one client, nobody else waiting.
HOROS_FAST_ENTRY u64 core_reply_receive_fast(Core& core, u64 number, u64 r14, u64 r15, u64 endpoint,
                                             u64 w0, u64 w1, u64 w2, u64 w3, Thread& self) {
    Frame object;
    u32 badge;
    const Frame client = self.client;
    if (find_quickly(self.domain, endpoint, right::read, object, badge) && core.reschedule == 0 &&
        client != 0) [[likely]] {
        Endpoint& e = endpoints[object];
        if (e.core == static_cast<u32>(number) && e.server == 0 && e.callers == 0) [[likely]] {
            e.bound = 1; // it may have been nobody's yet, and its core 0
            exchange(core.thread, self, client, object);
            core.thread = client;
            Thread& next = threads[client];
            core.space = next.space;
            set_words(next, w0, w1, w2, w3, 0);
            return entry_switch(next);
        }
    }
    return reply_receive_slow(core, number, r14, r15, endpoint, w0, w1, w2, w3, self);
}

} // namespace horos::core
