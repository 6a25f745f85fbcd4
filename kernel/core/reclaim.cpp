#include "kernel/core/reclaim.hpp"
#include "kernel/core/caps.hpp"
#include "kernel/core/devices.hpp"
#include "kernel/core/frames.hpp"
#include "kernel/core/ipc.hpp"
#include "kernel/core/page_tables.hpp"
#include "kernel/core/threads.hpp"
#include "kernel/core/vendor.hpp"

namespace horos::core {

// Each function prepares an object for its end: it lets go of what the object refers to. Ok means
// that the frame can be unmade now. Anything else has changed nothing, `again` excepted.

static Error end_domain(Frame f) {
    Domain& d = domains[f];
    if (d.owned != 0)
        return Error::frame_in_use; // take its memory back first
    for (u32 i = 0; i < tables_per_domain; ++i) {
        if (d.tables[i] != 0)
            dereference(d.tables[i]);
    }
    return Error::ok;
}

static Error end_space(Frame f) {
    const Space& s = spaces[f];
    if (cores_using(f) != 0)
        return Error::again; // a core is about to leave it
    dereference(s.root);
    for (u32 i = 0; s.io_map != 0 && i < 3; ++i)
        dereference(s.io_map + i);
    for (u32 i = 0; s.msr_map != 0 && i < 2; ++i)
        dereference(s.msr_map + i);
    return Error::ok;
}

// A table that no space reaches any more (its parent or its space is gone, and with it every
// cached translation) loses its entries in steps.
static Error end_page_table(Frame f, u32 step) {
    if (step >= 512 / entries_per_reclaim)
        return Error::bad_argument;
    const bool top = frames[f].level == 4;
    for (u32 i = 0; i < entries_per_reclaim; ++i) {
        const u32 index = step * entries_per_reclaim + i;
        // The kernel's own entries of a host space's top table are nobody's to count.
        if (frames[f].live != 0 && !(top && is_kernel_entry(f, index)))
            clear_entry(f, index);
    }
    return frames[f].live == 0 ? Error::ok : Error::again;
}

// The core's processor may still hold the FPU state of what goes away: it is nobody's then.
static void forget_fpu(u32 core, Frame owner) {
    if (core < max_cores && cores[core].fpu_owner == owner)
        cores[core].fpu_owner = 0;
}

static Error end_thread(Frame f) {
    Thread& t = threads[f];
    const bool halted = t.state == ThreadState::stopped || t.state == ThreadState::faulted ||
                        t.state == ThreadState::exited;
    if (!halted)
        return Error::wrong_state; // stop it first
    if (is_current(f))
        return Error::again;
    if (t.bound != 0) {
        notifications[t.bound].bound = 0;
        dereference(t.bound);
    }
    if (t.monitor != 0)
        dereference(t.monitor);
    if (t.vcpu != 0)
        vcpus[t.vcpu].thread = 0;
    dereference(t.domain);
    dereference(t.space);
    return Error::ok;
}

static Error end_sched_context(Frame f) {
    SchedContext& sc = sched_contexts[f];
    // A server that was stopped while it used this time may not have left it yet.
    if (cores[sc.core].context == f && sc.running != 0)
        return Error::again;
    if (sc.thread != 0) {
        const Thread& t = threads[sc.thread];
        if (t.state != ThreadState::stopped && t.state != ThreadState::faulted &&
            t.state != ThreadState::exited)
            return Error::wrong_state;
        // Lent to a server that has not answered, or a core is still leaving the thread.
        if (sc.running != sc.thread || is_current(sc.thread))
            return Error::again;
        forget_fpu(sc.core, sc.thread);
        threads[sc.thread].sc = 0;
        threads[sc.thread].running_on = 0;
        dereference(sc.thread);
    }
    Core& core = cores[sc.core];
    core.sc[sc.position & 15] = 0;
    core.ready &= static_cast<u16>(~position_bit(sc.position));
    core.timed &= static_cast<u16>(~position_bit(sc.position));
    core.exhausted &= static_cast<u16>(~position_bit(sc.position));
    return Error::ok;
}

static Error end_notification(Frame f) {
    if (notifications[f].waiter != 0)
        wake(notifications[f].waiter, Error::dead, 0);
    return Error::ok;
}

static Error end_vcpu(Frame f) {
    Vcpu& v = vcpus[f];
    if (v.thread != 0)
        return is_current(v.thread) ? Error::again : Error::wrong_state;
    if (!vendor_end_vcpu(f))
        return Error::again;
    forget_fpu(v.core, f);
    dereference(v.space);
    dereference(v.control);
    dereference(v.fpu);
    dereference(v.state);
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
        empty_endpoint(f);
        return Error::ok;
    case ObjectType::interrupt:
        retire_interrupt(f);
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
        return Error::wrong_frame_type;
    }
}

Error frame_reclaim(const Caller& me, const FrameReclaimArgs& a) {
    CapSlot from;
    if (const Error e = lookup(me.domain, a.domain, ObjectType::domain, right::manage, from);
        e != Error::ok)
        return e;
    if (!frame_exists(a.frame))
        return Error::bad_frame;
    if (blocks[block_of(a.frame)].state == BlockState::whole)
        return blocks[block_of(a.frame)].owner == from.object ? Error::block_whole
                                                              : Error::not_owner;
    if (frame_owner(a.frame) != from.object)
        return Error::not_owner;
    const FrameInfo& info = frames[a.frame];
    if (info.references != 0 || info.mappings != 0)
        return Error::frame_in_use;
    if (info.type != ObjectType::ram) {
        if (const Error e = end_object(a.frame, a.step); e != Error::ok)
            return e;
        unmake(a.frame);
    } else {
        raise_generation(a.frame);
    }
    set_owner(a.frame, me.domain);
    return Error::ok;
}

} // namespace horos::core
