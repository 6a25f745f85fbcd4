// One entry into a guest, and what the kernel itself does at the exit.
#include "kernel/arch/lock.hpp"
#include "kernel/core/shell.hpp"
#include "kernel/vmx/vmx.hpp"

#pragma clang section text = ".vmxtext"

namespace horos::core {

namespace {

using F = VmcsField;
using Reason = vmx::ExitReason;

struct [[gnu::packed]] TableRegister {
    u16 limit;
    u64 base;
};

struct HostState {
    u64 cr0, cr3, cr4;
};

HostState host_state() {
    HostState h;
    asm volatile("mov %%cr0, %0\n\tmov %%cr3, %1\n\tmov %%cr4, %2"
                 : "=r"(h.cr0), "=r"(h.cr3), "=r"(h.cr4));
    return h;
}

// Every way out, a refused entry included, comes through here. A processor that did not restore
// the host is not one to go on with.
void check_host(const HostState& before) {
    const HostState now = host_state();
    if (now.cr0 != before.cr0 || now.cr3 != before.cr3 || now.cr4 != before.cr4)
        shell_stop("host control registers after a guest exit");
}

u64 read_msr(u32 number) {
    u32 low;
    u32 high;
    asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(number));
    return u64{high} << 32 | low;
}

u64 segment_base(const TableRegister& gdt, u16 selector) {
    const u64* const low = reinterpret_cast<const u64*>(gdt.base + (selector & ~7u));
    return (low[0] >> 16 & 0xff'ffff) | (low[0] >> 56) << 24 | low[1] << 32;
}

// The host's state on this core. It stays as it is for as long as the machine is up.
void write_host(u32 core) {
    TableRegister gdt;
    TableRegister idt;
    u16 cs;
    u16 ss;
    u16 tr;
    asm volatile("sgdt %0\n\tsidt %1\n\tmov %%cs, %2\n\tmov %%ss, %3\n\tstr %4"
                 : "=m"(gdt), "=m"(idt), "=r"(cs), "=r"(ss), "=r"(tr));
    const HostState h = host_state();
    write_field(F::HOST_CR0, h.cr0);
    write_field(F::HOST_CR4, h.cr4);
    write_field(F::HOST_CS_SELECTOR, cs);
    write_field(F::HOST_SS_SELECTOR, ss);
    write_field(F::HOST_TR_SELECTOR, tr);
    write_field(F::HOST_GS_BASE, read_msr(x86::msr::GS_BASE));
    write_field(F::HOST_TR_BASE, segment_base(gdt, tr));
    write_field(F::HOST_GDTR_BASE, gdt.base);
    write_field(F::HOST_IDTR_BASE, idt.base);
    write_field(F::HOST_PAT, read_msr(x86::msr::PAT));
    write_field(F::HOST_EFER, read_msr(x86::msr::EFER));
    write_field(F::HOST_RIP, reinterpret_cast<u64>(vmx_exit_point));
    write_field(F::EXIT_MSR_LOAD_ADDRESS, u64{host_msrs_frame(core)} << frame_bits);
}

// The host's state that goes with the thread that runs the guest.
void renew_host(u32 core, Vcpu& vcpu, const HostState& h) {
    VmxState& v = vcpu.vmx;
    if (v.host_core != core + 1) {
        write_host(core);
        v.host_core = core + 1;
        v.host_cr3 = 0;
        v.host_fs_base = ~u64{0};
    }
    if (v.host_cr3 != h.cr3)
        write_field(F::HOST_CR3, h.cr3);
    v.host_cr3 = h.cr3;
    const u64 fs_base = threads[cores[core].thread].regs.fs_base;
    if (v.host_fs_base != fs_base)
        write_field(F::HOST_FS_BASE, fs_base);
    v.host_fs_base = fs_base;
}

// The guest's space has changed, or all of this core's tags have been used up. A new VPID voids
// what went through the guest's own tables; guest-physical translations are known by their EPTP.
void renew_space(Core& core, Vcpu& vcpu) {
    const Space& space = spaces[vcpu.space];
    u32 failed = 0;
    if (core.tlb_next >= machine.tlb_tags) {
        core.tlb_era++;
        core.tlb_next = 1;
        failed = vmx_invvpid(static_cast<u64>(vmx::InvvpidType::ALL), 0);
    }
    vcpu.tlb_tag = core.tlb_next++;
    vcpu.tlb_era = core.tlb_era;
    vcpu.flushes_seen = space.flushes;
    const u64 eptp = u64{space.root} << frame_bits | vmx::eptp::TYPE_WB | vmx::eptp::WALK_4;
    failed |= vmx_invept(static_cast<u64>(vmx::InveptType::SINGLE_CONTEXT), eptp);
    if (failed != 0)
        shell_stop("INVEPT or INVVPID failed");
    write_field(F::VPID, vcpu.tlb_tag);
    write_field(F::EPTP, eptp);
    const Frame io = space.io_map != 0 ? space.io_map : machine.io_map;
    const Frame msr = space.msr_map != 0 ? space.msr_map : machine.msr_map;
    write_field(F::IO_BITMAP_A, u64{io} << frame_bits);
    write_field(F::IO_BITMAP_B, u64{io + 1} << frame_bits);
    write_field(F::MSR_BITMAP, u64{msr} << frame_bits);
}

// Whether the guest can take an external interrupt now, its priority apart.
bool is_open() {
    constexpr u32 shadow =
        vmx::interruptibility::BLOCKING_BY_STI | vmx::interruptibility::BLOCKING_BY_MOV_SS;
    return (read_field(F::GUEST_RFLAGS) & x86::rflags::IF) != 0 &&
           (read_field(F::GUEST_INTERRUPTIBILITY) & shadow) == 0;
}

// Injects the pending interrupt, or arms the exit at which the guest can take it.
void offer_interrupt(Vcpu& vcpu, u32& proc, u32& threshold) {
    VmxState& v = vcpu.vmx;
    const u32 priority = (v.pending & 0xff) >> 4;
    if (priority <= v.vtpr >> 4) {
        threshold = priority;
    } else if (v.event != 0 || !is_open()) {
        proc |= vmx::proc::INTERRUPT_WINDOW_EXITING;
    } else {
        v.event = event::valid | (v.pending & 0xff);
        v.pending = 0;
        vcpu.delivering = 1;
    }
}

// An event in the state page's form as interruption information (§24.8.3). INT3's and INTO's traps
// are injected as hardware's: RIP is where they are to return. An NMI opens its own way: when the
// guest may have one is the VMM's to say, as with SVM's EVENTINJ (APM vol. 2 §15.20), and one that
// an exit cut off finds NMIs blocked by itself (§§26.3.1.5, 27.2.3).
void inject(u64 e) {
    if (is_nmi(e))
        write_field(F::GUEST_INTERRUPTIBILITY, read_field(F::GUEST_INTERRUPTIBILITY) &
                                                   ~u64{vmx::interruptibility::BLOCKING_BY_NMI});
    u32 info = static_cast<u32>(e) &
               (vmx::interruption::VALID | vmx::interruption::TYPE | vmx::interruption::VECTOR);
    const bool real = (read_field(F::GUEST_CR0) & x86::cr0::PE) == 0; // delivers no error codes
    if ((e & event::has_error_code) != 0 && !real) {
        info |= vmx::interruption::ERROR_CODE_VALID;
        write_field(F::ENTRY_EXCEPTION_ERROR_CODE, e >> event::error_code_shift);
    }
    write_field(F::ENTRY_INTERRUPTION_INFO, info);
}

// The preemption timer ends the run when the core's next event is due: a time window's end, a
// deadline. So it does not depend on the timer's interrupt, which a processor may lose: Bochs 2.7
// keeps external interrupts masked when it enters a guest whose RFLAGS.IF is clear as the host's is
// (vmx.cc: VMenterLoadCheckGuestState comes before in_vmx_guest).
void set_preemption_timer(const Core& core) {
    if ((vmx_limits.controls.pin & vmx::pin::PREEMPTION_TIMER) == 0)
        return;
    const u64 now = shell_now();
    const u64 left =
        core.timer > now ? ((core.timer - now) >> vmx_limits.timer_shift) + 1 : 0; // never early
    write_field(F::PREEMPTION_TIMER, left > ~u32{0} ? ~u32{0} : left);
}

void arm(const Core& core, Vcpu& vcpu) {
    VmxState& v = vcpu.vmx;
    u32 proc = v.proc_controls;
    u32 threshold = 0;
    if (vcpu.dr_live != 0)
        proc &= ~vmx::proc::MOV_DR_EXITING;
    if ((v.requests & request::nmi_window) != 0)
        proc |= vmx::proc::NMI_WINDOW_EXITING;
    if ((v.requests & request::window) != 0)
        proc |= vmx::proc::INTERRUPT_WINDOW_EXITING;
    else if ((v.pending & pending::valid) != 0)
        offer_interrupt(vcpu, proc, threshold);
    if (v.event != 0)
        inject(v.event);
    if (proc != v.proc_written)
        write_field(F::PROC_CONTROLS, proc);
    v.proc_written = proc;
    if (threshold != v.tpr_threshold)
        write_field(F::TPR_THRESHOLD, threshold);
    v.tpr_threshold = threshold;
    set_preemption_timer(core);
}

void set_xcr0(u64 value) {
    asm volatile("xsetbv" ::"c"(0), "a"(static_cast<u32>(value)),
                 "d"(static_cast<u32>(value >> 32)));
}

// Guest registers that the VMCS has no place for.
void load_rest(const Vcpu& v) {
    u64 cr2;
    asm volatile("mov %%cr2, %0" : "=r"(cr2));
    if (cr2 != v.vmx.cr2)
        asm volatile("mov %0, %%cr2" ::"r"(v.vmx.cr2));
    if (v.xcr0 != machine.xcr0 && machine.has_xsave != 0)
        set_xcr0(v.xcr0);
    if (v.dr_live != 0)
        asm volatile("mov %0, %%dr0\n\tmov %1, %%dr1\n\tmov %2, %%dr2\n\tmov %3, %%dr3\n\t"
                     "mov %4, %%dr6" ::"r"(v.dr[0]),
                     "r"(v.dr[1]), "r"(v.dr[2]), "r"(v.dr[3]), "r"(v.vmx.dr6));
}

// The guest's debug registers are kept in the processor only while it has breakpoints.
void store_rest(Vcpu& v) {
    asm volatile("mov %%cr2, %0" : "=r"(v.vmx.cr2));
    if (v.xcr0 != machine.xcr0 && machine.has_xsave != 0)
        set_xcr0(machine.xcr0);
    if (v.dr_live == 0)
        return;
    asm volatile("mov %%dr0, %0\n\tmov %%dr1, %1\n\tmov %%dr2, %2\n\tmov %%dr3, %3\n\t"
                 "mov %%dr6, %4"
                 : "=r"(v.dr[0]), "=r"(v.dr[1]), "=r"(v.dr[2]), "=r"(v.dr[3]), "=r"(v.vmx.dr6));
    if ((read_field(F::GUEST_DR7) & x86::dr7::ENABLES) == 0)
        v.dr_live = 0;
}

// An exit sets the limit of GDTR to 64 KiB (§27.5.2), which would show ring 3 what lies behind.
struct HostGdt {
    TableRegister value;
    HostGdt() { asm volatile("sgdt %0" : "=m"(value)); }
    void load() const { asm volatile("lgdt %0" ::"m"(value)); }
};

u32 run(u32 number, Vcpu& vcpu) {
    Core& core = cores[number];
    const HostState before = host_state();
    renew_host(number, vcpu, before);
    const HostGdt gdt;
    load_rest(vcpu);
    arch::kernel_unlock();
    const u32 failed = vmx_run(state_pages[vcpu.state].state.gpr, core.launched);
    gdt.load();
    arch::kernel_lock();
    check_host(before);
    store_rest(vcpu);
    return failed;
}

// The event whose delivery the exit cut off, in the state page's form; 0 for one whose instruction
// starts over (§27.2.4: INT, INT3, INTO and INT1 leave RIP at the instruction).
u64 event_to_replay(u32 info) {
    using namespace vmx;
    if ((info & interruption::VALID) == 0)
        return 0;
    const u32 type = (info & interruption::TYPE) >> interruption::TYPE_SHIFT;
    if (type >= static_cast<u32>(InterruptionType::SOFTWARE_INTERRUPT))
        return 0;
    u64 e = info & (interruption::VALID | interruption::TYPE | interruption::VECTOR);
    if ((info & interruption::ERROR_CODE_VALID) != 0)
        e |= event::has_error_code | read_field(F::IDT_VECTORING_ERROR_CODE)
                                         << event::error_code_shift;
    return e;
}

// §27.2.3: IRET ends the blocking of NMIs even when it exits half-way; then they are blocked still.
bool unblocks_nmi(u32 reason) {
    if (reason == static_cast<u32>(Reason::EPT_VIOLATION))
        return (read_field(F::EXIT_QUALIFICATION) & vmx::ept_violation::NMI_UNBLOCKING) != 0;
    return reason == static_cast<u32>(Reason::EXCEPTION_OR_NMI) &&
           (read_field(F::EXIT_INTERRUPTION_INFO) & vmx::interruption::NMI_UNBLOCKING) != 0;
}

void keep_event(Vcpu& vcpu, u32 reason) {
    vcpu.vmx.event = event_to_replay(read_field32(F::IDT_VECTORING_INFO));
    if (vcpu.vmx.event == 0 && unblocks_nmi(reason))
        write_field(F::GUEST_INTERRUPTIBILITY,
                    read_field(F::GUEST_INTERRUPTIBILITY) | vmx::interruptibility::BLOCKING_BY_NMI);
}

// Exceptions that are the host's: its NMI, a machine check.
bool is_host_nmi() {
    const u32 info = read_field32(F::EXIT_INTERRUPTION_INFO);
    const u32 type = (info & vmx::interruption::TYPE) >> vmx::interruption::TYPE_SHIFT;
    if ((info & vmx::interruption::VECTOR) == static_cast<u32>(x86::Vector::MC))
        shell_stop("machine check");
    return type == static_cast<u32>(vmx::InterruptionType::NMI);
}

// The kernel's own affair? Then the guest goes on.
bool own_exit(Core& core, Vcpu& vcpu, u32 reason) {
    switch (static_cast<Reason>(reason)) {
    case Reason::EXTERNAL_INTERRUPT:
        shell_take_interrupt(); // the VMCS may have gone with it
        return true;
    case Reason::EXCEPTION_OR_NMI:
        if (!is_host_nmi())
            return false;
        asm volatile("int $2"); // its IRET lets the next one in
        return true;
    case Reason::PREEMPTION_TIMER:
        core.reschedule = 1;
        return true;
    case Reason::INTERRUPT_WINDOW:
        return (vcpu.vmx.requests & request::window) == 0;
    case Reason::INIT:
    case Reason::SIPI:
    case Reason::TPR_BELOW_THRESHOLD:
        return true;
    case Reason::MOV_DR:
        vcpu.dr_live = (vcpu.extra_exits & extra_exit::dr_access) == 0;
        return vcpu.dr_live != 0;
    case Reason::ENTRY_MACHINE_CHECK:
        shell_stop("machine check");
    case Reason::EPT_MISCONFIGURATION:
        shell_stop("an entry of a guest's tables is malformed");
    default:
        return false;
    }
}

} // namespace

ExitReason vmx_enter(u32 number, Frame f) {
    Core& core = cores[number];
    Vcpu& vcpu = vcpus[f];
    select_vmcs(number, vcpu.control);
    if (vcpu.tlb_era != core.tlb_era || vcpu.flushes_seen != spaces[vcpu.space].flushes)
        renew_space(core, vcpu);
    if (core.fpu_owner != f)
        shell_fpu_switch(f);
    arm(core, vcpu);
    if (run(number, vcpu) != 0)
        return store_vmx_failure(vcpu);
    const u32 reason = read_field32(F::EXIT_REASON);
    if ((reason & vmx::exit_reason::ENTRY_FAILURE) == 0) {
        core.launched = 1; // a refused entry leaves the VMCS as it was (§26.8)
        keep_event(vcpu, reason & vmx::exit_reason::BASIC);
    }
    if (own_exit(core, vcpu, reason & vmx::exit_reason::BASIC))
        return ExitReason::none;
    return store_vmx_exit(vcpu, reason & vmx::exit_reason::BASIC);
}

} // namespace horos::core
