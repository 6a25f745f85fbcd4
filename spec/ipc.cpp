// Calls through endpoints. The server runs on its client's scheduling context.
#include "kernel/core/shell.hpp"
#include "spec/calls.hpp"
#include "spec/entry.hpp"
#include "spec/schedule.hpp"

namespace horos::spec {

Answer endpoint_create(const Caller& me, const EndpointCreateArgs& a) {
    Refusal refuse;
    if (refuse(vacant(me.domain, a.slot)) || //
        refuse(raw_memory_of(me.domain, a.frame)))
        return refuse.reason;
    make(a.frame, ObjectType::endpoint);
    put(me.domain, a.slot, full(a.frame));
    return Error::ok;
}

// The server's `receive` returns with the client's badge and message, and the client waits for the
// answer while the server uses its time.
static void take_up(Frame server, Frame client, u32 badge, const Values& message) {
    const Frame lent = threads[client].running_on;
    threads[client].state = ThreadState::wait_reply;
    threads[client].waiting_for = 0;
    threads[client].server = server;
    threads[server].state = ThreadState::runnable;
    threads[server].waiting_for = 0;
    threads[server].client = client;
    threads[server].running_on = lent;
    sched_contexts[lent].running = server;
    const u64(&m)[6] = message.v;
    answer_later(server, Error::ok, {{badge, m[0], m[1], m[2], m[3], 0}});
}

void give_back_time(Frame server) {
    Thread& s = threads[server];
    if (s.running_on == 0 || s.running_on == s.sc)
        return;
    const Frame lent = s.running_on;
    SchedContext& sc = sched_contexts[lent];
    const Frame home = s.client != 0 ? s.client : sc.thread;
    s.running_on = s.sc;
    s.client = 0;
    sc.running = home;
    threads[home].running_on = lent;
    if (threads[home].state != ThreadState::runnable) // it was stopped meanwhile
        exclude(cores[sc.core].ready, sc.position);
}

// The client's `call` returns; the server is on its own time again.
static void answer_client(Frame server, const Values& words) {
    const Frame client = threads[server].client;
    if (client != 0) {
        threads[client].state = ThreadState::runnable;
        threads[client].server = 0;
        answer_later(client, Error::ok, words);
    }
    give_back_time(server);
}

// A thread runs in the caller's place, on the same time. At once in ring 3, in its own space,
// unless somebody more urgent is ready.
static Answer goes_on(u32 core, Frame thread) {
    cores[core].thread = thread;
    if (cores[core].reschedule != 0)
        return Ending::blocked;
    cores[core].space = threads[thread].space;
    return {Ending::replaced, thread};
}

// Who runs on the core's scheduling context may have changed.
static void follow_context(u32 core) {
    if (cores[core].context != 0)
        cores[core].thread = sched_contexts[cores[core].context].running;
}

// An endpoint lives on one core, that of who used it first.
static bool lives_elsewhere(Frame endpoint, u32 core) {
    return endpoints[endpoint].bound != 0 && endpoints[endpoint].core != core;
}

Answer call(const Caller& me, const CallArgs& a) {
    Cap cap;
    Refusal refuse;
    if (refuse(find(me.domain, a.endpoint, ObjectType::endpoint, right::write, cap)) ||
        refuse(lives_elsewhere(cap.object, me.core), Error::wrong_core) ||
        refuse(is_serving(me.thread), Error::wrong_state)) // a server does not call
        return refuse.reason;
    Endpoint& endpoint = endpoints[cap.object];
    if (const Frame server = endpoint.server; server != 0) {
        endpoint.server = 0;
        take_up(server, me.thread, cap.badge, {{a.w0, a.w1, a.w2, a.w3, 0, 0}});
        return goes_on(me.core, server);
    }
    endpoint.core = me.core;
    endpoint.bound = 1;
    Thread& t = threads[me.thread];
    include(endpoint.callers, sched_contexts[t.running_on].position);
    t.message[0] = a.w0;
    t.message[1] = a.w1;
    t.message[2] = a.w2;
    t.message[3] = a.w3;
    t.badge = cap.badge;
    t.state = ThreadState::wait_call;
    t.waiting_for = cap.object;
    becomes_unready(me.thread);
    return Ending::blocked;
}

// The one with the highest priority, 0 = nobody waits.
static Frame first_caller(Frame endpoint) {
    const Endpoint& e = endpoints[endpoint];
    Frame first = 0;
    for (u32 p = sc_slots; p > 0; --p) {
        if (has(e.callers, p - 1))
            first = sched_contexts[cores[e.core].sc[p - 1]].running;
    }
    return first;
}

// A server that serves nobody waits, or takes up a call that waits already.
static void wait_at(const Caller& me, Frame number) {
    Endpoint& endpoint = endpoints[number];
    endpoint.core = me.core;
    endpoint.bound = 1;
    const Frame client = first_caller(number);
    if (client == 0) {
        endpoint.server = me.thread;
        threads[me.thread].state = ThreadState::wait_receive;
        threads[me.thread].waiting_for = number;
        return;
    }
    const Thread& c = threads[client];
    const u32 position = sched_contexts[c.running_on].position;
    exclude(endpoint.callers, position);
    take_up(me.thread, client, c.badge,
            {{c.message[0], c.message[1], c.message[2], c.message[3], 0, 0}});
    include(cores[me.core].ready, position);
    cores[me.core].reschedule = 1;
}

static Error find_endpoint(const Caller& me, u32 selector, Frame& endpoint) {
    Cap cap;
    Refusal refuse;
    if (refuse(find(me.domain, selector, ObjectType::endpoint, right::read, cap)) ||
        refuse(lives_elsewhere(cap.object, me.core), Error::wrong_core) ||
        refuse(endpoints[cap.object].server != 0, Error::busy))
        return refuse.reason;
    endpoint = cap.object;
    return Error::ok;
}

Answer receive(const Caller& me, const ReceiveArgs& a) {
    Frame endpoint = 0;
    Refusal refuse;
    if (refuse(find_endpoint(me, a.endpoint, endpoint)) ||
        refuse(is_serving(me.thread), Error::wrong_state)) // it owes an answer
        return refuse.reason;
    becomes_unready(me.thread);
    wait_at(me, endpoint);
    return Ending::blocked;
}

Answer reply(const Caller& me, const ReplyArgs& a) {
    Refusal refuse;
    if (refuse(!is_serving(me.thread), Error::wrong_state))
        return refuse.reason;
    const bool gone = threads[me.thread].client == 0; // it was stopped
    answer_client(me.thread, {{a.w0, a.w1, a.w2, a.w3, 0, 0}});
    becomes_ready(me.thread);
    follow_context(me.core);
    cores[me.core].reschedule = 1;
    return gone ? Error::dead : Error::ok;
}

Answer reply_receive(const Caller& me, const ReplyReceiveArgs& a) {
    Frame endpoint = 0;
    Refusal refuse;
    if (refuse(find_endpoint(me, a.endpoint, endpoint)))
        return refuse.reason;
    const Frame client = threads[me.thread].client;
    const bool direct = client != 0 && endpoints[endpoint].callers == 0;
    if (!is_serving(me.thread))
        becomes_unready(me.thread);
    else if (client == 0)
        cores[me.core].reschedule = 1; // the time it worked on has nobody to run now
    answer_client(me.thread, {{a.w0, a.w1, a.w2, a.w3, 0, 0}});
    wait_at(me, endpoint);
    if (direct)
        return goes_on(me.core, client);
    follow_context(me.core);
    return Ending::blocked;
}

void end_endpoint(Frame number) {
    Endpoint& e = endpoints[number];
    if (e.server != 0)
        end_wait(e.server, Error::dead, 0);
    if (e.callers == 0)
        return;
    // All of them at once: their core decides once who goes first.
    for (u32 p = 0; p < sc_slots; ++p) {
        if (has(e.callers, p))
            goes_on(sched_contexts[cores[e.core].sc[p]].running, Error::dead);
    }
    cores[e.core].ready |= e.callers;
    e.callers = 0;
    decide_again(e.core);
}

} // namespace horos::spec
