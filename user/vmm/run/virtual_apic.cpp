// Where the processor offers it, it serves the guest's x2APIC by itself: no exit for reading a
// register, for TPR, EOI and SELF IPI, nor for the moment at which an interrupt can go in.
#include "run/vcpu.hpp"

namespace horos::vmm {

// In x2APIC mode only: an APIC in memory is left to the emulator.
void Vcpu::choose_virtual_apic() {
    const u32 way =
        apic_.x2apic() ? cpu_.virtual_apics & abi::virtual_apic::x2apic : abi::virtual_apic::none;
    if (way == cpu_.virtual_apic)
        return;
    disarm_silent_eoi();
    cpu_.virtual_apic = way;
    cpu_.dirty |= abi::group::policy;
    apic_stale_ = true;
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

} // namespace horos::vmm
