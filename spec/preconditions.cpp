#include "spec/preconditions.hpp"
#include "spec/state.hpp"

namespace horos::spec {

// An era of TLB tags lasts for an entry at least: 2^64 of them do not pass.
static bool runs(u32 core) {
    return core < machine.core_count && cores[core].online != 0 && cores[core].tlb_era != ~u64{0};
}

// A thread of the core is in ring 3. Another core may have halted it since; then the interrupt that
// says so has not arrived yet.
static bool is_in_user_mode(u32 core) {
    if (!runs(core))
        return false;
    const Core& c = cores[core];
    if (!is(c.thread, ObjectType::thread) || !is(c.context, ObjectType::sched_context))
        return false;
    const Thread& t = threads[c.thread];
    const bool goes_on = t.state == ThreadState::runnable && t.running_on == c.context &&
                         sched_contexts[c.context].running == c.thread;
    const bool was_halted =
        c.reschedule != 0 && (t.state == ThreadState::stopped || t.state == ThreadState::faulted ||
                              t.state == ThreadState::exited);
    return (goes_on || was_halted) && t.sc != 0 && t.vcpu == 0 && c.space == t.space;
}

bool pre_hypercall(u32 core) { return is_in_user_mode(core); }
bool pre_core_fault(u32 core) { return is_in_user_mode(core); }
bool pre_core_interrupt(u32 core, u32 vector) { return runs(core) && vector < 256; }
bool pre_core_timer(u32 core) { return runs(core); }
bool pre_core_reschedule(u32 core) { return runs(core); }
bool pre_core_next(u32 core) { return runs(core); }

bool pre_core_run_guest(u32 core) {
    if (!runs(core))
        return false;
    const Core& c = cores[core];
    return c.reschedule == 0 && is(c.thread, ObjectType::thread) && threads[c.thread].vcpu != 0 &&
           threads[c.thread].running_on == c.context && c.space == threads[c.thread].space;
}

} // namespace horos::spec
