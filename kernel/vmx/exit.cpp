// What an exit means: from VMCS and exit reason to the vendor-neutral state page.
#include "kernel/vmx/vmx.hpp"

#pragma clang section text = ".vmxtext"

namespace horos::core {

namespace {

using F = vmx::Field;

// What each exit is to the VMM, by its basic reason (appendix C): V, an instruction of VMX; U, none
// that it knows.
using E = ExitReason;
constexpr E U = E::unknown, V = E::svm_vmx_instruction;
constexpr E meanings[] = {
    // 0
    E::exception, U, E::shutdown, U, U, U, U, E::window, E::nmi_window, E::task_switch, E::cpuid, V,
    // HLT
    E::hlt, E::invd, E::invlpg, E::rdpmc, E::rdtsc, E::rsm, E::vmcall, V, V, V, V, V, V, V, V, V,
    // CR_ACCESS
    E::cr_access, E::dr_access, E::io, E::rdmsr, E::wrmsr, E::entry_refused, E::entry_refused, U,
    // MWAIT
    E::mwait, U, U, E::monitor, E::pause, U, U, U, E::apic_access, E::eoi, E::descriptor_access,
    // LDTR_TR_ACCESS
    E::descriptor_access, E::memory, U, V, E::rdtscp, U, V, E::wbinvd, E::xsetbv, E::apic_write,
    // RDRAND
    U, U, V};
static_assert(sizeof meanings / sizeof *meanings == static_cast<u32>(vmx::ExitReason::VMFUNC) + 1);
// They come in the middle of an instruction or between two, and have no length (§27.2.5).
constexpr u64 bits(auto... reasons) { return ((u64{1} << static_cast<u32>(reasons)) | ...); }
constexpr u64 between = bits(E::unknown, E::exception, E::shutdown, E::window, E::nmi_window,
                             E::entry_refused, E::memory, E::eoi, E::apic_write, E::apic_access);
constexpr u64 plain = bits(E::eoi, E::apic_write, E::apic_access); // their qualification says all

// The qualification of I/O (table 27-5) in the state page's form. The address size of a string
// instruction and its segment are in the instruction information (§27.2.5, table 27-8).
void store_io(VcpuState& s, u64 q) {
    const bool string = (q & vmx::io_access::STRING) != 0;
    const u64 info = string ? read_field(F::EXIT_INSTRUCTION_INFO) : 0;
    s.info[0] = ((q & vmx::io_access::IN) != 0 ? io_access::in : 0) |
                (string ? io_access::string : 0) |
                ((q & vmx::io_access::REP) != 0 ? io_access::rep : 0) |
                ((q & vmx::io_access::SIZE) + 1) << io_access::bytes_shift |
                (string ? u64{1} << (info >> 7 & 3) : 4) << io_access::address_shift |
                (info >> 15 & 7) << io_access::segment_shift |
                (q >> vmx::io_access::PORT_SHIFT & 0xffff) << io_access::port_shift;
}

// The qualification of an EPT violation (table 27-7).
void store_memory(VcpuState& s, u64 q) {
    using namespace vmx::ept_violation;
    const bool walk = (q & LINEAR_VALID) != 0 && (q & TRANSLATED) == 0;
    s.info[0] = read_field(F::GUEST_PHYSICAL_ADDRESS);
    s.info[1] = ((q & WRITE) != 0 ? memory_flag::write : 0) |
                ((q & FETCH) != 0 ? memory_flag::fetch : 0) |
                ((q & (READABLE | WRITABLE | EXECUTABLE)) != 0 ? memory_flag::present : 0) |
                (walk ? memory_flag::page_walk : 0);
    s.instruction_count = 0;
}

void store_exception(VcpuState& s, Vcpu& vcpu, u64 q) {
    const u32 info = read_field32(F::EXIT_INTERRUPTION_INFO);
    const bool has_code = (info & vmx::interruption::ERROR_CODE_VALID) != 0;
    s.info[0] = info & vmx::interruption::VECTOR;
    s.info[1] = has_code ? read_field(F::EXIT_INTERRUPTION_ERROR_CODE) : 0;
    s.info[2] = q; // of a page fault: the address
    // A debug exception's causes are there too, not yet in DR6 (§27.2.1), where the guest's handler
    // is to find them.
    using namespace vmx::debug_exit;
    if (s.info[0] == static_cast<u64>(x86::Vector::DB))
        vcpu.vmx.dr6 = (vcpu.vmx.dr6 & ~B0_B3) | (q & (B0_B3 | BD | BS));
}

// Only exits clear the event (§24.8.3): after a refusal it would go in with the next entry.
void store_refusal(VcpuState& s, const Vcpu& vcpu, u64 q) {
    write_field(F::ENTRY_INTERRUPTION_INFO, 0);
    s.info[1] = q;
    s.info[2] = static_cast<u64>(diagnose_entry(vcpu));
}

// info[] by reason.
void store_info(VcpuState& s, Vcpu& vcpu, ExitReason to, u32 reason, u64 q) {
    constexpr u64 write = 16;
    s.info[0] = (plain & bits(to)) != 0 ? q : reason;
    if (to == ExitReason::io)
        store_io(s, q);
    else if (to == ExitReason::memory)
        store_memory(s, q);
    else if (to == ExitReason::exception)
        store_exception(s, vcpu, q);
    else if (to == ExitReason::entry_refused)
        store_refusal(s, vcpu, q);
    else if (to == ExitReason::cr_access || to == ExitReason::dr_access) // tables 27-3, 27-4
        s.info[0] = (q & vmx::cr_access::NUMBER) |
                    ((q & vmx::cr_access::TYPE) == vmx::dr_access::FROM ? 0 : write);
}

void store_common(VcpuState& s, Vcpu& vcpu) {
    s.gpr[4] = read_field(F::GUEST_RSP);
    s.rip = read_field(F::GUEST_RIP);
    s.rflags = read_field(F::GUEST_RFLAGS);
    s.interrupt_shadow = (read_field(F::GUEST_INTERRUPTIBILITY) & SHADOWS) != 0;
    s.tpr = read_once(task_priority(vcpu)) >> 4 & 15;
    s.virtual_apics = vmx_limits.virtual_apics;
    if (vcpu.delivering != 0)
        s.pending_interrupt = 0;
    vcpu.delivering = 0;
    constexpr u32 offered = group::fault_address | group::segments | group::debug | group::system;
    read_groups(s, vcpu, read_once(s.wanted) & offered);
}

// How the guest's instructions are to be understood.
void store_mode(VcpuState& s) {
    read_control(s);
    read_code_and_stack(s);
    s.cpl = u32{s.ss.attributes} >> x86::seg::DPL_SHIFT & 3; // §24.4.1
}

// Where every way to the VMM ends. An event that did not get through goes back to it.
ExitReason tell(VcpuState& s, Vcpu& vcpu, ExitReason reason, u64 next_rip = 0) {
    s.next_rip = next_rip;
    s.interrupted_event = vcpu.vmx.event;
    vcpu.vmx.event = 0;
    s.exit_reason = static_cast<u32>(reason);
    return reason;
}

} // namespace

ExitReason store_vmx_exit(Vcpu& vcpu, u32 reason, vmx::Field detail) {
    VcpuState& s = state_pages[vcpu.state].state;
    E to = reason < sizeof meanings / sizeof *meanings ? meanings[reason] : U;
    if (detail == F::INSTRUCTION_ERROR) // the processor did not even try
        to = E::entry_refused;
    store_common(s, vcpu);
    store_info(s, vcpu, to, reason, read_field(detail));
    if (to != ExitReason::io || (s.info[0] & io_access::string) != 0)
        store_mode(s);
    const u64 length = (between & bits(to)) != 0 ? 0 : read_field32(F::EXIT_INSTRUCTION_LENGTH);
    return tell(s, vcpu, to, length != 0 ? s.rip + length : 0);
}

// The kernel stops the guest between two entries.
void vmx_store_exit(Frame f, ExitReason reason, u64 info) {
    Vcpu& vcpu = vcpus[f];
    VcpuState& s = state_pages[vcpu.state].state;
    select_vmcs(shell_core(), vcpu.control);
    store_common(s, vcpu);
    store_mode(s);
    s.info[0] = info;
    tell(s, vcpu, reason);
}

} // namespace horos::core
