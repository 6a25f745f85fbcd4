// What an exit means: from VMCS and exit reason to the vendor-neutral state page.
#include "kernel/core/shell.hpp"
#include "kernel/vmx/vmx.hpp"

#pragma clang section text = ".vmxtext"

namespace horos::core {

namespace {

using F = VmcsField;
using Reason = vmx::ExitReason;

constexpr u32 reason_count = 71;

struct ReasonTable {
    u8 reason[reason_count];
};

constexpr void set(ReasonTable& t, Reason from, ExitReason to) {
    t.reason[static_cast<u32>(from)] = static_cast<u8>(to);
}

constexpr ReasonTable make_reasons() {
    ReasonTable t{};
    for (u8& reason : t.reason)
        reason = static_cast<u8>(ExitReason::unknown);
    for (u32 r = static_cast<u32>(Reason::VMCLEAR); r <= static_cast<u32>(Reason::VMXON); ++r)
        t.reason[r] = static_cast<u8>(ExitReason::svm_vmx_instruction);
    set(t, Reason::GETSEC, ExitReason::svm_vmx_instruction);
    set(t, Reason::INVEPT, ExitReason::svm_vmx_instruction);
    set(t, Reason::INVVPID, ExitReason::svm_vmx_instruction);
    set(t, Reason::VMFUNC, ExitReason::svm_vmx_instruction);
    set(t, Reason::EXCEPTION_OR_NMI, ExitReason::exception);
    set(t, Reason::TRIPLE_FAULT, ExitReason::shutdown);
    set(t, Reason::INTERRUPT_WINDOW, ExitReason::window);
    set(t, Reason::NMI_WINDOW, ExitReason::nmi_window);
    set(t, Reason::TASK_SWITCH, ExitReason::task_switch);
    set(t, Reason::CPUID, ExitReason::cpuid);
    set(t, Reason::HLT, ExitReason::hlt);
    set(t, Reason::INVD, ExitReason::invd);
    set(t, Reason::INVLPG, ExitReason::invlpg);
    set(t, Reason::RDPMC, ExitReason::rdpmc);
    set(t, Reason::RDTSC, ExitReason::rdtsc);
    set(t, Reason::RSM, ExitReason::rsm);
    set(t, Reason::VMCALL, ExitReason::vmcall);
    set(t, Reason::CR_ACCESS, ExitReason::cr_access);
    set(t, Reason::MOV_DR, ExitReason::dr_access);
    set(t, Reason::IO, ExitReason::io);
    set(t, Reason::RDMSR, ExitReason::rdmsr);
    set(t, Reason::WRMSR, ExitReason::wrmsr);
    set(t, Reason::ENTRY_GUEST_STATE, ExitReason::entry_refused);
    set(t, Reason::ENTRY_MSR_LOAD, ExitReason::entry_refused);
    set(t, Reason::MWAIT, ExitReason::mwait);
    set(t, Reason::MONITOR, ExitReason::monitor);
    set(t, Reason::PAUSE, ExitReason::pause);
    set(t, Reason::GDTR_IDTR_ACCESS, ExitReason::descriptor_access);
    set(t, Reason::LDTR_TR_ACCESS, ExitReason::descriptor_access);
    set(t, Reason::EPT_VIOLATION, ExitReason::memory);
    set(t, Reason::RDTSCP, ExitReason::rdtscp);
    set(t, Reason::WBINVD, ExitReason::wbinvd);
    set(t, Reason::XSETBV, ExitReason::xsetbv);
    return t;
}
constexpr ReasonTable reasons = make_reasons();

// The qualification of I/O (table 27-5) in the state page's form. The address size of a string
// instruction and its segment are in the instruction information (§27.2.5, table 27-8).
void store_io(VcpuState& s, u64 q) {
    const u64 bytes = (q & vmx::io_access::SIZE) + 1;
    const bool string = (q & vmx::io_access::STRING) != 0;
    const u64 info = string ? read_field(F::EXIT_INSTRUCTION_INFO) : 0;
    s.info[0] =
        ((q & vmx::io_access::IN) != 0 ? io_access::in : 0) | (string ? io_access::string : 0) |
        ((q & vmx::io_access::REP) != 0 ? io_access::rep : 0) | bytes << io_access::bytes_shift |
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

// A debug exception's causes are in the qualification, not yet in DR6 (§27.2.1); the guest's
// handler is to find them there.
void note_debug(Vcpu& vcpu, u64 q) {
    using namespace vmx::debug_exit;
    vcpu.vmx.dr6 = (vcpu.vmx.dr6 & ~B0_B3) | (q & (B0_B3 | BD | BS));
}

void store_exception(VcpuState& s, Vcpu& vcpu, u64 q) {
    const u32 info = read_field32(F::EXIT_INTERRUPTION_INFO);
    const bool has_code = (info & vmx::interruption::ERROR_CODE_VALID) != 0;
    s.info[0] = info & vmx::interruption::VECTOR;
    s.info[1] = has_code ? read_field(F::EXIT_INTERRUPTION_ERROR_CODE) : 0;
    s.info[2] = q; // of a page fault: the address
    if (s.info[0] == static_cast<u64>(x86::Vector::DB))
        note_debug(vcpu, q);
}

// Only exits clear the event (§24.8.3): after a refusal it would go in with the next entry.
void store_refusal(VcpuState& s, const Vcpu& vcpu, u32 reason, u64 q) {
    write_field(F::ENTRY_INTERRUPTION_INFO, 0);
    s.info[0] = reason;
    s.info[1] = q;
    s.info[2] = static_cast<u64>(diagnose_entry(vcpu));
}

// info[] by reason.
void store_info(VcpuState& s, Vcpu& vcpu, ExitReason to, u32 reason) {
    const u64 q = read_field(F::EXIT_QUALIFICATION);
    constexpr u64 write = 16;
    s.info[0] = reason;
    switch (to) {
    case ExitReason::io:
        return store_io(s, q);
    case ExitReason::memory:
        return store_memory(s, q);
    case ExitReason::exception:
        return store_exception(s, vcpu, q);
    case ExitReason::entry_refused:
        return store_refusal(s, vcpu, reason, q);
    case ExitReason::cr_access:
        s.info[0] = (q & vmx::cr_access::NUMBER) |
                    ((q & vmx::cr_access::TYPE) == vmx::cr_access::MOV_FROM ? 0 : write);
        return;
    case ExitReason::dr_access:
        s.info[0] = (q & vmx::dr_access::NUMBER) | ((q & vmx::dr_access::FROM) != 0 ? 0 : write);
        return;
    default:
        return;
    }
}

// Exits in the middle of an instruction or between two have no instruction length (§27.2.5).
bool has_length(ExitReason reason) {
    switch (reason) {
    case ExitReason::memory:
    case ExitReason::exception:
    case ExitReason::entry_refused:
    case ExitReason::shutdown:
    case ExitReason::window:
    case ExitReason::nmi_window:
    case ExitReason::unknown:
        return false;
    default:
        return true;
    }
}

void store_common(VcpuState& s, Vcpu& vcpu) {
    s.gpr[4] = read_field(F::GUEST_RSP);
    s.rip = read_field(F::GUEST_RIP);
    s.rflags = read_field(F::GUEST_RFLAGS);
    constexpr u32 both =
        vmx::interruptibility::BLOCKING_BY_STI | vmx::interruptibility::BLOCKING_BY_MOV_SS;
    s.interrupt_shadow = (read_field32(F::GUEST_INTERRUPTIBILITY) & both) != 0;
    s.tpr = vcpu.vmx.vtpr >> 4 & 15;
    if (vcpu.delivering != 0)
        s.pending_interrupt = 0;
    vcpu.delivering = 0;
    const u32 wanted = read_once(s.wanted);
    if ((wanted & group::fault_address) != 0)
        s.cr2 = vcpu.vmx.cr2;
    if ((wanted & group::segments) != 0)
        read_segments(s);
    if ((wanted & group::debug) != 0)
        read_debug(s, vcpu);
    if ((wanted & group::system) != 0)
        read_system(s, vcpu);
}

// How the guest's instructions are to be understood.
void store_mode(VcpuState& s) {
    read_control(s);
    read_code_and_stack(s);
    s.cpl = u32{s.ss.attributes} >> x86::seg::DPL_SHIFT & 3; // §24.4.1
}

} // namespace

ExitReason store_vmx_exit(Vcpu& vcpu, u32 reason) {
    VcpuState& s = state_pages[vcpu.state].state;
    const ExitReason to = reason < reason_count ? static_cast<ExitReason>(reasons.reason[reason])
                                                : ExitReason::unknown;
    store_common(s, vcpu);
    store_info(s, vcpu, to, reason);
    if (to != ExitReason::io || (s.info[0] & io_access::string) != 0)
        store_mode(s);
    s.next_rip = has_length(to) ? s.rip + read_field32(F::EXIT_INSTRUCTION_LENGTH) : 0;
    s.interrupted_event = vcpu.vmx.event;
    vcpu.vmx.event = 0;
    s.exit_reason = static_cast<u32>(to);
    return to;
}

// The processor did not even try: VMfail with a VM-instruction error.
ExitReason store_vmx_failure(Vcpu& vcpu) {
    VcpuState& s = state_pages[vcpu.state].state;
    store_common(s, vcpu);
    store_mode(s);
    store_refusal(s, vcpu, 0, read_field(F::INSTRUCTION_ERROR));
    s.next_rip = 0;
    s.interrupted_event = vcpu.vmx.event;
    vcpu.vmx.event = 0;
    s.exit_reason = static_cast<u32>(ExitReason::entry_refused);
    return ExitReason::entry_refused;
}

// The kernel stops the guest between two entries: an event still to be injected goes back to the
// VMM.
void vmx_store_exit(Frame f, ExitReason reason, u64 info) {
    Vcpu& vcpu = vcpus[f];
    VcpuState& s = state_pages[vcpu.state].state;
    select_vmcs(shell_core(), vcpu.control);
    store_common(s, vcpu);
    store_mode(s);
    s.info[0] = info;
    s.next_rip = 0;
    s.interrupted_event = vcpu.vmx.event;
    vcpu.vmx.event = 0;
    s.exit_reason = static_cast<u32>(reason);
}

} // namespace horos::core
