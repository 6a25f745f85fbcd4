// Virtual CPUs and what their guests may use without an exit. What a control block holds is the
// vendor backend's affair (kernel/core/vendor.hpp); here its steps are named effects.
#include "kernel/core/shell.hpp"
#include "kernel/core/vendor.hpp"
#include "spec/calls.hpp"
#include "spec/events.hpp"
#include "spec/schedule.hpp"

namespace horos::spec {

static Error find_guest_space(const Caller& me, u32 selector, Cap& space) {
    Refusal refuse;
    if (refuse(find(me.domain, selector, ObjectType::space, right::write, space)) ||
        refuse(spaces[space.object].kind != SpaceKind::guest, Error::wrong_space))
        return refuse.reason;
    return Error::ok;
}

// Four different frames.
static bool all_different(const VcpuCreateArgs& a) {
    return a.frame != a.control && a.frame != a.fpu && a.frame != a.state && a.control != a.fpu &&
           a.control != a.state && a.fpu != a.state;
}

Answer vcpu_create(const Caller& me, const VcpuCreateArgs& a) {
    Cap space;
    Refusal refuse;
    if (refuse(find_guest_space(me, a.space, space)) || //
        refuse(vacant(me.domain, a.slot)) ||            //
        refuse(raw_memory_of(me.domain, a.frame)) ||
        refuse(raw_memory_of(me.domain, a.control)) || //
        refuse(raw_memory_of(me.domain, a.fpu)) ||     //
        refuse(memory_of(me.domain, a.state)) || refuse(!all_different(a), Error::frame_in_use) ||
        refuse(!may_refer(space.object) || !may_refer(a.state), Error::limit))
        return refuse.reason;
    make(a.frame, ObjectType::vcpu);
    make(a.control, ObjectType::vmcb);
    make(a.fpu, ObjectType::fpu);
    refer(space.object);
    refer(a.control);
    refer(a.fpu);
    refer(a.state); // pinned: it stays ordinary memory of its owner
    Vcpu& v = vcpus[a.frame];
    v.space = space.object;
    v.control = a.control;
    v.fpu = a.fpu;
    v.state = a.state;
    v.core = no_core;
    v.xcr0 = 1;
    v.deadline = no_deadline;
    vendor_init_vcpu(a.frame);
    put(me.domain, a.slot, full(a.frame));
    return Error::ok;
}

static constexpr u32 most_map_frames = 3;

static Error all_raw(Frame domain, Frame first, u32 count) {
    for (u32 i = 0; i < most_map_frames; ++i) {
        const Error e = i < count ? raw_memory_of(domain, first + i) : Error::ok;
        if (e != Error::ok)
            return e;
    }
    return Error::ok;
}

static void make_map(Frame first, u32 count, ObjectType type) {
    for (u32 i = 0; i < most_map_frames; ++i) {
        if (i >= count)
            break;
        make(first + i, type);
        refer(first + i);
    }
}

Answer space_io_map(const Caller& me, const SpaceIoMapArgs& a) {
    Cap space;
    Refusal refuse;
    if (refuse(find_guest_space(me, a.space, space)) ||
        refuse(spaces[space.object].io_map != 0, Error::busy) ||
        refuse(all_raw(me.domain, a.frame, io_map_frames)))
        return refuse.reason;
    make_map(a.frame, io_map_frames, ObjectType::io_map);
    for (u32 i = 0; i < io_map_frames; ++i)
        __builtin_memset(&permission_maps[a.frame + i], 0xff, frame_size); // every port exits
    spaces[space.object].io_map = a.frame;
    spaces[space.object].flushes++; // its guests take it over at their next entry
    return Error::ok;
}

Answer space_msr_map(const Caller& me, const SpaceMsrMapArgs& a) {
    Cap space;
    Refusal refuse;
    if (refuse(find_guest_space(me, a.space, space)) ||
        refuse(spaces[space.object].msr_map != 0, Error::busy) ||
        refuse(all_raw(me.domain, a.frame, msr_map_frames)))
        return refuse.reason;
    make_map(a.frame, msr_map_frames, ObjectType::msr_map);
    vendor_init_msr_map(a.frame);
    spaces[space.object].msr_map = a.frame;
    spaces[space.object].flushes++;
    return Error::ok;
}

static bool is_kernel_port(u16 port) {
    return port == 0x20 || port == 0x21 || port == 0xa0 || port == 0xa1;
}

// Port p is bit p of the map; set: it exits.
static void set_port(Frame map, u16 port, bool exits) {
    constexpr u32 ports_per_frame = 8 * frame_size;
    u8& byte = permission_maps[map + port / ports_per_frame].bytes[port / 8 % frame_size];
    const u8 mask = static_cast<u8>(1u << (port % 8));
    byte = static_cast<u8>(exits ? byte | mask : byte & ~mask);
}

Answer guest_port(const Caller& me, const GuestPortArgs& a) {
    Cap space;
    Cap ports;
    Refusal refuse;
    if (refuse(find_guest_space(me, a.space, space)) ||
        refuse(find(me.domain, a.ports, ObjectType::ports, right::read | right::write, ports)) ||
        refuse(a.allow > 1, Error::bad_argument) ||
        refuse(a.port < port_ranges[ports.object].first || a.port > port_ranges[ports.object].last,
               Error::port_denied) ||
        refuse(is_kernel_port(a.port), Error::port_denied) ||
        refuse(spaces[space.object].io_map == 0, Error::wrong_state))
        return refuse.reason;
    set_port(spaces[space.object].io_map, a.port, a.allow == 0);
    return Error::ok;
}

Answer guest_msr(const Caller& me, const GuestMsrArgs& a) {
    Cap space;
    Refusal refuse;
    if (refuse(find_guest_space(me, a.space, space)) || refuse(a.access > 3, Error::bad_argument) ||
        refuse(spaces[space.object].msr_map == 0, Error::wrong_state) ||
        refuse(!vendor_set_msr(spaces[space.object].msr_map, a.msr, a.access), Error::bad_argument))
        return refuse.reason;
    return Error::ok;
}

// The run ends, and the VMM's thread goes on with a reason.
static Answer run_ends(u32 core, Frame thread, ExitReason reason, u64 info) {
    const Frame vcpu = threads[thread].vcpu;
    vendor_store_exit(vcpu, reason, info);
    vcpus[vcpu].thread = 0;
    threads[thread].vcpu = 0;
    if (vcpus[vcpu].deadline != no_deadline)
        exclude(cores[core].timed, sched_contexts[threads[thread].running_on].position);
    return {Error::ok, static_cast<u32>(reason)};
}

Answer run_guest(u32 number) {
    Core& core = cores[number];
    const Frame thread = core.thread;
    const Frame vcpu = threads[thread].vcpu;
    if (core.reschedule != 0)
        return Ending::blocked; // somebody else first
    const Frame bound = threads[thread].bound;
    if (bound != 0 && notifications[bound].bits != 0) {
        const u64 bits = notifications[bound].bits;
        notifications[bound].bits = 0;
        return run_ends(number, thread, ExitReason::notified, bits);
    }
    const u64 deadline = vcpus[vcpu].deadline;
    if (deadline != no_deadline) {
        if (deadline <= shell_now())
            return run_ends(number, thread, ExitReason::deadline, 0);
        set_deadline(thread, deadline);
        if (deadline < core.timer) {
            core.timer = deadline;
            shell_set_timer(deadline);
        }
    }
    return Ending::in_guest;
}

Answer vcpu_run(const Caller& me, const VcpuRunArgs& a) {
    Cap cap;
    Refusal refuse;
    if (refuse(find(me.domain, a.vcpu, ObjectType::vcpu, right::write, cap)) ||
        refuse(vcpus[cap.object].thread != 0, Error::busy) ||
        refuse(vcpus[cap.object].core != me.core && vcpus[cap.object].core != no_core,
               Error::wrong_core) ||
        refuse(is_serving(me.thread), Error::wrong_state)) // it would keep its client waiting
        return refuse.reason;
    if (const u32 rule = vendor_take_state(cap.object); rule != 0)
        return {Error::guard, rule};
    vcpus[cap.object].core = me.core;
    vcpus[cap.object].thread = me.thread;
    threads[me.thread].vcpu = cap.object;
    return run_guest(me.core);
}

Answer null(const Caller&, const NullArgs&) { return Error::ok; }

} // namespace horos::spec
