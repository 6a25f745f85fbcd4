#include "kernel/core/devices.hpp"
#include "kernel/core/caps.hpp"
#include "kernel/core/frames.hpp"
#include "kernel/core/notify.hpp"
#include "kernel/core/shell.hpp"

namespace horos::core {

void core_interrupt(u32, u8 vector) {
    const Frame number = irq_of_vector[vector];
    if (number == 0)
        return; // spurious
    Interrupt& irq = interrupts[number];
    if (irq.is_message == 0 && (irq.flags & irq_flag::level) != 0) {
        shell_mask_line(irq.gsi, true);
        irq.masked = 1;
    }
    if (irq.notification != 0)
        raise(irq.notification, irq.bits);
}

// What both kinds of interrupt need: the right to make one, a core that runs, a slot and a frame.
static Error check_interrupt(const Caller& me, u32 control, u32 core_selector, u32 slot,
                             Frame frame, u32& core) {
    CapSlot cap;
    CapSlot core_cap;
    if (const Error e = lookup(me.domain, control, ObjectType::irq_control, right::write, cap);
        e != Error::ok)
        return e;
    if (const Error e = lookup(me.domain, core_selector, ObjectType::core, right::write, core_cap);
        e != Error::ok)
        return e;
    core = core_objects[core_cap.object].number;
    if (core >= max_cores || cores[core].online == 0)
        return Error::bad_core;
    if (const Error e = check_empty(me.domain, slot); e != Error::ok)
        return e;
    return check_retype(me.domain, frame);
}

static void make_interrupt(const Caller& me, Frame frame, u32 slot, u32 core, u32 gsi, u8 vector) {
    retype(frame, ObjectType::interrupt);
    interrupts[frame].core = core;
    interrupts[frame].gsi = gsi;
    interrupts[frame].vector = vector;
    irq_of_vector[vector] = frame;
    put(me.domain, slot, full_cap(frame, ObjectType::interrupt));
}

Error irq_create(const Caller& me, const IrqCreateArgs& a) {
    u32 core;
    if (a.gsi >= max_gsi || (a.flags & ~(irq_flag::level | irq_flag::active_low)) != 0)
        return Error::bad_argument;
    if (const Error e = check_interrupt(me, a.control, a.core, a.slot, a.frame, core);
        e != Error::ok)
        return e;
    const u8 vector = static_cast<u8>(first_line_vector + a.gsi);
    if (irq_of_vector[vector] != 0 || !shell_line_exists(a.gsi))
        return Error::irq_taken;
    make_interrupt(me, a.frame, a.slot, core, a.gsi, vector);
    interrupts[a.frame].flags = a.flags;
    interrupts[a.frame].masked = 1;
    shell_route_line(a.gsi, vector, core, a.flags);
    return Error::ok;
}

Error msi_create(const Caller& me, const MsiCreateArgs& a, Values& v) {
    u32 core;
    if (a.index >= max_msi)
        return Error::bad_argument;
    if (const Error e = check_interrupt(me, a.control, a.core, a.slot, a.frame, core);
        e != Error::ok)
        return e;
    const u8 vector = static_cast<u8>(first_message_vector + a.index);
    if (irq_of_vector[vector] != 0)
        return Error::irq_taken;
    make_interrupt(me, a.frame, a.slot, core, a.index, vector);
    interrupts[a.frame].is_message = 1;
    v.v[0] = shell_message_address(core);
    v.v[1] = vector;
    return Error::ok;
}

Error irq_bind(const Caller& me, const IrqBindArgs& a) {
    CapSlot irq;
    CapSlot to;
    if (const Error e = lookup(me.domain, a.irq, ObjectType::interrupt, right::write, irq);
        e != Error::ok)
        return e;
    if (const Error e =
            lookup(me.domain, a.notification, ObjectType::notification, right::write, to);
        e != Error::ok)
        return e;
    Interrupt& interrupt = interrupts[irq.object];
    if (interrupt.notification != 0)
        return Error::busy;
    const u64 bits = to.badge != 0 ? to.badge : a.bits;
    if (bits == 0)
        return Error::bad_argument;
    if (!can_reference(to.object))
        return Error::limit;
    reference(to.object);
    interrupt.notification = to.object;
    interrupt.bits = bits;
    if (interrupt.is_message == 0) {
        interrupt.masked = 0;
        shell_mask_line(interrupt.gsi, false);
    }
    return Error::ok;
}

Error irq_ack(const Caller& me, const IrqAckArgs& a) {
    CapSlot cap;
    if (const Error e = lookup(me.domain, a.irq, ObjectType::interrupt, right::write, cap);
        e != Error::ok)
        return e;
    Interrupt& irq = interrupts[cap.object];
    if (irq.notification == 0 || irq.is_message != 0 || irq.masked == 0)
        return Error::wrong_state;
    irq.masked = 0;
    shell_mask_line(irq.gsi, false);
    return Error::ok;
}

void retire_interrupt(Frame frame) {
    Interrupt& irq = interrupts[frame];
    if (irq.is_message == 0)
        shell_mask_line(irq.gsi, true);
    irq_of_vector[irq.vector] = 0;
    if (irq.notification != 0)
        dereference(irq.notification);
}

Error ports_create(const Caller& me, const PortsCreateArgs& a) {
    CapSlot cap;
    if (const Error e = lookup(me.domain, a.ports, ObjectType::ports, right::write, cap);
        e != Error::ok)
        return e;
    if (a.first > a.last)
        return Error::bad_argument;
    const Ports& range = port_ranges[cap.object];
    if (a.first < range.first || a.last > range.last)
        return Error::port_denied;
    if (const Error e = check_empty(me.domain, a.slot); e != Error::ok)
        return e;
    if (const Error e = check_retype(me.domain, a.frame); e != Error::ok)
        return e;
    retype(a.frame, ObjectType::ports);
    port_ranges[a.frame].first = a.first;
    port_ranges[a.frame].last = a.last;
    CapSlot made = full_cap(a.frame, ObjectType::ports);
    made.rights = cap.rights; // a part has no more rights than the whole
    put(me.domain, a.slot, made);
    return Error::ok;
}

// Ports that stay the kernel's: the interrupt controllers that it has masked for good.
static bool is_kernel_port(u32 first, u32 last) {
    return (first <= 0x21 && last >= 0x20) || (first <= 0xa1 && last >= 0xa0);
}

static Error check_port(Frame domain, u32 selector, u8 rights, u16 port, u8 size) {
    CapSlot cap;
    if (const Error e = lookup(domain, selector, ObjectType::ports, rights, cap); e != Error::ok)
        return e;
    if (size != 1 && size != 2 && size != 4)
        return Error::bad_argument;
    const Ports& range = port_ranges[cap.object];
    const u32 last = u32{port} + size - 1;
    const bool inside = port >= range.first && last <= range.last;
    return inside && !is_kernel_port(port, last) ? Error::ok : Error::port_denied;
}

Error port_in(const Caller& me, const PortInArgs& a, Values& v) {
    if (const Error e = check_port(me.domain, a.ports, right::read, a.port, a.size); e != Error::ok)
        return e;
    v.v[0] = shell_port_in(a.port, a.size);
    return Error::ok;
}

Error port_out(const Caller& me, const PortOutArgs& a) {
    if (const Error e = check_port(me.domain, a.ports, right::write, a.port, a.size);
        e != Error::ok)
        return e;
    shell_port_out(a.port, a.size, a.value);
    return Error::ok;
}

Error mmio_create(const Caller& me, const MmioCreateArgs& a) {
    CapSlot cap;
    if (const Error e = lookup(me.domain, a.mmio, ObjectType::mmio, right::write, cap);
        e != Error::ok)
        return e;
    const Mmio& range = mmio_ranges[cap.object];
    const u64 end = range.first + range.count;
    if (a.count == 0 || a.first < range.first || a.first >= end || a.count > end - a.first)
        return Error::bad_argument;
    if (const Error e = check_empty(me.domain, a.slot); e != Error::ok)
        return e;
    if (const Error e = check_retype(me.domain, a.frame); e != Error::ok)
        return e;
    retype(a.frame, ObjectType::mmio);
    mmio_ranges[a.frame].first = a.first;
    mmio_ranges[a.frame].count = a.count;
    CapSlot made = full_cap(a.frame, ObjectType::mmio);
    made.rights = cap.rights;
    put(me.domain, a.slot, made);
    return Error::ok;
}

static Error check_platform(Frame domain, u32 selector, u8 rights) {
    CapSlot cap;
    return lookup(domain, selector, ObjectType::platform, rights, cap);
}

Error platform_control(const Caller& me, const PlatformControlArgs& a) {
    if (const Error e = check_platform(me.domain, a.platform, right::write); e != Error::ok)
        return e;
    if (a.operation > static_cast<u32>(PlatformOp::reset) || a.sleep_type > 7)
        return Error::bad_argument;
    const PlatformOp op = static_cast<PlatformOp>(a.operation);
    if (op == PlatformOp::power_off && !shell_power_off_supported())
        return Error::unsupported;
    shell_request_power(op, a.sleep_type);
    return Error::ok;
}

Error log(const Caller& me, const LogArgs& a) {
    if (const Error e = check_platform(me.domain, a.platform, right::read); e != Error::ok)
        return e;
    if (a.length == 0 || a.length > 32)
        return Error::bad_argument;
    const u64 words[4] = {a.b0, a.b1, a.b2, a.b3};
    char text[32];
    for (u32 w = 0; w < 4; ++w)
        __builtin_memcpy(text + 8 * w, &words[w], 8);
    shell_log(text, a.length);
    return Error::ok;
}

} // namespace horos::core
