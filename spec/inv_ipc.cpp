#include "kernel/core/frames.hpp"
#include "spec/invariants.hpp"

namespace horos::spec {

static bool waits(Frame thread, ThreadState state, Frame where) {
    return frame_exists(thread) && frames[thread].type == ObjectType::thread &&
           threads[thread].state == state && threads[thread].waiting_for == where;
}

bool inv_endpoint(Frame f) {
    const Endpoint& e = endpoints[f];
    if (e.bound == 0)
        return e.server == 0 && e.callers == 0 && e.core == 0;
    if (e.server == 0)
        return e.core < machine.core_count;
    return e.callers == 0 && waits(e.server, ThreadState::wait_receive, f) &&
           sched_contexts[threads[e.server].sc].core == e.core;
}

bool inv_endpoint_caller(Frame f, u32 position) {
    const Endpoint& e = endpoints[f];
    if ((e.callers >> position & 1) == 0)
        return true;
    const Frame sc = cores[e.core].sc[position];
    return sc != 0 && waits(sched_contexts[sc].running, ThreadState::wait_call, f);
}

bool inv_notification(Frame f) {
    const Notification& n = notifications[f];
    const bool waiter =
        n.waiter == 0 || (n.bits == 0 && waits(n.waiter, ThreadState::wait_notification, f));
    const bool bound =
        n.bound == 0 || (frame_exists(n.bound) && frames[n.bound].type == ObjectType::thread &&
                         threads[n.bound].bound == f);
    return waiter && bound;
}

} // namespace horos::spec
