#include "kernel/core/frames.hpp"
#include "spec/invariants.hpp"

namespace horos::spec {

static bool is_type(Frame f, ObjectType type) { return frame_exists(f) && frames[f].type == type; }
static bool is_halted(const Thread& t) {
    return t.state == ThreadState::stopped || t.state == ThreadState::faulted ||
           t.state == ThreadState::exited;
}
static bool is_serving(const Thread& t) { return t.running_on != t.sc; }

bool inv_thread_links(Frame f) {
    const Thread& t = threads[f];
    const bool sc =
        t.sc == 0 || (is_type(t.sc, ObjectType::sched_context) && sched_contexts[t.sc].thread == f);
    const bool bound = t.bound == 0 || (is_type(t.bound, ObjectType::notification) &&
                                        notifications[t.bound].bound == f);
    const bool monitor =
        t.monitor == 0 || (is_type(t.monitor, ObjectType::notification) && t.monitor_bits != 0);
    return t.state <= ThreadState::exited && is_type(t.domain, ObjectType::domain) &&
           is_type(t.space, ObjectType::space) && spaces[t.space].kind == SpaceKind::host &&
           t.tables == u64{spaces[t.space].root} << frame_bits && sc && bound && monitor;
}

// Without a scheduling context a thread is halted. With one it runs on that or on its client's;
// a runnable thread is the one its context runs.
bool inv_thread_context(Frame f) {
    const Thread& t = threads[f];
    if (t.sc == 0)
        return t.running_on == 0 && is_halted(t);
    if (!is_type(t.running_on, ObjectType::sched_context))
        return false;
    const SchedContext& on = sched_contexts[t.running_on];
    const bool same_core = on.core == sched_contexts[t.sc].core;
    const bool serves = !is_serving(t) || (on.running == f && on.thread != f && !is_halted(t));
    return same_core && serves && (t.state != ThreadState::runnable || on.running == f);
}

bool inv_thread_waiting(Frame f) {
    const Thread& t = threads[f];
    switch (t.state) {
    case ThreadState::wait_notification:
        return is_type(t.waiting_for, ObjectType::notification) &&
               notifications[t.waiting_for].waiter == f &&
               sched_contexts[t.running_on].running == f;
    case ThreadState::wait_receive:
        return is_type(t.waiting_for, ObjectType::endpoint) &&
               endpoints[t.waiting_for].server == f && !is_serving(t);
    case ThreadState::wait_call: {
        if (!is_type(t.waiting_for, ObjectType::endpoint) || is_serving(t))
            return false;
        const Endpoint& e = endpoints[t.waiting_for];
        const SchedContext& sc = sched_contexts[t.sc];
        return (e.callers >> sc.position & 1) != 0 && e.core == sc.core && sc.running == f;
    }
    default:
        return t.waiting_for == 0;
    }
}

// Client and server know each other, and the server runs on the client's time.
bool inv_thread_serving(Frame f) {
    const Thread& t = threads[f];
    const bool has_client = t.client == 0 || (is_type(t.client, ObjectType::thread) &&
                                              is_serving(t) && threads[t.client].server == f &&
                                              threads[t.client].state == ThreadState::wait_reply &&
                                              threads[t.client].sc == t.running_on);
    const bool has_server = (t.server != 0) == (t.state == ThreadState::wait_reply) &&
                            (t.server == 0 || (is_type(t.server, ObjectType::thread) &&
                                               threads[t.server].client == f && !is_serving(t)));
    return has_client && has_server;
}

bool inv_thread_vcpu(Frame f) {
    const Thread& t = threads[f];
    if (t.vcpu == 0)
        return true;
    const bool state = t.state == ThreadState::runnable || is_halted(t);
    return is_type(t.vcpu, ObjectType::vcpu) && vcpus[t.vcpu].thread == f && state &&
           !is_serving(t) && (t.sc == 0 || sched_contexts[t.sc].core == vcpus[t.vcpu].core);
}

} // namespace horos::spec
