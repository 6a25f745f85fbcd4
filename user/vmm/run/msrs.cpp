// RDMSR and WRMSR. The timer, EOI and IPI registers of x2APIC mode are looked at first.
#include "run/vcpu.hpp"

namespace horos::vmm {
namespace {

constexpr u64 clock_enabled = 1;

} // namespace

u64 Vcpu::pair_value() const {
    return (cpu_.gpr[static_cast<u32>(Gpr::rdx)] << 32) |
           (cpu_.gpr[static_cast<u32>(Gpr::rax)] & 0xffff'ffffull);
}

void Vcpu::set_pair(u64 value) {
    gpr(Gpr::rax) = value & 0xffff'ffffull;
    gpr(Gpr::rdx) = value >> 32;
}

void Vcpu::exit_rdmsr() {
    u64 value = 0;
    if (!read_msr(static_cast<u32>(gpr(Gpr::rcx)), value)) {
        inject(vector::general_protection, 0);
        return;
    }
    set_pair(value);
    skip(opcode::rdmsr);
}

void Vcpu::exit_wrmsr() {
    const u32 number = static_cast<u32>(gpr(Gpr::rcx));
    const u64 value = pair_value();
    bool done = true;
    if (number == msr::tsc_deadline) {
        apic_.set_tsc_deadline(value);
        attention_ = true;
    } else if (number - msr::x2apic_first <= msr::x2apic_last - msr::x2apic_first) {
        settle_silent_eoi();
        const ApicEffect effect = apic_.msr_write(number, value, host::now());
        done = !effect.fault;
        apply(effect);
    } else {
        done = write_msr(number, value);
    }
    if (!done) {
        inject(vector::general_protection, 0);
        return;
    }
    skip(opcode::wrmsr);
}

void Vcpu::apply(const ApicEffect& effect) {
    attention_ = apic_stale_ = true;
    cpu_.tpr = u32{apic_.task_priority()} >> 4;
    apic_register(ApicRegister::task_priority) = apic_.task_priority();
    if (effect.message)
        machine_.send(*effect.message, index_);
    if (effect.broadcast_eoi >= 0)
        machine_.end_of_interrupt(static_cast<u8>(effect.broadcast_eoi), index_);
    machine_.mailbox(index_).publish(apic_.address());
}

bool Vcpu::read_msr(u32 number, u64& value) {
    const MsrRule rule = machine_.msrs().find(number);
    switch (rule.kind) {
    case MsrKind::fault:
        return false;
    case MsrKind::fixed:
    case MsrKind::read_only:
        value = rule.value;
        return true;
    case MsrKind::stored:
        value = stored_msrs_[static_cast<u32>(MsrPolicy::storage_index(number))];
        return true;
    case MsrKind::tsc:
        value = host::now() + cpu_.tsc_offset;
        return true;
    case MsrKind::tsc_adjust:
        value = tsc_adjust_;
        return true;
    case MsrKind::tsc_deadline:
        value = apic_.tsc_deadline();
        return true;
    case MsrKind::apic_base:
        value = apic_.base();
        return true;
    case MsrKind::x2apic: {
        settle_silent_eoi();
        take_task_priority();
        const auto content = apic_.msr_read(number, host::now());
        value = content.value_or(0);
        return content.has_value();
    }
    case MsrKind::efer:
        value = cpu_.efer;
        return true;
    case MsrKind::kvm_wall_clock:
        value = wall_clock_msr_;
        return true;
    case MsrKind::kvm_system_time:
        value = system_time_msr_;
        return true;
    case MsrKind::kvm_eoi:
        value = eoi_msr_;
        return true;
    }
    return false;
}

bool Vcpu::write_msr(u32 number, u64 value) {
    const MsrRule rule = machine_.msrs().find(number);
    switch (rule.kind) {
    case MsrKind::fault:
    case MsrKind::read_only:
        return false;
    case MsrKind::fixed:
        return true;
    case MsrKind::stored:
        if (value & ~rule.allowed)
            return false;
        stored_msrs_[static_cast<u32>(MsrPolicy::storage_index(number))] = value;
        return true;
    case MsrKind::tsc: {
        const u64 before = cpu_.tsc_offset;
        set_tsc_offset(value - host::now());
        tsc_adjust_ += cpu_.tsc_offset - before; // SDM vol. 3B §18.17.3
        return true;
    }
    case MsrKind::tsc_adjust:
        set_tsc_offset(cpu_.tsc_offset + value - tsc_adjust_);
        tsc_adjust_ = value;
        return true;
    case MsrKind::apic_base:
        if (!apic_.set_base(value))
            return false;
        machine_.mailbox(index_).publish(apic_.address());
        attention_ = true;
        return true;
    case MsrKind::efer:
        return write_efer(value);
    case MsrKind::kvm_wall_clock:
        wall_clock_msr_ = value;
        return machine_.clock().write_wall_clock(machine_.memory(), value);
    case MsrKind::kvm_system_time:
        return set_system_time(value);
    case MsrKind::kvm_eoi:
        return set_silent_eoi(value);
    case MsrKind::tsc_deadline: // both handled before the table is searched
    case MsrKind::x2apic:
        break;
    }
    return false;
}

// EFER's rules (APM vol. 2 §3.1.7); SVME does not exist for the guest.
bool Vcpu::write_efer(u64 value) {
    using namespace x86::efer;
    const u64 allowed = SCE | LME | LMA | FFXSR | (machine_.cpuid().has_nx() ? NXE : 0);
    if (value & ~allowed)
        return false;
    if (((value ^ cpu_.efer) & LME) && (cpu_.cr0 & x86::cr0::PG))
        return false;
    cpu_.efer = (value & ~LMA) | (cpu_.efer & LMA); // LMA is the processor's to set
    cpu_.dirty |= abi::group::control;
    return true;
}

void Vcpu::set_tsc_offset(u64 offset) {
    cpu_.tsc_offset = offset;
    cpu_.dirty |= abi::group::policy;
    apic_.set_tsc_offset(offset);
    if (system_time_msr_ & clock_enabled)
        machine_.clock().write_system_time(machine_.memory(), system_time_msr_ & ~clock_enabled,
                                           offset);
}

bool Vcpu::set_system_time(u64 value) {
    system_time_msr_ = value;
    if (!(value & clock_enabled))
        return true;
    return machine_.clock().write_system_time(machine_.memory(), value & ~clock_enabled,
                                              cpu_.tsc_offset);
}

} // namespace horos::vmm
