// What an exit means: from VMCB and exit code to the vendor-neutral state page.
#include "kernel/core/shell.hpp"
#include "kernel/svm/svm.hpp"

namespace horos::core {

namespace {

using svm::ExitCode;

constexpr u32 code_count = 0x90;
// In the table: the exit has information besides its reason.
constexpr u8 informs = 0x80;

struct ReasonTable {
    u8 reason[code_count];
};

constexpr void set(ReasonTable& t, ExitCode code, ExitReason reason, u8 mark = 0) {
    t.reason[static_cast<u64>(code)] = static_cast<u8>(static_cast<u32>(reason) | mark);
}
constexpr void set_range(ReasonTable& t, u32 first, u32 last, ExitReason reason) {
    for (u32 i = first; i <= last; ++i)
        t.reason[i] = static_cast<u8>(static_cast<u32>(reason) | informs);
}

constexpr ReasonTable make_reasons() {
    ReasonTable t{};
    set_range(t, 0, code_count - 1, ExitReason::unknown);
    set_range(t, 0x00, 0x1f, ExitReason::cr_access);
    set_range(t, 0x20, 0x3f, ExitReason::dr_access);
    set_range(t, 0x40, 0x5f, ExitReason::exception);
    set_range(t, 0x66, 0x6d, ExitReason::descriptor_access);
    set_range(t, 0x80, 0x86, ExitReason::svm_vmx_instruction);
    set(t, ExitCode::VMMCALL, ExitReason::vmcall);
    set(t, ExitCode::INVLPGA, ExitReason::svm_vmx_instruction, informs);
    set(t, ExitCode::VINTR, ExitReason::window);
    set(t, ExitCode::CR0_SEL_WRITE, ExitReason::cr_access, informs);
    set(t, ExitCode::RDTSC, ExitReason::rdtsc);
    set(t, ExitCode::RDPMC, ExitReason::rdpmc);
    set(t, ExitCode::PUSHF, ExitReason::pushf_popf);
    set(t, ExitCode::POPF, ExitReason::pushf_popf);
    set(t, ExitCode::CPUID, ExitReason::cpuid);
    set(t, ExitCode::RSM, ExitReason::rsm);
    set(t, ExitCode::IRET, ExitReason::nmi_window);
    set(t, ExitCode::SWINT, ExitReason::software_interrupt);
    set(t, ExitCode::INVD, ExitReason::invd);
    set(t, ExitCode::PAUSE, ExitReason::pause);
    set(t, ExitCode::HLT, ExitReason::hlt);
    set(t, ExitCode::INVLPG, ExitReason::invlpg);
    set(t, ExitCode::MSR, ExitReason::rdmsr, informs);
    set(t, ExitCode::TASK_SWITCH, ExitReason::task_switch);
    set(t, ExitCode::SHUTDOWN, ExitReason::shutdown);
    set(t, ExitCode::RDTSCP, ExitReason::rdtscp);
    set(t, ExitCode::WBINVD, ExitReason::wbinvd);
    set(t, ExitCode::MONITOR, ExitReason::monitor);
    set(t, ExitCode::MWAIT, ExitReason::mwait);
    set(t, ExitCode::MWAIT_CONDITIONAL, ExitReason::mwait);
    set(t, ExitCode::XSETBV, ExitReason::xsetbv);
    return t;
}
constexpr ReasonTable reasons = make_reasons();

void store_segment(Segment& to, const svm::Segment& from) {
    __builtin_memcpy(&to, &from, sizeof to);
}
static_assert(sizeof(Segment) == sizeof(svm::Segment));

// A nested page fault (§15.25.6).
[[gnu::always_inline]] inline void store_memory(VcpuState& s, const svm::ControlArea& c) {
    using namespace memory_flag;
    static_assert(present == svm::npf::P && write == svm::npf::RW && fetch == svm::npf::ID &&
                  page_walk == svm::npf::TABLE);
    s.info[0] = c.exit_info_2;
    s.info[1] = c.exit_info_1 & (present | write | fetch | page_walk);
    s.instruction_count = 0;
    if (machine.has_decode_assist != 0 && c.instruction_bytes_fetched < 16) {
        s.instruction_count = c.instruction_bytes_fetched;
        __builtin_memcpy(s.instruction, c.instruction_bytes, sizeof c.instruction_bytes);
    }
}

// Exits that say more than their reason, and those without one.
[[gnu::noinline]] ExitReason store_information(VcpuState& s, const svm::ControlArea& c) {
    const u64 code = c.exit_code;
    s.info[0] = code;
    if (code >= code_count)
        return code == static_cast<u64>(ExitCode::INVALID) ? ExitReason::entry_refused
                                                           : ExitReason::unknown;
    const ExitReason reason = static_cast<ExitReason>(reasons.reason[code] & ~u32{informs});
    if (reason == ExitReason::exception) {
        s.info[0] = code - static_cast<u64>(ExitCode::EXCEPTION_0);
        s.info[1] = c.exit_info_1;
        s.info[2] = c.exit_info_2;
    } else if (reason == ExitReason::dr_access) {
        s.info[0] = code - static_cast<u64>(ExitCode::DR0_READ);
    } else if (code == static_cast<u64>(ExitCode::CR0_SEL_WRITE)) {
        s.info[0] = 16;
    }
    return reason;
}

[[gnu::always_inline]] inline ExitReason store_reason(VcpuState& s, const svm::ControlArea& c) {
    const u64 code = c.exit_code;
    if (code < code_count) {
        const u8 reason = reasons.reason[code];
        if ((reason & informs) == 0)
            return static_cast<ExitReason>(reason);
        if (code == static_cast<u64>(ExitCode::MSR))
            return c.exit_info_1 == svm::MSR_EXIT_READ ? ExitReason::rdmsr : ExitReason::wrmsr;
    } else if (code == static_cast<u64>(ExitCode::NPF)) {
        store_memory(s, c);
        return ExitReason::memory;
    }
    return store_information(s, c);
}

[[gnu::noinline]] void store_wanted(VcpuState& s, const Vcpu& vcpu, const svm::SaveArea& save,
                                    u32 wanted) {
    if ((wanted & group::fault_address) != 0)
        s.cr2 = save.cr2;
    if ((wanted & group::segments) != 0)
        for_segments(s, save, store_segment);
    if ((wanted & group::debug) != 0) {
        for (u32 i = 0; i < 4; ++i)
            s.dr[i] = vcpu.dr[i];
        s.dr6 = save.dr6;
        s.dr7 = save.dr7;
    }
    if ((wanted & group::system) != 0) {
        for_system(s, save, assign);
        s.pat = save.g_pat;
    }
}

// What every exit stores.
[[gnu::always_inline]] inline void store_common(const Vcpu& vcpu, const svm::Vmcb& b,
                                                VcpuState& s) {
    s.gpr[0] = b.save.rax;
    s.gpr[4] = b.save.rsp;
    s.rip = b.save.rip;
    s.rflags = b.save.rflags;
    s.interrupt_shadow = static_cast<u32>(b.control.int_state & svm::int_state::INTERRUPT_SHADOW);
    s.tpr = b.control.int_ctl & svm::int_ctl::V_TPR_PRIO;
    if (vcpu.delivering != 0 && (b.control.int_ctl & svm::int_ctl::V_IRQ) == 0)
        s.pending_interrupt = 0;
    if (const u32 wanted = read_once(s.wanted) & group::all; wanted != 0) [[unlikely]]
        store_wanted(s, vcpu, b.save, wanted);
}

// How the guest's instructions are to be understood.
[[gnu::always_inline]] inline void store_mode(const svm::SaveArea& save, VcpuState& s) {
    s.cr0 = save.cr0;
    s.cr3 = save.cr3;
    s.cr4 = save.cr4;
    s.efer = save.efer & ~x86::efer::SVME;
    store_segment(s.cs, save.cs);
    store_segment(s.ss, save.ss);
    s.cpl = save.cpl;
}

// The guest stopped for a reason of its own.
[[gnu::always_inline]] inline ExitReason tell(VcpuState& s, svm::ControlArea& c, u64 next_rip,
                                              ExitReason reason) {
    s.next_rip = next_rip;
    s.interrupted_event = 0;
    if ((c.exit_int_info & svm::event::VALID) != 0) [[unlikely]]
        s.interrupted_event = event_to_replay(c.exit_int_info);
    c.event_inj = 0;
    s.exit_reason = static_cast<u32>(reason);
    return reason;
}

} // namespace

u64 event_to_replay(u64 info) {
    if ((info & svm::event::VALID) == 0)
        return 0;
    const u64 type = (info & svm::event::TYPE) >> svm::event::TYPE_SHIFT;
    const u64 vector = info & svm::event::VECTOR;
    const bool restarts =
        type == static_cast<u64>(svm::EventType::SOFTWARE_INTERRUPT) ||
        (type == static_cast<u64>(svm::EventType::EXCEPTION) && (vector == 3 || vector == 4));
    return restarts ? 0 : info & ~svm::event::RESERVED;
}

// IN and OUT: EXITINFO1 is as in the state page, EXITINFO2 the next instruction's address
// (§15.10.2). Only string instructions need decoding.
[[gnu::always_inline]] ExitReason store_io_exit(const Vcpu& vcpu, svm::Vmcb& b, VcpuState& s) {
    static_assert(io_access::in == svm::ioio::IN && io_access::string == svm::ioio::STR &&
                  io_access::rep == svm::ioio::REP &&
                  1 << io_access::bytes_shift == svm::ioio::SZ8 &&
                  1 << io_access::address_shift == svm::ioio::A16 &&
                  io_access::segment_shift == svm::ioio::SEG_SHIFT &&
                  io_access::port_shift == svm::ioio::PORT_SHIFT);
    store_common(vcpu, b, s);
    s.info[0] = b.control.exit_info_1;
    if ((b.control.exit_info_1 & svm::ioio::STR) != 0) [[unlikely]]
        store_mode(b.save, s);
    return tell(s, b.control, b.control.exit_info_2, ExitReason::io);
}

// All others. NRIP is zero where the processor does not tell it: VMRUN never writes it then.
[[gnu::always_inline]] ExitReason store_guest_exit(const Vcpu& vcpu, svm::Vmcb& b, VcpuState& s) {
    store_common(vcpu, b, s);
    store_mode(b.save, s);
    return tell(s, b.control, b.control.next_rip, store_reason(s, b.control));
}

// The kernel stops the guest between two entries: an event still to be injected goes back to the
// VMM.
void svm_store_exit(Frame f, ExitReason reason, u64 info) {
    const Vcpu& vcpu = vcpus[f];
    svm::Vmcb& b = vmcbs[vcpu.control];
    VcpuState& s = state_pages[vcpu.state].state;
    store_common(vcpu, b, s);
    store_mode(b.save, s);
    s.info[0] = info;
    const u64 event = b.control.event_inj;
    tell(s, b.control, 0, reason);
    s.interrupted_event = event;
}

} // namespace horos::core
