#include "kernel/core/frames.hpp"
#include "spec/invariants.hpp"

namespace horos::spec {

static bool is_type(Frame f, ObjectType type) { return frame_exists(f) && frames[f].type == type; }
static bool has(u16 mask, u32 position) { return (mask >> position & 1) != 0; }

bool inv_sched_context(Frame f) {
    const SchedContext& s = sched_contexts[f];
    const bool placed =
        s.core < machine.core_count && s.position < sc_slots && cores[s.core].sc[s.position] == f;
    if (s.thread == 0)
        return placed && s.running == 0;
    if (!is_type(s.thread, ObjectType::thread) || !is_type(s.running, ObjectType::thread))
        return false;
    const Thread& running = threads[s.running];
    // Its own thread may be away, serving on a client's context. Or it has lent the time to a
    // server: then it waits for the answer, or was halted since.
    const Thread& own = threads[s.thread];
    const bool waits = own.state == ThreadState::wait_reply || own.state == ThreadState::stopped ||
                       own.state == ThreadState::faulted || own.state == ThreadState::exited;
    const bool lent = s.running != s.thread;
    return placed && own.sc == f && (!lent || (running.running_on == f && waits));
}

bool inv_position(u32 core, u32 position) {
    const Frame f = cores[core].sc[position];
    return f == 0 || (is_type(f, ObjectType::sched_context) && sched_contexts[f].core == core &&
                      sched_contexts[f].position == position);
}

bool inv_ready(u32 core, u32 position) {
    const Frame sc = cores[core].sc[position];
    const Frame running = sc != 0 ? sched_contexts[sc].running : 0;
    const bool can_run = running != 0 && threads[running].state == ThreadState::runnable &&
                         threads[running].running_on == sc;
    return has(cores[core].ready, position) == can_run;
}

bool inv_timed(u32 core, u32 position) {
    if (!has(cores[core].timed, position))
        return true;
    const Frame sc = cores[core].sc[position];
    const Frame running = sc != 0 ? sched_contexts[sc].running : 0;
    if (running == 0 || threads[running].running_on != sc)
        return false;
    const Thread& t = threads[running];
    return t.state == ThreadState::wait_notification ||
           (t.vcpu != 0 && vcpus[t.vcpu].deadline != no_deadline);
}

bool inv_core_objects(u32 core) {
    const Core& c = cores[core];
    const bool context = c.context == 0 || (is_type(c.context, ObjectType::sched_context) &&
                                            sched_contexts[c.context].core == core);
    const bool thread = (c.thread == 0) == (c.context == 0) &&
                        (c.thread == 0 || is_type(c.thread, ObjectType::thread));
    const bool space = c.space == 0 || (is_type(c.space, ObjectType::space) &&
                                        spaces[c.space].kind == SpaceKind::host);
    const bool fpu = c.fpu_owner == 0 || is_type(c.fpu_owner, ObjectType::thread) ||
                     is_type(c.fpu_owner, ObjectType::vcpu);
    return context && thread && space && fpu;
}

static bool lives_on(Frame thread, u32 core) {
    const Frame sc = threads[thread].sc;
    return sc != 0 && sched_contexts[sc].core == core;
}

bool inv_core_holds(u32 core) {
    const Core& c = cores[core];
    const bool context = c.context == 0 || sched_contexts[c.context].running != 0;
    const bool thread = c.thread == 0 || lives_on(c.thread, core);
    const bool fpu = c.fpu_owner == 0 ||
                     (frames[c.fpu_owner].type == ObjectType::vcpu ? vcpus[c.fpu_owner].core == core
                                                                   : lives_on(c.fpu_owner, core));
    return context && thread && fpu;
}

bool inv_core_current(u32 core) {
    const Core& c = cores[core];
    if (c.reschedule != 0 || c.thread == 0)
        return true;
    return sched_contexts[c.context].running == c.thread &&
           threads[c.thread].state == ThreadState::runnable &&
           has(c.ready, sched_contexts[c.context].position);
}

bool inv_core_windows(u32 core) {
    const Core& c = cores[core];
    if (c.window_count == 0)
        return c.window == 0 && c.exhausted == 0;
    return c.window_count <= max_windows && c.window < c.window_count;
}

// Each window of the table takes time.
bool inv_window(u32 core, u32 index) {
    const Core& c = cores[core];
    return index >= c.window_count || c.windows[index].length != 0;
}

} // namespace horos::spec
