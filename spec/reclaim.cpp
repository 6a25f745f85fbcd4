// frame_reclaim: how every object ends. What an object refers to is let go; what refers to the
// object must have let go before.
#include "kernel/core/vendor.hpp"
#include "spec/calls.hpp"
#include "spec/page_entry.hpp"
#include "spec/schedule.hpp"

namespace horos::spec {

static Error end_domain(Frame f) {
    Refusal refuse;
    if (refuse(domains[f].owned != 0, Error::frame_in_use)) // take its memory back first
        return refuse.reason;
    for (u32 i = 0; i < tables_per_domain; ++i) {
        if (domains[f].tables[i] != 0)
            unrefer(domains[f].tables[i]);
    }
    return Error::ok;
}

static Error end_space(Frame f) {
    const Space& s = spaces[f];
    Refusal refuse;
    if (refuse(cores_using(f) != 0, Error::again)) // a core is about to leave it
        return refuse.reason;
    unrefer(s.root);
    for (u32 i = 0; i < 3; ++i) {
        if (s.io_map != 0)
            unrefer(s.io_map + i);
    }
    for (u32 i = 0; i < 2; ++i) {
        if (s.msr_map != 0)
            unrefer(s.msr_map + i);
    }
    return Error::ok;
}

// A step: 4 of the 512 entries. Nobody reaches the table any more, so no translation is cached.
static Error end_page_table(Frame f, u32 step) {
    Refusal refuse;
    if (refuse(step >= 512 / entries_per_reclaim, Error::bad_argument))
        return refuse.reason;
    for (u32 i = 0; i < entries_per_reclaim; ++i) {
        const u32 index = step * entries_per_reclaim + i;
        const bool kernels = frames[f].level == 4 && is_kernels_entry(f, index);
        if (!kernels && frames[f].live != 0) // after the last one there is nothing to remove
            remove_entry(f, index);
    }
    return frames[f].live != 0 ? Error::again : Error::ok;
}

// A processor that holds the FPU state of what ends holds nobody's.
static void forget_fpu(u32 core, Frame owner) {
    if (core < max_cores && cores[core].fpu_owner == owner)
        cores[core].fpu_owner = 0;
}

static Error end_thread(Frame f) {
    const Thread& t = threads[f];
    Refusal refuse;
    if (refuse(!is_halted(t.state), Error::wrong_state) || //
        refuse(is_current(f), Error::again))
        return refuse.reason;
    if (t.bound != 0) {
        notifications[t.bound].bound = 0;
        unrefer(t.bound);
    }
    if (t.monitor != 0)
        unrefer(t.monitor);
    if (t.vcpu != 0)
        vcpus[t.vcpu].thread = 0;
    unrefer(t.domain);
    unrefer(t.space);
    return Error::ok;
}

static Error end_sched_context(Frame f) {
    const SchedContext& sc = sched_contexts[f];
    const Frame thread = sc.thread;
    Refusal refuse;
    if (refuse(cores[sc.core].context == f && sc.running != 0, Error::again) ||
        refuse(thread != 0 && !is_halted(threads[thread].state), Error::wrong_state) ||
        // Lent to a server that has not answered, or a core is still leaving the thread.
        refuse(thread != 0 && (sc.running != thread || is_current(thread)), Error::again))
        return refuse.reason;
    if (thread != 0) {
        forget_fpu(sc.core, thread);
        threads[thread].sc = 0;
        threads[thread].running_on = 0;
        unrefer(thread);
    }
    Core& core = cores[sc.core];
    core.sc[sc.position % sc_slots] = 0;
    exclude(core.ready, sc.position);
    exclude(core.timed, sc.position);
    exclude(core.exhausted, sc.position);
    return Error::ok;
}

static Error end_notification(Frame f) {
    if (notifications[f].waiter != 0)
        end_wait(notifications[f].waiter, Error::dead, 0);
    return Error::ok;
}

static Error end_vcpu(Frame f) {
    const Vcpu& v = vcpus[f];
    Refusal refuse;
    if (refuse(v.thread != 0 && is_current(v.thread), Error::again) ||
        refuse(v.thread != 0, Error::wrong_state))
        return refuse.reason;
    if (refuse(!vendor_end_vcpu(f), Error::again)) // another processor holds its control block
        return refuse.reason;
    forget_fpu(v.core, f);
    unrefer(v.space);
    unrefer(v.control);
    unrefer(v.fpu);
    unrefer(v.state);
    return Error::ok;
}

static Error end_object(Frame f, u32 step) {
    switch (frames[f].type) {
    case ObjectType::domain:
        return end_domain(f);
    case ObjectType::space:
        return end_space(f);
    case ObjectType::page_table:
        return end_page_table(f, step);
    case ObjectType::thread:
        return end_thread(f);
    case ObjectType::sched_context:
        return end_sched_context(f);
    case ObjectType::notification:
        return end_notification(f);
    case ObjectType::vcpu:
        return end_vcpu(f);
    case ObjectType::endpoint:
        end_endpoint(f);
        return Error::ok;
    case ObjectType::interrupt:
        end_interrupt(f);
        return Error::ok;
    case ObjectType::cap_table:
    case ObjectType::vmcb:
    case ObjectType::fpu:
    case ObjectType::io_map:
    case ObjectType::msr_map:
    case ObjectType::ports:
    case ObjectType::mmio:
        return Error::ok; // nothing hangs on them once nobody refers to them
    default:
        return Error::wrong_frame_type; // cores, the platform, the right to make interrupts
    }
}

Answer frame_reclaim(const Caller& me, const FrameReclaimArgs& a) {
    Cap from;
    Refusal refuse;
    if (refuse(find(me.domain, a.domain, ObjectType::domain, right::manage, from)) ||
        refuse(!exists(a.frame), Error::bad_frame) ||
        refuse(owner_of(a.frame) != from.object, Error::not_owner) ||
        refuse(blocks[block_of(a.frame)].state == BlockState::whole, Error::block_whole) ||
        refuse(frames[a.frame].references != 0 || frames[a.frame].mappings != 0,
               Error::frame_in_use))
        return refuse.reason;
    if (frames[a.frame].type == ObjectType::ram) {
        raise_generation(a.frame);
    } else {
        if (refuse(end_object(a.frame, a.step)))
            return refuse.reason;
        unmake(a.frame);
    }
    change_owner(a.frame, me.domain);
    return Error::ok;
}

} // namespace horos::spec
