// Where the processor offers it, it serves the guest's APIC by itself: no exit for reading a
// register, for TPR, EOI and an IPI to itself, nor for the moment at which an interrupt can go in.
// Older processors serve TPR alone.
#include "run/vcpu.hpp"

namespace horos::vmm {

namespace way = abi::virtual_apic;

// An APIC in memory that is not where it was after the reset is left to the emulator.
u32 Vcpu::wanted_virtual_apic() const {
    const u32 offered = cpu_.virtual_apics;
    if (apic_.x2apic())
        return offered & way::x2apic;
    if (!apic_.enabled() || !apic_.at_default() || machine_.config().apic_frame == 0)
        return way::none;
    return (offered & way::memory) != 0 ? way::memory : offered & way::task_priority;
}

void Vcpu::choose_virtual_apic() {
    const u32 wanted = wanted_virtual_apic();
    if (wanted == cpu_.virtual_apic)
        return;
    disarm_silent_eoi();
    const bool before = (cpu_.virtual_apic & way::in_page) != 0;
    const bool after = (wanted & way::in_page) != 0;
    if (before != after)
        machine_.share_apic_page(after);
    cpu_.virtual_apic = wanted;
    cpu_.apic_page = machine_.config().apic_frame;
    cpu_.dirty |= abi::group::policy;
    apic_register(ApicRegister::task_priority) = apic_.task_priority();
    apic_stale_ = true;
}

// The guest's task priority: in the page where the processor serves it there, else the kernel tells
// CR8, which the APIC's register follows.
void Vcpu::take_task_priority() {
    if (cpu_.virtual_apic == way::task_priority)
        apic_.set_task_priority(static_cast<u8>(apic_register(ApicRegister::task_priority)));
    else
        apic_.set_task_priority_class(static_cast<u8>(cpu_.tpr));
}

// The end of a level-triggered interrupt concerns the I/O APIC.
void Vcpu::give_apic() {
    for (u32 i = 0; i < 4; ++i) {
        const u64 level = apic_.level_triggered(i);
        if ((level & ~cpu_.eoi_exits[i]) != 0) {
            cpu_.eoi_exits[i] |= level;
            cpu_.dirty |= abi::group::policy;
        }
    }
    if (apic_stale_)
        apic_.write_registers(registers_, host::now());
    apic_stale_ = false;
    apic_.write_vectors(registers_);
    cpu_.interrupt_status = apic_.interrupt_status();
    cpu_.pending_interrupt = 0;
    offered_ = Offer::processor;
    inject_external();
    const bool waiting = cpu_.inject != 0 || apic_.pending() >= 0;
    if (power_ == Power::halted && waiting && (cpu_.rflags & x86::rflags::IF))
        power_ = Power::running;
}

// The PIC's interrupts do not come through the APIC's registers.
void Vcpu::inject_external() {
    if (index_ != 0 || cpu_.inject != 0 || !machine_.external_pending() ||
        !apic_.accepts_external())
        return;
    if (!(cpu_.rflags & x86::rflags::IF) || cpu_.interrupt_shadow != 0) {
        cpu_.requests |= abi::request::window;
        return;
    }
    const Machine::External external = machine_.external_request();
    if (!external.valid)
        return;
    machine_.acknowledge_external(external.irq);
    cpu_.inject =
        abi::event::valid | abi::event::external << abi::event::type_shift | external.vector;
}

void Vcpu::exit_eoi() {
    attention_ = true;
    const u8 number = static_cast<u8>(cpu_.info[0]);
    if (apic_.level_triggered(number / 64) >> (number % 64) & 1)
        machine_.end_of_interrupt(number, index_);
}

// The guest has written a register that has an effect; the instruction is over. The upper half of
// the interrupt command comes without an exit (SDM vol. 3C §29.4.3.2).
void Vcpu::exit_apic_write() {
    const u32 offset = static_cast<u32>(cpu_.info[0]) & 0xff0;
    const auto reg = static_cast<ApicRegister>(offset >> 4);
    const Ticks now = host::now();
    if (reg == ApicRegister::command)
        apic_.mmio_write(static_cast<u32>(ApicRegister::command_high) << 4,
                         apic_register(ApicRegister::command_high), now);
    apply(apic_.mmio_write(offset, apic_register(reg), now));
}

// An access that the processor leaves to its monitor; the instruction has done nothing yet.
void Vcpu::exit_apic_access() {
    using namespace abi::apic_access_type;
    const u64 type = cpu_.info[0] >> shift & 15;
    if (type != read && type != write)
        give_up(abi::ReportKind::guest_error,
                "the local APIC's page is executed or used in an event's delivery");
    emulate_device_access(Lapic::default_base + (cpu_.info[0] & 0xfff));
}

} // namespace horos::vmm
