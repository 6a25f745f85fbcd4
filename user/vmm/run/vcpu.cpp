// The way into the guest: interrupts, timers, sleep.
#include "run/vcpu.hpp"

#include "boot/entry_state.hpp"

namespace horos::vmm {

Vcpu::Vcpu(u32 index, abi::VcpuPage& page, Machine& machine)
    : index_(index), cpu_(page.state), registers_(page.apic), machine_(machine),
      apic_(index, index == 0), power_(index == 0 ? Power::running : Power::waiting_for_startup) {
    if (index == 0)
        apic_.firmware_setup();
    machine.mailbox(index).publish(apic_.address());
    u32 storage = 0;
    for (const MsrRule& rule : msr_rules())
        if (rule.kind == MsrKind::stored)
            stored_msrs_[storage++] = rule.value;
    cpu_.deadline = never;
    cpu_.dirty |= abi::group::events;
}

void Vcpu::loop() {
    for (;;)
        round();
}

void Vcpu::step() { round(); }

[[gnu::always_inline]] inline void Vcpu::round() {
    if (attention_ || !machine_.mailbox(index_).empty())
        prepare();
    if (power_ != Power::running) {
        sleep();
        return;
    }
    const host::RunResult result = host::run(index_);
    if (offered_ != Offer::none && cpu_.pending_interrupt == 0)
        interrupt_taken();
    if (!result.ok)
        give_up(abi::ReportKind::guest_error, "the kernel refused the virtual CPU's state");
    if (cpu_.interrupted_event != 0)
        replay_event();
    dispatch(result.reason);
}

void Vcpu::prepare() {
    attention_ = false;
    cpu_.dirty |= abi::group::events;
    if (!machine_.mailbox(index_).empty())
        collect_mail();
    settle_silent_eoi();
    take_task_priority();
    choose_virtual_apic();
    if (has_virtual_apic())
        give_apic();
    else
        offer_interrupt();
    if (nmi_pending_ && cpu_.inject == 0) {
        cpu_.requests |= abi::request::nmi_window;
        if (power_ == Power::halted)
            power_ = Power::running;
    }
    set_deadline();
}

void Vcpu::set_deadline() {
    Ticks next = apic_.timer_deadline();
    if (index_ == 0 && machine_.next_deadline() < next)
        next = machine_.next_deadline();
    cpu_.deadline = next;
}

void Vcpu::collect_mail() {
    ApicMailbox& box = machine_.mailbox(index_);
    const u32 events = box.collect(apic_);
    if (events & ApicMailbox::event_nmi)
        nmi_pending_ = true;
    if (events & ApicMailbox::event_init) {
        disarm_silent_eoi();
        apic_.reset();
        apic_register(ApicRegister::task_priority) = cpu_.tpr = 0;
        apic_stale_ = true;
        box.publish(apic_.address());
        cpu_.pending_interrupt = 0;
        offered_ = Offer::none;
        nmi_pending_ = false;
        power_ = Power::waiting_for_startup;
    }
    if ((events & ApicMailbox::event_startup) && power_ == Power::waiting_for_startup)
        start_up(box.startup_page());
}

void Vcpu::start_up(u8 page) {
    set_startup_entry(cpu_, page, machine_.cpuid().guest_xcr0());
    power_ = Power::running;
    machine_.revived(index_);
}

// Tells the kernel which interrupt to deliver as soon as the guest can take it.
void Vcpu::offer_interrupt() {
    const int vector = apic_.enabled() ? apic_.pending() : VectorSet::none;
    if (vector >= 0) {
        const u8 number = static_cast<u8>(vector);
        offered_ = Offer::apic;
        offered_vector_ = number;
        cpu_.pending_interrupt = abi::pending::valid | number;
        arm_silent_eoi(number);
    } else if (index_ == 0 && machine_.external_pending() && apic_.accepts_external()) {
        const Machine::External external = machine_.external_request();
        offered_ = external.valid ? Offer::external : Offer::none;
        offered_irq_ = external.irq;
        cpu_.pending_interrupt = external.valid ? abi::pending::valid | external.vector : 0;
    } else {
        offered_ = Offer::none;
        cpu_.pending_interrupt = 0;
    }
    const bool enabled = (cpu_.rflags & x86::rflags::IF) != 0;
    if (offered_ != Offer::none && enabled && power_ == Power::halted)
        power_ = Power::running;
}

void Vcpu::interrupt_taken() {
    if (offered_ == Offer::processor) {
        apic_.take_vectors(registers_);
        return;
    }
    if (offered_ == Offer::apic) {
        apic_.deliver(offered_vector_);
        eoi_in_service_ = eoi_armed_;
    } else {
        machine_.acknowledge_external(offered_irq_);
    }
    offered_ = Offer::none;
    attention_ = true;
}

// An exit cut the delivery of an event off: it is delivered again. Software interrupts and the
// traps INT3 and INTO come again by themselves, because RIP still names the instruction.
void Vcpu::replay_event() {
    const u64 event = cpu_.interrupted_event;
    const u64 type = (event >> abi::event::type_shift) & 7;
    const u64 number = event & abi::event::vector_mask;
    const bool repeats = type == abi::event::software ||
                         (type == abi::event::exception && (number == 3 || number == 4));
    if (!repeats) {
        cpu_.inject = event;
        cpu_.dirty |= abi::group::events;
    }
    cpu_.interrupted_event = 0;
}

// Halted or not started: the thread waits instead of the processor.
void Vcpu::sleep() {
    if (power_ == Power::halted && !(cpu_.rflags & x86::rflags::IF) && !nmi_pending_)
        machine_.stopped_for_ever(index_, cpu_.rip);
    set_deadline();
    host::wait(cpu_.deadline);
    const Ticks now = host::now();
    apic_.poll_timer(now);
    if (index_ == 0)
        machine_.poll(now);
    attention_ = true;
}

} // namespace horos::vmm
