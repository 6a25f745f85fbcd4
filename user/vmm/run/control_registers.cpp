// Writes of CR0 and CR4 that the kernel does not leave to the processor: around the switch to long
// mode, where QEMU's SVM loses the host's paging otherwise. The rules are APM vol. 2 §3.1.1, §3.1.3
// and §14.6.
#include "run/vcpu.hpp"

namespace horos::vmm {
namespace {

constexpr u64 write_access = 16; // info[0] of the exit: the register, 16 more for a write

// What CPUID offers the guest; LA57, PKE, CET and the rest stay off.
constexpr u64 cr4_allowed = x86::cr4::VME | x86::cr4::PVI | x86::cr4::TSD | x86::cr4::DE |
                            x86::cr4::PSE | x86::cr4::PAE | x86::cr4::MCE | x86::cr4::PGE |
                            x86::cr4::PCE | x86::cr4::OSFXSR | x86::cr4::OSXMMEXCPT |
                            x86::cr4::UMIP | x86::cr4::FSGSBASE | x86::cr4::PCIDE |
                            x86::cr4::OSXSAVE | x86::cr4::SMEP | x86::cr4::SMAP;

} // namespace

void Vcpu::exit_control_register() {
    Outcome outcome;
    const Instruction* instruction = decoder_.find(cpu_, machine_.memory(), outcome);
    if (instruction == nullptr) {
        finish(outcome, 0);
        return;
    }
    const bool status_word = instruction->operation == Operation::load_status_word;
    if (cpu_.info[0] < write_access ||
        (!status_word && instruction->operation != Operation::move_to_control))
        give_up(abi::ReportKind::guest_error, "a control-register access that is not emulated");
    u64 value = 0;
    Emulator emulator(cpu_, machine_.memory(), *this, *this);
    outcome = emulator.control_value(*instruction, value);
    if (!outcome.ok()) {
        finish(outcome, 0);
        return;
    }
    const u64 number = cpu_.info[0] - write_access;
    const bool done = cpu_.cpl == 0 && (number == 0   ? write_cr0(value)
                                        : number == 4 ? write_cr4(value)
                                                      : false);
    if (!done) {
        inject(vector::general_protection, 0);
        return;
    }
    cpu_.dirty |= abi::group::control;
    finish(Outcome::done(), instruction->length);
}

bool Vcpu::write_cr0(u64 value) {
    using namespace x86::cr0;
    if (value & MBZ_HIGH)
        return false;
    const u64 next = (value & DEFINED) | ET; // undefined low bits are ignored
    if (((next & NW) && !(next & CD)) || ((next & PG) && !(next & PE)))
        return false;
    const bool had_paging = (cpu_.cr0 & PG) != 0;
    const bool code_is_64 = (cpu_.cs.attributes & segment_attribute::long_code) != 0;
    if ((next & PG) && !had_paging && (cpu_.efer & x86::efer::LME)) {
        if (!(cpu_.cr4 & x86::cr4::PAE) || code_is_64)
            return false;
        cpu_.efer |= x86::efer::LMA;
    }
    if (!(next & PG) && had_paging) {
        if ((long_mode(cpu_) && code_is_64) || (cpu_.cr4 & x86::cr4::PCIDE))
            return false;
        cpu_.efer &= ~x86::efer::LMA;
    }
    cpu_.cr0 = next;
    return true;
}

bool Vcpu::write_cr4(u64 value) {
    using namespace x86::cr4;
    if (value & ~cr4_allowed)
        return false;
    if (long_mode(cpu_) && !(value & PAE))
        return false;
    const bool enables_pcid = (value & PCIDE) && !(cpu_.cr4 & PCIDE);
    if (enables_pcid && (!long_mode(cpu_) || (cpu_.cr3 & x86::cr3::PCID_MASK)))
        return false;
    cpu_.cr4 = value;
    return true;
}

} // namespace horos::vmm
