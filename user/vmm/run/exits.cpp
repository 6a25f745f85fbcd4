// The way out of the guest: one handler for each kind of exit, the frequent ones first.
#include "run/vcpu.hpp"

namespace horos::vmm {
namespace {

using abi::ExitReason;

// Hypercalls of a guest, number in RAX. Anything else is an undefined opcode.
constexpr u64 hypercall_identify = 0x484f'524f'5300; // "HOROS", 0: answers the version
constexpr u64 hypercall_version = 1;

} // namespace

void Vcpu::dispatch(ExitReason reason) {
    if (reason == ExitReason::io) {
        exit_io();
    } else if (reason == ExitReason::cpuid) {
        exit_cpuid();
    } else {
        dispatch_others(reason);
        return;
    }
    host::heartbeat();
}

void Vcpu::dispatch_others(ExitReason reason) {
    switch (reason) {
    case ExitReason::wrmsr:
        exit_wrmsr();
        break;
    case ExitReason::rdmsr:
        exit_rdmsr();
        break;
    case ExitReason::memory:
        exit_memory();
        break;
    case ExitReason::hlt:
        exit_halt();
        break;
    case ExitReason::deadline:
    case ExitReason::notified: {
        const Ticks now = host::now();
        apic_.poll_timer(now);
        if (index_ == 0)
            machine_.poll(now);
        attention_ = true;
        break;
    }
    case ExitReason::window:
        cpu_.requests &= ~abi::request::window;
        attention_ = true; // with it, `events` are handed over again
        break;
    case ExitReason::nmi_window:
        cpu_.requests &= ~abi::request::nmi_window;
        cpu_.dirty |= abi::group::events;
        if (nmi_pending_ && cpu_.inject == 0) {
            nmi_pending_ = false;
            cpu_.inject = abi::event::valid | abi::event::nmi << abi::event::type_shift | 2;
        }
        break;
    case ExitReason::eoi:
        exit_eoi();
        break;
    case ExitReason::apic_write:
        exit_apic_write();
        break;
    case ExitReason::apic_access:
        exit_apic_access();
        break;
    case ExitReason::vmcall:
        exit_hypercall();
        break;
    case ExitReason::cr_access:
        exit_control_register();
        break;
    case ExitReason::xsetbv:
        exit_xsetbv();
        break;
    case ExitReason::exception:
        exit_exception();
        break;
    case ExitReason::wbinvd:
    case ExitReason::invd: // all memory is coherent and nothing a guest does needs a write-back
    case ExitReason::pause:
        skip(opcode::any);
        break;
    case ExitReason::rdpmc: // no performance counters
        inject(vector::general_protection, 0);
        break;
    case ExitReason::monitor: // CPUID does not offer them
    case ExitReason::mwait:
    case ExitReason::svm_vmx_instruction:
    case ExitReason::rsm:
        inject(vector::invalid_opcode);
        break;
    case ExitReason::shutdown:
        give_up(abi::ReportKind::triple_fault, "triple fault");
    case ExitReason::entry_refused:
        give_up(abi::ReportKind::guest_error, "the processor refused the virtual CPU's state");
    case ExitReason::none:
        break;
    default:
        give_up(abi::ReportKind::guest_error, "an exit that this monitor does not serve");
    }
    // Only what the guest does itself counts as progress.
    if (reason != ExitReason::deadline && reason != ExitReason::notified)
        host::heartbeat();
}

// The same without a usual form, or where that is not found.
void Vcpu::skip_decoded() {
    if (cpu_.next_rip != 0) {
        continue_at(cpu_, cpu_.next_rip);
        return;
    }
    Outcome outcome;
    const Instruction* instruction = decoder_.find(cpu_, machine_.memory(), outcome);
    if (instruction == nullptr) {
        finish(outcome, 0);
        return;
    }
    advance(cpu_, instruction->length);
}

void Vcpu::exit_cpuid() {
    const u32 leaf = static_cast<u32>(gpr(Gpr::rax));
    if (const CpuidValue* value = machine_.cpuid().plain(leaf)) {
        set_cpuid(*value);
        skip(opcode::cpuid);
        return;
    }
    const CpuidCaller caller{
        .apic_id = apic_.id(), .osxsave = (cpu_.cr4 & x86::cr4::OSXSAVE) != 0, .xcr0 = cpu_.xcr0};
    set_cpuid(machine_.cpuid().answer(leaf, static_cast<u32>(gpr(Gpr::rcx)), caller));
    skip(opcode::cpuid);
}

void Vcpu::exit_io() {
    const u64 info = cpu_.info[0];
    const u16 port = static_cast<u16>(info >> abi::io_access::port_shift);
    const unsigned bytes = static_cast<unsigned>(info >> abi::io_access::bytes_shift) & 7;
    if (info & abi::io_access::string) {
        exit_string_io();
        return;
    }
    u64& rax = gpr(Gpr::rax);
    if (info & abi::io_access::in) {
        const u64 value = machine_.port_read(port, bytes, index_);
        const u64 mask = byte_mask(bytes);
        rax = bytes == 4 ? value : (rax & ~mask) | (value & mask);
    } else {
        machine_.port_write(port, bytes, static_cast<u32>(rax & byte_mask(bytes)), index_);
    }
    continue_at(cpu_, cpu_.next_rip);
}

void Vcpu::exit_string_io() {
    Outcome outcome;
    const Instruction* instruction = decoder_.find(cpu_, machine_.memory(), outcome);
    if (instruction == nullptr) {
        finish(outcome, 0);
        return;
    }
    Emulator emulator(cpu_, machine_.memory(), *this, *this);
    finish(emulator.string_io(*instruction), instruction->length);
}

void Vcpu::exit_memory() {
    const u64 physical = cpu_.info[0];
    const u64 access = cpu_.info[1];
    if (access & abi::memory_flag::page_walk)
        give_up(abi::ReportKind::guest_error, "a guest page table lies outside the guest's RAM");
    if (access & abi::memory_flag::fetch)
        give_up(abi::ReportKind::guest_error, "the guest executes outside its RAM");
    if (machine_.memory().is_ram(physical))
        give_up(abi::ReportKind::internal, "guest RAM is not mapped");
    emulate_device_access(physical);
}

void Vcpu::emulate_device_access(u64 physical) {
    if (cpu_.inject != 0)
        give_up(abi::ReportKind::guest_error, "an event's delivery touches device memory");
    Outcome outcome;
    const Instruction* instruction = decoder_.find(cpu_, machine_.memory(), outcome);
    cpu_.instruction_count = 0; // the bytes are those of this exit
    if (instruction == nullptr) {
        finish(outcome, 0);
        return;
    }
    Emulator emulator(cpu_, machine_.memory(), *this, *this);
    finish(emulator.memory_access(*instruction, physical), instruction->length);
}

u64 Vcpu::mmio_read(u64 address, unsigned bytes) {
    const u64 offset = address - (apic_.base() & ~u64{0xfff});
    if (offset >= Lapic::window_bytes || !apic_.enabled() || apic_.x2apic())
        return machine_.mmio_read(address, bytes);
    attention_ = true; // the timer's count and the priorities are of this moment
    settle_silent_eoi();
    take_task_priority();
    const u32 value = apic_.mmio_read(static_cast<u32>(offset & ~u64{3}), host::now());
    return (u64{value} >> ((offset & 3) * 8)) & byte_mask(bytes);
}

void Vcpu::mmio_write(u64 address, unsigned bytes, u64 value) {
    const u64 offset = address - (apic_.base() & ~u64{0xfff});
    if (offset >= Lapic::window_bytes || !apic_.enabled() || apic_.x2apic()) {
        machine_.mmio_write(address, bytes, value, index_);
        return;
    }
    if (bytes != 4 || (offset & 3) != 0)
        return; // only aligned 32-bit writes reach a register (APM vol. 2 §16.3.2)
    settle_silent_eoi();
    apply(apic_.mmio_write(static_cast<u32>(offset), static_cast<u32>(value), host::now()));
}

void Vcpu::exit_halt() {
    skip(opcode::hlt);
    power_ = Power::halted;
    attention_ = true;
}

void Vcpu::exit_hypercall() {
    if (gpr(Gpr::rax) != hypercall_identify) {
        inject(vector::invalid_opcode);
        return;
    }
    gpr(Gpr::rax) = hypercall_version;
    skip(opcode::vmmcall);
}

void Vcpu::exit_xsetbv() {
    constexpr u64 x87 = 1, sse = 2, avx = 4, avx512 = 0xe0;
    const u64 value = pair_value();
    const bool valid = cpu_.cpl == 0 && static_cast<u32>(gpr(Gpr::rcx)) == 0 && (value & x87) &&
                       !(value & ~machine_.cpuid().guest_xcr0()) &&
                       (!(value & avx) || (value & sse)) &&
                       ((value & avx512) == 0 || (value & (avx512 | avx)) == (avx512 | avx));
    if (!valid) {
        inject(vector::general_protection, 0);
        return;
    }
    cpu_.xcr0 = value;
    cpu_.dirty |= abi::group::policy;
    skip(opcode::xsetbv);
}

// Exceptions that a hypervisor has to see, so that no guest can hang the processor in their
// delivery; the guest gets them back.
void Vcpu::exit_exception() {
    const u8 number = static_cast<u8>(cpu_.info[0]);
    constexpr u32 with_error_code = bit32(8) | bit32(10) | bit32(11) | bit32(12) | bit32(13) |
                                    bit32(14) | bit32(17) | bit32(21);
    inject(Exception{.vector = number,
                     .has_error_code = number < 32 && (with_error_code & bit32(number)) != 0,
                     .error_code = static_cast<u32>(cpu_.info[1]),
                     .cr2 = cpu_.info[2]});
}

void Vcpu::finish(const Outcome& outcome, u64 length) {
    switch (outcome.kind) {
    case Outcome::Kind::done:
        advance(cpu_, length);
        if (code_64(cpu_))
            cpu_.wanted &= ~abi::group::segments;
        return;
    case Outcome::Kind::again:
        return;
    case Outcome::Kind::need_segments:
        cpu_.wanted |= abi::group::segments;
        return;
    case Outcome::Kind::exception:
        inject(outcome.exception);
        return;
    case Outcome::Kind::unsupported:
        give_up(abi::ReportKind::guest_error, outcome.reason);
    }
}

namespace {

// Exceptions that turn a second one into a double fault (APM vol. 2 §8.2.9).
constexpr bool contributory(u64 number) { return number == 0 || (number >= 10 && number <= 13); }

} // namespace

void Vcpu::inject(const Exception& exception) {
    using namespace abi::event;
    const u64 first = cpu_.inject;
    Exception chosen = exception;
    if ((first & valid) && ((first >> type_shift) & 7) == abi::event::exception) {
        const u64 number = first & vector_mask;
        if (number == vector::double_fault)
            give_up(abi::ReportKind::triple_fault, "triple fault");
        const bool doubles =
            (contributory(number) && contributory(exception.vector)) ||
            (number == vector::page_fault &&
             (contributory(exception.vector) || exception.vector == vector::page_fault));
        if (doubles)
            chosen = {.vector = vector::double_fault, .has_error_code = true};
    }
    if (chosen.vector == vector::page_fault) {
        cpu_.cr2 = chosen.cr2;
        cpu_.dirty |= abi::group::fault_address;
    }
    cpu_.dirty |= abi::group::events;
    cpu_.inject = valid | abi::event::exception << type_shift | chosen.vector;
    if (chosen.has_error_code)
        cpu_.inject |= has_error_code | u64{chosen.error_code} << error_code_shift;
}

void Vcpu::give_up(abi::ReportKind kind, const char* why) {
    InstructionBytes fetched;
    const bool got = fetch(cpu_, machine_.memory(), fetched).ok();
    host::stop({.kind = kind,
                .vcpu = index_,
                .rip = cpu_.rip,
                .text = why,
                .info = {cpu_.exit_reason, cpu_.info[0], cpu_.info[1], cpu_.info[2]},
                .bytes = got ? fetched.bytes : nullptr,
                .byte_count = got ? fetched.count : 0});
}

} // namespace horos::vmm
