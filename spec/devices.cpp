// Interrupts, ports, device memory, and the machine as a whole.
#include "kernel/core/shell.hpp"
#include "spec/calls.hpp"
#include "spec/schedule.hpp"

namespace horos::spec {

static constexpr u32 line_vectors = 0x30;    // global system interrupt n arrives at 0x30 + n
static constexpr u32 message_vectors = 0xb0; // message n at 0xb0 + n

// What both kinds of interrupt need: the right to make one, a core that runs, a slot, a frame.
static Error may_make_interrupt(const Caller& me, u32 control, u32 core_selector, u32 slot,
                                Frame frame, u32& core) {
    Cap right_to_make;
    Cap where;
    Refusal refuse;
    if (refuse(find(me.domain, control, ObjectType::irq_control, right::write, right_to_make)) ||
        refuse(find(me.domain, core_selector, ObjectType::core, right::write, where)))
        return refuse.reason;
    core = core_objects[where.object].number;
    if (refuse(core >= max_cores || cores[core].online == 0, Error::bad_core) ||
        refuse(vacant(me.domain, slot)) || //
        refuse(raw_memory_of(me.domain, frame)))
        return refuse.reason;
    return Error::ok;
}

static void make_interrupt(Frame frame, u32 core, u32 number, u32 vector) {
    make(frame, ObjectType::interrupt);
    interrupts[frame].core = core;
    interrupts[frame].gsi = number;
    interrupts[frame].vector = static_cast<u8>(vector);
    irq_of_vector[vector % 256] = frame;
}

Answer irq_create(const Caller& me, const IrqCreateArgs& a) {
    constexpr u32 known = irq_flag::level | irq_flag::active_low;
    const u32 vector = line_vectors + a.gsi;
    u32 core = 0;
    Refusal refuse;
    if (refuse(a.gsi >= max_gsi || (a.flags & ~known) != 0, Error::bad_argument) ||
        refuse(may_make_interrupt(me, a.control, a.core, a.slot, a.frame, core)) ||
        refuse(irq_of_vector[vector % 256] != 0, Error::irq_taken) ||
        refuse(!shell_line_exists(a.gsi), Error::irq_taken))
        return refuse.reason;
    make_interrupt(a.frame, core, a.gsi, vector);
    interrupts[a.frame].flags = a.flags;
    interrupts[a.frame].masked = 1; // until it is bound
    put(me.domain, a.slot, full(a.frame));
    shell_route_line(a.gsi, static_cast<u8>(vector), core, a.flags);
    return Error::ok;
}

Answer msi_create(const Caller& me, const MsiCreateArgs& a) {
    const u32 vector = message_vectors + a.index;
    u32 core = 0;
    Refusal refuse;
    if (refuse(a.index >= max_msi, Error::bad_argument) ||
        refuse(may_make_interrupt(me, a.control, a.core, a.slot, a.frame, core)) ||
        refuse(irq_of_vector[vector % 256] != 0, Error::irq_taken))
        return refuse.reason;
    make_interrupt(a.frame, core, a.index, vector);
    interrupts[a.frame].is_message = 1;
    put(me.domain, a.slot, full(a.frame));
    return Values{{shell_message_address(core), vector, 0, 0, 0, 0}};
}

Answer irq_bind(const Caller& me, const IrqBindArgs& a) {
    Cap irq;
    Cap to;
    Refusal refuse;
    if (refuse(find(me.domain, a.irq, ObjectType::interrupt, right::write, irq)) ||
        refuse(find(me.domain, a.notification, ObjectType::notification, right::write, to)))
        return refuse.reason;
    Interrupt& i = interrupts[irq.object];
    const u64 bits = to.badge != 0 ? to.badge : a.bits;
    if (refuse(i.notification != 0, Error::busy) || //
        refuse(bits == 0, Error::bad_argument) || refuse(!may_refer(to.object), Error::limit))
        return refuse.reason;
    refer(to.object);
    i.notification = to.object;
    i.bits = bits;
    if (i.is_message == 0) {
        i.masked = 0;
        shell_mask_line(i.gsi, false);
    }
    return Error::ok;
}

Answer irq_ack(const Caller& me, const IrqAckArgs& a) {
    Cap irq;
    Refusal refuse;
    if (refuse(find(me.domain, a.irq, ObjectType::interrupt, right::write, irq)))
        return refuse.reason;
    Interrupt& i = interrupts[irq.object];
    if (refuse(i.is_message != 0 || i.notification == 0 || i.masked == 0, Error::wrong_state))
        return refuse.reason;
    i.masked = 0;
    shell_mask_line(i.gsi, false);
    return Error::ok;
}

void end_interrupt(Frame f) {
    const Interrupt& i = interrupts[f];
    irq_of_vector[i.vector] = 0;
    if (i.notification != 0)
        unrefer(i.notification);
    if (i.is_message == 0)
        shell_mask_line(i.gsi, true);
}

// A part of a range has no more rights than the whole.
static Cap part(Frame made, const Cap& whole) {
    Cap cap = full(made);
    cap.rights = whole.rights;
    return cap;
}

Answer ports_create(const Caller& me, const PortsCreateArgs& a) {
    Cap whole;
    Refusal refuse;
    if (refuse(find(me.domain, a.ports, ObjectType::ports, right::write, whole)) ||
        refuse(a.first > a.last, Error::bad_argument) ||
        refuse(a.first < port_ranges[whole.object].first || a.last > port_ranges[whole.object].last,
               Error::port_denied) ||
        refuse(vacant(me.domain, a.slot)) || //
        refuse(raw_memory_of(me.domain, a.frame)))
        return refuse.reason;
    make(a.frame, ObjectType::ports);
    port_ranges[a.frame].first = a.first;
    port_ranges[a.frame].last = a.last;
    put(me.domain, a.slot, part(a.frame, whole));
    return Error::ok;
}

// The legacy interrupt controllers, which the kernel has masked for good, stay its own.
static bool touches_kernel_port(u32 first, u32 last) {
    const auto inside = [=](u32 port) { return first <= port && port <= last; };
    return inside(0x20) || inside(0x21) || inside(0xa0) || inside(0xa1);
}

static Error may_access(const Caller& me, u32 selector, u8 rights, u16 port, u8 size) {
    Cap cap;
    Refusal refuse;
    if (refuse(find(me.domain, selector, ObjectType::ports, rights, cap)) ||
        refuse(size != 1 && size != 2 && size != 4, Error::bad_argument))
        return refuse.reason;
    const u32 last = u32{port} + size - 1;
    const Ports& range = port_ranges[cap.object];
    if (refuse(port < range.first || last > range.last, Error::port_denied) ||
        refuse(touches_kernel_port(port, last), Error::port_denied))
        return refuse.reason;
    return Error::ok;
}

Answer port_in(const Caller& me, const PortInArgs& a) {
    Refusal refuse;
    if (refuse(may_access(me, a.ports, right::read, a.port, a.size)))
        return refuse.reason;
    return Values{{shell_port_in(a.port, a.size), 0, 0, 0, 0, 0}};
}

Answer port_out(const Caller& me, const PortOutArgs& a) {
    Refusal refuse;
    if (refuse(may_access(me, a.ports, right::write, a.port, a.size)))
        return refuse.reason;
    shell_port_out(a.port, a.size, a.value);
    return Error::ok;
}

Answer mmio_create(const Caller& me, const MmioCreateArgs& a) {
    Cap whole;
    Refusal refuse;
    if (refuse(find(me.domain, a.mmio, ObjectType::mmio, right::write, whole)))
        return refuse.reason;
    const Mmio& range = mmio_ranges[whole.object];
    const u64 end = range.first + range.count;
    const bool inside = a.first >= range.first && a.first < end && a.count <= end - a.first;
    if (refuse(a.count == 0 || !inside, Error::bad_argument) ||
        refuse(vacant(me.domain, a.slot)) || //
        refuse(raw_memory_of(me.domain, a.frame)))
        return refuse.reason;
    make(a.frame, ObjectType::mmio);
    mmio_ranges[a.frame].first = a.first;
    mmio_ranges[a.frame].count = a.count;
    put(me.domain, a.slot, part(a.frame, whole));
    return Error::ok;
}

Answer platform_control(const Caller& me, const PlatformControlArgs& a) {
    Cap cap;
    Refusal refuse;
    if (refuse(find(me.domain, a.platform, ObjectType::platform, right::write, cap)) ||
        refuse(a.operation > static_cast<u32>(PlatformOp::reset), Error::bad_argument) ||
        refuse(a.sleep_type > 7, Error::bad_argument))
        return refuse.reason;
    const PlatformOp operation = static_cast<PlatformOp>(a.operation);
    if (refuse(operation == PlatformOp::power_off && !shell_power_off_supported(),
               Error::unsupported))
        return refuse.reason;
    shell_request_power(operation, a.sleep_type); // does not come back
    return Error::ok;
}

Answer log(const Caller& me, const LogArgs& a) {
    Cap cap;
    Refusal refuse;
    if (refuse(find(me.domain, a.platform, ObjectType::platform, right::read, cap)) ||
        refuse(a.length < 1 || a.length > 32, Error::bad_argument))
        return refuse.reason;
    const u64 words[4] = {a.b0, a.b1, a.b2, a.b3};
    char text[32];
    __builtin_memcpy(text, words, sizeof text);
    shell_log(text, a.length);
    return Error::ok;
}

} // namespace horos::spec
