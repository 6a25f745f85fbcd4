// What an exit means: from VMCB and exit code to the vendor-neutral state page.
#include "kernel/core/shell.hpp"
#include "kernel/svm/svm.hpp"

namespace horos::core {

namespace {

using svm::ExitCode;

constexpr u32 code_count = 0x90;

struct ReasonTable {
    u8 reason[code_count];
};

constexpr void set(ReasonTable& t, ExitCode code, ExitReason reason) {
    t.reason[static_cast<u64>(code)] = static_cast<u8>(reason);
}
constexpr void set_range(ReasonTable& t, u32 first, u32 last, ExitReason reason) {
    for (u32 i = first; i <= last; ++i)
        t.reason[i] = static_cast<u8>(reason);
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
    set(t, ExitCode::INVLPGA, ExitReason::svm_vmx_instruction);
    set(t, ExitCode::VINTR, ExitReason::window);
    set(t, ExitCode::CR0_SEL_WRITE, ExitReason::cr_access);
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
    set(t, ExitCode::IOIO, ExitReason::io);
    set(t, ExitCode::MSR, ExitReason::rdmsr);
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

// EXITINFO1 of IOIO (§15.10.2) in our form. EXITINFO2 is the next instruction's address.
void store_io(VcpuState& s, const svm::ControlArea& c, u64 rip) {
    const u64 i = c.exit_info_1;
    s.info[0] = (i >> svm::ioio::PORT_SHIFT & 0xffff) | (i & svm::ioio::IN ? io_flag::in : 0) |
                (i & svm::ioio::STR ? io_flag::string : 0) |
                (i & svm::ioio::REP ? io_flag::rep : 0) | (i >> 4 & 7) << io_flag::size_shift;
    s.info[1] = (i >> 7 & 7) * 2;
    s.info[2] = i >> svm::ioio::SEG_SHIFT & 7;
    s.instruction_length = static_cast<u32>(c.exit_info_2 - rip);
}

// EXITINFO1 of a nested page fault (§15.25.6).
void store_memory(VcpuState& s, const svm::ControlArea& c) {
    const u64 e = c.exit_info_1;
    s.info[0] = c.exit_info_2;
    s.info[1] = (e & svm::npf::RW ? memory_flag::write : 0) |
                (e & svm::npf::ID ? memory_flag::fetch : 0) |
                (e & svm::npf::P ? memory_flag::present : 0) |
                (e & svm::npf::TABLE ? memory_flag::page_walk : 0);
}

[[gnu::always_inline]] inline ExitReason store_reason(VcpuState& s, const svm::ControlArea& c,
                                                      u64 rip) {
    const u64 code = c.exit_code;
    if (code == static_cast<u64>(ExitCode::NPF)) {
        store_memory(s, c);
        return ExitReason::memory;
    }
    if (code == static_cast<u64>(ExitCode::IOIO)) {
        store_io(s, c, rip);
        return ExitReason::io;
    }
    s.info[0] = code;
    if (code >= code_count)
        return code == static_cast<u64>(ExitCode::INVALID) ? ExitReason::entry_refused
                                                           : ExitReason::unknown;
    const ExitReason reason = static_cast<ExitReason>(reasons.reason[code]);
    if (reason == ExitReason::exception) {
        s.info[0] = code - static_cast<u64>(ExitCode::EXCEPTION_0);
        s.info[1] = c.exit_info_1;
        s.info[2] = c.exit_info_2;
    } else if (reason == ExitReason::dr_access) {
        s.info[0] = code - static_cast<u64>(ExitCode::DR0_READ);
    } else if (code == static_cast<u64>(ExitCode::CR0_SEL_WRITE)) {
        s.info[0] = 16;
    } else if (reason == ExitReason::rdmsr && c.exit_info_1 != svm::MSR_EXIT_READ) {
        return ExitReason::wrmsr;
    }
    return reason;
}

void store_instruction(VcpuState& s, const svm::ControlArea& c, u64 rip) {
    s.instruction_length = 0;
    s.instruction_count = 0;
    if (machine.has_next_rip != 0 && c.next_rip > rip && c.next_rip - rip < 16)
        s.instruction_length = static_cast<u32>(c.next_rip - rip);
    if (machine.has_decode_assist != 0 && c.instruction_bytes_fetched < 16) {
        s.instruction_count = c.instruction_bytes_fetched;
        __builtin_memcpy(s.instruction, c.instruction_bytes, sizeof c.instruction_bytes);
    }
}

[[gnu::noinline]] void store_wanted(VcpuState& s, const Vcpu& vcpu, const svm::SaveArea& save,
                                    u32 wanted) {
    if ((wanted & group::control) != 0)
        s.cr2 = save.cr2;
    if ((wanted & group::segments) != 0) {
        store_segment(s.es, save.es);
        store_segment(s.ds, save.ds);
        store_segment(s.fs, save.fs);
        store_segment(s.gs, save.gs);
        store_segment(s.ldtr, save.ldtr);
        store_segment(s.tr, save.tr);
        store_segment(s.gdtr, save.gdtr);
        store_segment(s.idtr, save.idtr);
    }
    if ((wanted & group::debug) != 0) {
        for (u32 i = 0; i < 4; ++i)
            s.dr[i] = vcpu.dr[i];
        s.dr6 = save.dr6;
        s.dr7 = save.dr7;
    }
    if ((wanted & group::system) != 0) {
        s.star = save.star;
        s.lstar = save.lstar;
        s.cstar = save.cstar;
        s.sfmask = save.sfmask;
        s.kernel_gs_base = save.kernel_gs_base;
        s.sysenter_cs = save.sysenter_cs;
        s.sysenter_esp = save.sysenter_esp;
        s.sysenter_eip = save.sysenter_eip;
        s.pat = save.g_pat;
    }
}

// What every exit stores.
[[gnu::always_inline]] inline void store_common(VcpuState& s, const Vcpu& vcpu,
                                                const svm::Vmcb& b) {
    s.gpr[0] = b.save.rax;
    s.gpr[4] = b.save.rsp;
    s.rip = b.save.rip;
    s.rflags = b.save.rflags;
    s.cr0 = b.save.cr0;
    s.cr3 = b.save.cr3;
    s.cr4 = b.save.cr4;
    s.efer = b.save.efer & ~x86::efer::SVME;
    store_segment(s.cs, b.save.cs);
    store_segment(s.ss, b.save.ss);
    s.cpl = b.save.cpl;
    s.interrupt_shadow = static_cast<u32>(b.control.int_state & svm::int_state::INTERRUPT_SHADOW);
    s.tpr = b.control.int_ctl & svm::int_ctl::V_TPR_PRIO;
    if (vcpu.delivering != 0 && (b.control.int_ctl & svm::int_ctl::V_IRQ) == 0)
        s.pending_interrupt = 0;
    if (const u32 wanted = read_once(s.wanted); wanted != 0)
        store_wanted(s, vcpu, b.save, wanted);
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

// The guest stopped for a reason of its own.
[[gnu::always_inline]] void store_guest_exit(Frame f) {
    Vcpu& vcpu = vcpus[f];
    svm::Vmcb& b = vmcbs[vcpu.control];
    VcpuState& s = state_pages[vcpu.state].state;
    store_common(s, vcpu, b);
    store_instruction(s, b.control, b.save.rip);
    const ExitReason reason = store_reason(s, b.control, b.save.rip);
    s.interrupted_event = event_to_replay(b.control.exit_int_info);
    vcpu.exit_reason = static_cast<u32>(reason);
    s.exit_reason = vcpu.exit_reason;
}

// The kernel stops the guest between two entries: an event still to be injected goes back to the
// VMM.
void svm_store_exit(Frame f, ExitReason reason, u64 info) {
    Vcpu& vcpu = vcpus[f];
    svm::Vmcb& b = vmcbs[vcpu.control];
    VcpuState& s = state_pages[vcpu.state].state;
    store_common(s, vcpu, b);
    s.instruction_length = 0;
    s.instruction_count = 0;
    s.info[0] = info;
    s.interrupted_event = b.control.event_inj;
    b.control.event_inj = 0;
    vcpu.exit_reason = static_cast<u32>(reason);
    s.exit_reason = vcpu.exit_reason;
}

} // namespace horos::core
