#include "kernel/core/vcpu.hpp"
#include "kernel/core/caps.hpp"
#include "kernel/core/frames.hpp"
#include "kernel/core/hypercall_entry.hpp"
#include "kernel/core/sched.hpp"
#include "kernel/core/shell.hpp"
#include "kernel/core/vendor.hpp"

namespace horos::core {

static Error find_guest_space(const Caller& me, u32 selector, Frame& space) {
    CapSlot cap;
    if (const Error e = lookup(me.domain, selector, ObjectType::space, right::write, cap);
        e != Error::ok)
        return e;
    space = cap.object;
    return spaces[space].kind == SpaceKind::guest ? Error::ok : Error::wrong_space;
}

static Error check_vcpu_frames(const Caller& me, const VcpuCreateArgs& a) {
    if (const Error e = check_retype(me.domain, a.frame); e != Error::ok)
        return e;
    if (const Error e = check_retype(me.domain, a.control); e != Error::ok)
        return e;
    if (const Error e = check_retype(me.domain, a.fpu); e != Error::ok)
        return e;
    if (const Error e = check_ram(me.domain, a.state); e != Error::ok)
        return e;
    const bool distinct = a.frame != a.control && a.frame != a.fpu && a.control != a.fpu &&
                          a.state != a.frame && a.state != a.control && a.state != a.fpu;
    return distinct ? Error::ok : Error::frame_in_use;
}

Error vcpu_create(const Caller& me, const VcpuCreateArgs& a) {
    Frame space;
    if (const Error e = find_guest_space(me, a.space, space); e != Error::ok)
        return e;
    if (const Error e = check_empty(me.domain, a.slot); e != Error::ok)
        return e;
    if (const Error e = check_vcpu_frames(me, a); e != Error::ok)
        return e;
    if (!can_reference(space) || !can_reference(a.state))
        return Error::limit;
    retype(a.frame, ObjectType::vcpu);
    retype(a.control, ObjectType::vmcb);
    retype(a.fpu, ObjectType::fpu);
    reference(space);
    reference(a.control);
    reference(a.fpu);
    reference(a.state);
    Vcpu& vcpu = vcpus[a.frame];
    vcpu.space = space;
    vcpu.control = a.control;
    vcpu.fpu = a.fpu;
    vcpu.state = a.state;
    vcpu.core = no_core;
    vcpu.xcr0 = 1;
    vcpu.deadline = no_deadline;
    vendor_init_vcpu(a.frame);
    put(me.domain, a.slot, full_cap(a.frame, ObjectType::vcpu));
    return Error::ok;
}

static Error check_maps(const Caller& me, Frame first, u32 count) {
    for (u32 i = 0; i < 4; ++i) {
        if (i >= count)
            break;
        if (const Error e = check_retype(me.domain, first + i); e != Error::ok)
            return e;
    }
    return Error::ok;
}

static void make_maps(Frame first, u32 count, ObjectType type) {
    for (u32 i = 0; i < 4; ++i) {
        if (i >= count)
            break;
        retype(first + i, type);
        reference(first + i);
    }
}

Error space_io_map(const Caller& me, const SpaceIoMapArgs& a) {
    Frame space;
    if (const Error e = find_guest_space(me, a.space, space); e != Error::ok)
        return e;
    if (spaces[space].io_map != 0)
        return Error::busy;
    if (const Error e = check_maps(me, a.frame, io_map_frames); e != Error::ok)
        return e;
    make_maps(a.frame, io_map_frames, ObjectType::io_map);
    for (u32 i = 0; i < io_map_frames; ++i)
        __builtin_memset(&permission_maps[a.frame + i], 0xff, frame_size);
    spaces[space].io_map = a.frame;
    spaces[space].flushes++; // its guests take it over at their next entry
    return Error::ok;
}

Error space_msr_map(const Caller& me, const SpaceMsrMapArgs& a) {
    Frame space;
    if (const Error e = find_guest_space(me, a.space, space); e != Error::ok)
        return e;
    if (spaces[space].msr_map != 0)
        return Error::busy;
    if (const Error e = check_maps(me, a.frame, msr_map_frames); e != Error::ok)
        return e;
    make_maps(a.frame, msr_map_frames, ObjectType::msr_map);
    vendor_init_msr_map(a.frame);
    spaces[space].msr_map = a.frame;
    spaces[space].flushes++;
    return Error::ok;
}

Error guest_port(const Caller& me, const GuestPortArgs& a) {
    Frame space;
    CapSlot cap;
    if (const Error e = find_guest_space(me, a.space, space); e != Error::ok)
        return e;
    if (const Error e =
            lookup(me.domain, a.ports, ObjectType::ports, right::read | right::write, cap);
        e != Error::ok)
        return e;
    if (a.allow > 1)
        return Error::bad_argument;
    const Ports& range = port_ranges[cap.object];
    if (a.port < range.first || a.port > range.last || (a.port & 0xff7e) == 0x20)
        return Error::port_denied; // beyond the range, or an interrupt controller of the kernel's
    const Frame map = spaces[space].io_map;
    if (map == 0)
        return Error::wrong_state;
    set_permission(map, a.port, a.allow == 0);
    return Error::ok;
}

Error guest_msr(const Caller& me, const GuestMsrArgs& a) {
    Frame space;
    if (const Error e = find_guest_space(me, a.space, space); e != Error::ok)
        return e;
    if (a.access > 3)
        return Error::bad_argument;
    if (spaces[space].msr_map == 0)
        return Error::wrong_state;
    return vendor_set_msr(spaces[space].msr_map, a.msr, a.access) ? Error::ok : Error::bad_argument;
}

// The virtual CPU stops being run; its VMM's thread goes on with this exit.
[[gnu::always_inline]] static inline u64 finish(Frame thread, Frame vcpu, ExitReason reason) {
    vcpus[vcpu].thread = 0;
    threads[thread].vcpu = 0;
    if (vcpus[vcpu].deadline != no_deadline)
        clear_deadline(thread);
    return u64{static_cast<u32>(reason)} << result_value_shift;
}

[[gnu::noinline]] static u64 finish_with(Frame thread, ExitReason reason, u64 info) {
    const Frame vcpu = threads[thread].vcpu;
    vendor_store_exit(vcpu, reason, info);
    return finish(thread, vcpu, reason);
}

[[gnu::noinline]] static u64 finish_notified(Frame thread) {
    Notification& bound = notifications[threads[thread].bound];
    const u64 bits = bound.bits;
    bound.bits = 0;
    return finish_with(thread, ExitReason::notified, bits);
}

// Ends the run when the deadline has passed. An earlier deadline than the core's timer moves the
// timer; a later one can wait for it.
[[gnu::noinline]] static u64 keep_deadline(u32 number, Frame thread) {
    Core& core = cores[number];
    const u64 deadline = vcpus[threads[thread].vcpu].deadline;
    if (deadline <= shell_now())
        return finish_with(thread, ExitReason::deadline, 0);
    set_deadline(thread, deadline);
    if (deadline < core.timer) {
        core.timer = deadline;
        shell_set_timer(deadline);
    }
    return 0;
}

// One round: the guest runs, unless something that happened outside it comes first. 0: again.
[[gnu::always_inline]] static inline u64 run_round(u32 number, Frame thread, Frame vcpu) {
    if (cores[number].reschedule != 0) [[unlikely]]
        return result_switch;
    const Frame bound = threads[thread].bound;
    if (bound != 0 && notifications[bound].bits != 0) [[unlikely]]
        return finish_notified(thread);
    if (vcpus[vcpu].deadline != no_deadline) {
        if (const u64 result = keep_deadline(number, thread); result != 0)
            return result;
    }
    const ExitReason reason = vendor_enter(number, vcpu);
    return reason == ExitReason::none ? 0 : finish(thread, vcpu, reason);
}

extern "C" u64 core_run_guest(u32 core) {
    const Frame thread = cores[core].thread;
    for (;;) {
        if (const u64 result = run_round(core, thread, threads[thread].vcpu); result != 0)
            return result;
    }
}

[[gnu::always_inline]] u64 vcpu_run(const Caller& me, const VcpuRunArgs& a, Values&) {
    CapSlot cap;
    if (const Error e = lookup_fast(me.domain, a.vcpu, ObjectType::vcpu, right::write, cap);
        e != Error::ok) [[unlikely]]
        return word(e);
    const Frame f = cap.object;
    Vcpu& vcpu = vcpus[f];
    if (vcpu.thread != 0) [[unlikely]]
        return word(Error::busy);
    if (vcpu.core != me.core && vcpu.core != no_core) [[unlikely]]
        return word(Error::wrong_core);
    Thread& thread = threads[me.thread];
    if (thread.running_on != thread.sc) [[unlikely]]
        return word(Error::wrong_state); // it would keep its client waiting
    if (const u32 rule = vendor_take_state(f); rule != 0) [[unlikely]]
        return word(Error::guard) | u64{rule} << result_value_shift;
    vcpu.core = me.core;
    vcpu.thread = me.thread;
    thread.vcpu = f;
    // The usual run is one round; the loop is for those that the kernel's own exits interrupt.
    const u64 result = run_round(me.core, me.thread, f);
    return result != 0 ? result : core_run_guest(me.core);
}

u64 vcpu_run_entry(u64 rdi, u64 rsi, u64 rdx, u64 r10, u64 r8, u64 r9) {
    return fast_entry<VcpuRunArgs, vcpu_run>(rdi, rsi, rdx, r10, r8, r9);
}

} // namespace horos::core
