#include "run/machine.hpp"

namespace horos::vmm {
namespace {

constexpr u16 com1 = 0x3f8;
constexpr u32 irq_timer = 0, irq_com1 = 4, irq_rtc = 8;

constexpr u16 port_pic_master = 0x20, port_pic_slave = 0xa0, port_elcr = 0x4d0;
// For tests only, and only if the description lists the device: a write makes the VMM fault.
constexpr u16 port_crash = 0x5fc;
constexpr u16 port_pit = 0x40, port_system_b = 0x61, port_rtc = 0x70, port_pci = 0xcf8;

constexpr bool in_range(u16 port, u16 first, u16 count) {
    return static_cast<u16>(port - first) < count;
}
constexpr bool is_pic(u16 port) {
    return in_range(port, port_pic_master, 2) || in_range(port, port_pic_slave, 2) ||
           in_range(port, port_elcr, 2);
}
constexpr bool is_power(u16 port) {
    return port == power_port::sleep_control || port == power_port::sleep_status ||
           port == power_port::keyboard_status || port == power_port::keyboard_data ||
           port == power_port::system_control || port == power_port::reset_control;
}

// Ports with a device of their own, the console and PCI apart, which are looked at before.
constexpr bool is_assigned(u16 port) {
    return is_pic(port) || in_range(port, port_pit, 4) || port == port_system_b ||
           in_range(port, port_rtc, 2) || is_power(port) || port == port_crash ||
           in_range(port, com1, 8);
}
constexpr bool any_assigned(u16 port, unsigned bytes) {
    for (unsigned i = 0; i < bytes; ++i)
        if (is_assigned(static_cast<u16>(port + i)))
            return true;
    return false;
}

// Reads address 0, where nothing is mapped: a page fault of the VMM itself.
void crash() {
    u64 value;
    asm volatile("movq 0, %0" : "=r"(value));
}

} // namespace

Machine::Machine(const MachineConfig& config)
    : config_(config), pit_(config.tsc_khz * 1000),
      rtc_(config.tsc_khz * 1000, config.unix_seconds, config.boot),
      clock_(config.tsc_khz, config.unix_seconds, config.boot) {
    rtc_.set_memory_size(config.memory.low_bytes(), config.memory.high_bytes());
}

void Machine::share_apic_page(bool more) {
    const Locked hold(lock_);
    apic_page_users_ += more ? 1 : -1u;
    if (apic_page_users_ == (more ? 1 : 0))
        host::show_apic_page(more);
}

// --- ports ---

u32 Machine::port_read(u16 port, unsigned bytes, u32 vcpu) {
    const Locked hold(lock_);
    // The console comes first: it is read most.
    if (in_range(port, com1, 8) && bytes == 1 && has(abi::device::uart)) {
        const u8 value = uart_.read(static_cast<Uart::Register>(port - com1));
        if (port == com1)
            take_input();
        if (uart_.irq() != ((lines_ >> irq_com1) & 1))
            settle(vcpu);
        return value;
    }
    // The reset register lies among PCI's; it is a byte.
    if (in_range(port, port_pci, 8) && has(abi::device::pci) &&
        !(port == power_port::reset_control && bytes == 1))
        return pci_.read(port, bytes);
    if (!any_assigned(port, bytes))
        return static_cast<u32>(byte_mask(bytes)); // nobody there
    const Ticks now = host::now();
    u32 value = 0;
    for (unsigned i = 0; i < bytes; ++i)
        value |= u32{port_read_byte(static_cast<u16>(port + i), now)} << (8 * i);
    settle(vcpu);
    return value;
}

u8 Machine::port_read_byte(u16 port, Ticks now) {
    if (in_range(port, com1, 8) && has(abi::device::uart))
        return uart_.read(static_cast<Uart::Register>(port - com1));
    if (is_pic(port) && has(abi::device::pic))
        return pic_.read(port);
    if (in_range(port, port_pit, 4) && has(abi::device::pit))
        return pit_.read(port, now);
    if (port == port_system_b && has(abi::device::pit))
        return pit_.read_port61(now);
    if (in_range(port, port_rtc, 2) && has(abi::device::rtc))
        return rtc_.read(port, now);
    if (is_power(port))
        return power_.read(port);
    return 0xff; // nobody there
}

void Machine::port_write(u16 port, unsigned bytes, u32 value, u32 vcpu) {
    const Locked hold(lock_);
    if (in_range(port, com1, 8) && bytes == 1 && has(abi::device::uart)) {
        uart_.write(static_cast<Uart::Register>(port - com1), static_cast<u8>(value));
        if (uart_.has_output())
            drain_output();
        if (uart_.irq() != ((lines_ >> irq_com1) & 1))
            settle(vcpu);
        return;
    }
    if (in_range(port, port_pci, 8) && has(abi::device::pci) &&
        !(port == power_port::reset_control && bytes == 1)) {
        pci_.write(port, bytes, value);
        return;
    }
    if (!any_assigned(port, bytes))
        return;
    const Ticks now = host::now();
    for (unsigned i = 0; i < bytes; ++i)
        port_write_byte(static_cast<u16>(port + i), static_cast<u8>(value >> (8 * i)), now, vcpu);
    settle(vcpu);
}

void Machine::port_write_byte(u16 port, u8 value, Ticks now, u32 vcpu) {
    if (in_range(port, com1, 8) && has(abi::device::uart)) {
        uart_.write(static_cast<Uart::Register>(port - com1), value);
        drain_output();
    } else if (is_pic(port) && has(abi::device::pic)) {
        pic_.write(port, value);
    } else if (in_range(port, port_pit, 4) && has(abi::device::pit)) {
        pit_.write(port, value, now);
    } else if (port == port_system_b && has(abi::device::pit)) {
        pit_.write_port61(value, now);
    } else if (in_range(port, port_rtc, 2) && has(abi::device::rtc)) {
        rtc_.write(port, value, now);
    } else if (port == port_crash && has(abi::device::crash)) {
        crash();
    } else if (is_power(port)) {
        power(power_.write(port, value), vcpu);
    }
}

void Machine::power(PowerRequest request, u32 vcpu) {
    if (request == PowerRequest::none)
        return;
    const bool off = request == PowerRequest::power_off;
    host::stop({.kind = off ? abi::ReportKind::power_off : abi::ReportKind::reset,
                .vcpu = vcpu,
                .text = off ? "the guest powered itself off" : "the guest reset itself"});
}

// --- device memory ---

u64 Machine::mmio_read(u64 address, unsigned bytes) {
    const u64 offset = address - Ioapic::default_base;
    if (offset >= Ioapic::window_bytes || !has(abi::device::ioapic))
        return byte_mask(bytes);
    const Locked hold(lock_);
    const u64 shift = (offset & 3) * 8;
    return (u64{ioapic_.read(static_cast<u32>(offset & ~u64{3}))} >> shift) & byte_mask(bytes);
}

void Machine::mmio_write(u64 address, unsigned bytes, u64 value, u32 vcpu) {
    const u64 offset = address - Ioapic::default_base;
    if (offset >= Ioapic::window_bytes || !has(abi::device::ioapic))
        return;
    const Locked hold(lock_);
    // The index register takes bytes as well; the window only whole registers.
    if (bytes != 4 && offset != 0)
        return;
    ioapic_.write(static_cast<u32>(offset), static_cast<u32>(value));
    if (ioapic_.has_message())
        deliver_pending(vcpu);
}

// --- interrupts ---

void Machine::set_irq(u32 irq, bool high) {
    if (((lines_ >> irq) & 1) == u32{high})
        return;
    lines_ ^= bit32(irq);
    pic_.set_line(irq, high);
    ioapic_.set_line(irq == irq_timer ? 2 : irq, high);
}

void Machine::settle(u32 vcpu) {
    set_irq(irq_com1, uart_.irq());
    set_irq(irq_rtc, rtc_.irq());
    deliver_pending(vcpu);
    schedule(vcpu);
}

void Machine::deliver_pending(u32 from) {
    while (const auto message = ioapic_.next_message())
        send(*message, from);
    const bool external = has(abi::device::pic) && pic_.request().has_value();
    if (external != external_.load(std::memory_order_relaxed)) {
        external_.store(external, std::memory_order_relaxed);
        if (external && mailboxes_[0].post_external() && from != 0)
            host::wake(0);
    }
}

void Machine::schedule(u32 vcpu) {
    const Ticks pit = has(abi::device::pit) ? pit_.next_edge() : never;
    const Ticks rtc = has(abi::device::rtc) ? rtc_.next_event() : never;
    const Ticks next = pit < rtc ? pit : rtc;
    const Ticks before = next_deadline_.load(std::memory_order_relaxed);
    if (next == before)
        return;
    next_deadline_.store(next, std::memory_order_relaxed);
    if (next < before && vcpu != 0)
        host::wake(0); // it serves the timers and may be asleep until later
}

void Machine::poll(Ticks now) {
    const Locked hold(lock_);
    if (has(abi::device::pit) && pit_.take_edge(now)) {
        set_irq(irq_timer, true);
        deliver_pending(0);
        set_irq(irq_timer, false);
    }
    if (has(abi::device::rtc) && now >= rtc_.next_event())
        rtc_.advance(now);
    if (has(abi::device::uart)) {
        drain_output();
        take_input();
    }
    settle(0);
}

void Machine::drain_output() {
    while (uart_.has_output()) {
        const u8 byte = uart_.peek_output();
        if (host::console_write(&byte, 1) == 0)
            return; // no room: the console wakes us when there is some
        uart_.take_output();
    }
}

void Machine::take_input() {
    u8 byte = 0;
    while (uart_.can_receive() && host::console_read(&byte, 1) == 1)
        uart_.receive(byte);
}

Machine::External Machine::external_request() {
    const Locked hold(lock_);
    const auto irq = pic_.request();
    if (!irq)
        return {};
    return {true, *irq, pic_.vector_of(*irq)};
}

void Machine::acknowledge_external(u32 irq) {
    const Locked hold(lock_);
    pic_.acknowledge(irq);
    settle(0);
}

void Machine::end_of_interrupt(u8 vector, u32 vcpu) {
    const Locked hold(lock_);
    ioapic_.end_of_interrupt(vector);
    deliver_pending(vcpu);
}

void Machine::send(const InterruptMessage& message, u32 from) {
    const bool first_only = message.mode == DeliveryMode::lowest_priority;
    // Lowest priority takes turns, as all task priorities are usually equal.
    const u32 start =
        first_only ? last_lowest_.fetch_add(1, std::memory_order_relaxed) % config_.vcpus : 0;
    for (u32 i = 0; i < config_.vcpus; ++i) {
        const u32 target = (start + i) % config_.vcpus;
        bool wanted = false;
        switch (message.shorthand) {
        case Shorthand::none:
            wanted = mailboxes_[target].address().matches(message.destination, message.logical);
            break;
        case Shorthand::self:
            wanted = target == from;
            break;
        case Shorthand::all:
            wanted = true;
            break;
        case Shorthand::all_but_self:
            wanted = target != from;
            break;
        }
        if (!wanted)
            continue;
        deliver(message, target, from);
        if (first_only)
            return;
    }
}

void Machine::deliver(const InterruptMessage& message, u32 target, u32 from) {
    ApicMailbox& box = mailboxes_[target];
    bool was_empty = false;
    switch (message.mode) {
    case DeliveryMode::fixed:
    case DeliveryMode::lowest_priority:
        was_empty = box.post(message.vector, message.level);
        break;
    case DeliveryMode::nmi:
        was_empty = box.post_nmi();
        break;
    case DeliveryMode::init:
        was_empty = box.post_init();
        break;
    case DeliveryMode::startup:
        was_empty = box.post_startup(message.vector);
        break;
    default: // SMI and remote read have nobody to serve them; ExtINT comes by the PIC's own wire
        return;
    }
    // Whoever found the box empty wakes its owner; the sender's own box is looked at anyway.
    if (was_empty && target != from)
        host::wake(target);
}

void Machine::stopped_for_ever(u32 vcpu, u64 rip) {
    const u32 dead = dead_vcpus_.fetch_or(bit32(vcpu), std::memory_order_relaxed) | bit32(vcpu);
    if (dead == bit32(config_.vcpus) - 1)
        host::stop({.kind = abi::ReportKind::guest_error,
                    .vcpu = vcpu,
                    .rip = rip,
                    .text = "the guest halted with interrupts off on every processor"});
}

} // namespace horos::vmm
