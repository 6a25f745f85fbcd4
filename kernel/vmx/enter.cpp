// One entry into a guest, and what the kernel itself does at the exit.
#include "kernel/arch/cpu.hpp"
#include "kernel/arch/io.hpp"
#include "kernel/arch/lock.hpp"
#include "kernel/core/guest_switch.hpp"
#include "kernel/vmx/vmx.hpp"

#pragma clang section text = ".vmxtext"

namespace horos::core {

namespace {

using F = vmx::Field;
using Reason = vmx::ExitReason;

// The host's state on this core. It stays as it is for as long as the machine is up.
void write_host(u32 core, const HostState& h) {
    const arch::PerCpu& cpu = arch::this_cpu();
    arch::TableRegister idt;
    asm volatile("sidt %0" : "=m"(idt));
    write_field(F::HOST_CR0, h.cr0);
    write_field(F::HOST_CR4, h.cr4);
    write_field(F::HOST_CS_SELECTOR, SEL_KERNEL_CODE);
    write_field(F::HOST_SS_SELECTOR, SEL_KERNEL_DATA);
    write_field(F::HOST_TR_SELECTOR, SEL_TSS);
    write_field(F::HOST_GS_BASE, reinterpret_cast<u64>(&cpu));
    write_field(F::HOST_TR_BASE, reinterpret_cast<u64>(&cpu.tss));
    write_field(F::HOST_GDTR_BASE, reinterpret_cast<u64>(&cpu.gdt));
    write_field(F::HOST_IDTR_BASE, idt.base);
    write_field(F::HOST_PAT, arch::read_msr(x86::msr::PAT));
    write_field(F::HOST_EFER, arch::read_msr(x86::msr::EFER));
    write_field(F::HOST_RIP, reinterpret_cast<u64>(vmx_exit_point));
    write_field(F::EXIT_MSR_LOAD_ADDRESS, u64{host_msrs_frame(core)} << frame_bits);
}

// The host's state that goes with the thread that runs the guest.
void renew_host(u32 core, Vcpu& vcpu, const HostState& h) {
    if (vcpu.vmx.host_core != core + 1)
        write_host(core, h);
    vcpu.vmx.host_core = core + 1;
    write_field(F::HOST_CR3, h.cr3);
    write_field(F::HOST_FS_BASE, threads[cores[core].thread].regs.fs_base);
}

// The guest's space has changed, or all of this core's tags have been used up. A new VPID voids
// what went through the guest's own tables; guest-physical translations are known by their EPTP.
void renew_space(Core& core, Vcpu& vcpu) {
    const Space& space = spaces[vcpu.space];
    const Frame io = space.io_map != 0 ? space.io_map : machine.io_map;
    const Frame maps = space.msr_map != 0 ? space.msr_map : machine.msr_map;
    const Frame msr = vcpu.vmx.virtual_apic == virtual_apic::x2apic ? maps + 1 : maps;
    const u64 eptp = u64{space.root} << frame_bits | vmx::eptp::TYPE_WB | vmx::eptp::WALK_4;
    if (next_tag(core, vcpu)) // all are void
        must_succeed(vmx_invvpid(static_cast<u64>(vmx::InvvpidType::ALL), 0), "INVVPID failed");
    must_succeed(vmx_invept(static_cast<u64>(vmx::InveptType::SINGLE_CONTEXT), eptp),
                 "INVEPT failed");
    write_field(F::VPID, vcpu.tlb_tag);
    write_field(F::EPTP, eptp);
    write_field(F::IO_BITMAP_A, u64{io} << frame_bits);
    write_field(F::IO_BITMAP_B, u64{io + 1} << frame_bits);
    write_field(F::MSR_BITMAP, u64{msr} << frame_bits);
}

// Whether the guest can take an external interrupt now, its priority apart.
bool is_open() {
    return (read_field(F::GUEST_RFLAGS) & x86::rflags::IF) != 0 &&
           (read_field(F::GUEST_INTERRUPTIBILITY) & SHADOWS) == 0;
}

// Injects the pending interrupt, or arms the exit at which the guest can take it.
void offer_interrupt(Vcpu& vcpu, u32& proc, u32& threshold) {
    VmxState& v = vcpu.vmx;
    const u32 priority = (v.pending & 0xff) >> 4;
    if (priority <= (read_once(task_priority(vcpu)) >> 4 & 15)) {
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
    const bool real = (read_field(F::GUEST_CR0) & x86::cr0::PE) == 0; // delivers no error codes
    const u32 info = static_cast<u32>(e) & vmx::interruption::EVENT;
    write_field(F::ENTRY_EXCEPTION_ERROR_CODE, e >> event::error_code_shift);
    write_field(F::ENTRY_INTERRUPTION_INFO,
                real ? info & ~vmx::interruption::ERROR_CODE_VALID : info);
}

// The preemption timer ends the run when the core's next event is due: a time window's end, a
// deadline. So it does not depend on the timer's interrupt, which a processor may lose: Bochs 2.7
// keeps external interrupts masked when it enters a guest whose RFLAGS.IF is clear as the host's is
// (vmx.cc: VMenterLoadCheckGuestState comes before in_vmx_guest).
void set_preemption_timer(const Core& core) {
    if ((vmx_limits.controls.pin & vmx::pin::PREEMPTION_TIMER) == 0)
        return;
    const u64 now = shell_now();
    // Never early.
    const u64 left = core.timer > now ? ((core.timer - now) >> vmx_limits.timer_shift) + 1 : 0;
    write_field(F::PREEMPTION_TIMER, left > ~u32{0} ? ~u32{0} : left);
}

void arm(const Core& core, Vcpu& vcpu) {
    VmxState& v = vcpu.vmx;
    u32 proc = v.proc_controls, threshold = 0;
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
    write_field(F::PROC_CONTROLS, proc);
    write_field(F::TPR_THRESHOLD, threshold);
    set_preemption_timer(core);
}

// Guest registers that the VMCS has no place for. The debug registers are in the processor only
// while the guest has breakpoints.
void load_rest(const Vcpu& v) {
    if (arch::read_cr2() != v.vmx.cr2)
        asm volatile("mov %0, %%cr2" ::"r"(v.vmx.cr2));
    load_rare(v);
    if (v.dr_live != 0)
        asm volatile("mov %0, %%dr6" ::"r"(v.vmx.dr6));
}

void store_rest(Vcpu& v) {
    v.vmx.cr2 = arch::read_cr2();
    if (v.xcr0 != machine.xcr0 && machine.has_xsave != 0)
        set_xcr0(machine.xcr0);
    if (v.dr_live == 0)
        return;
    store_breakpoints(v);
    asm volatile("mov %%dr6, %0" : "=r"(v.vmx.dr6));
    v.dr_live = (read_field(F::GUEST_DR7) & x86::dr7::ENABLES) != 0;
}

u32 run(u32 number, Vcpu& vcpu) {
    Core& core = cores[number];
    const HostState before = host_state();
    renew_host(number, vcpu, before);
    // An exit sets GDTR's limit to 64 KiB, over what ring 3 must not see (§27.5.2).
    arch::TableRegister gdt;
    asm volatile("sgdt %0" : "=m"(gdt));
    load_rest(vcpu);
    arch::kernel_unlock();
    const u32 failed = vmx_run(state_pages[vcpu.state].state.gpr, core.launched);
    asm volatile("lgdt %0" ::"m"(gdt));
    arch::kernel_lock();
    check_host(before);
    store_rest(vcpu);
    return failed;
}

// The event whose delivery the exit cut off, in the state page's form; 0 for one whose instruction
// starts over (§27.2.4: INT, INT3, INTO and INT1 leave RIP at the instruction).
u64 event_to_replay(u32 info) {
    const u32 type = (info & vmx::interruption::TYPE) >> vmx::interruption::TYPE_SHIFT;
    if ((info & vmx::interruption::VALID) == 0 || type >= event::software)
        return 0;
    const u64 code =
        (info & event::has_error_code) != 0 ? read_field(F::IDT_VECTORING_ERROR_CODE) : 0;
    return (info & vmx::interruption::EVENT) | code << event::error_code_shift;
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
    if ((info & vmx::interruption::VECTOR) == static_cast<u32>(x86::Vector::MC))
        shell_stop("machine check");
    return is_nmi(info);
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
        return store_vmx_exit(vcpu, 0, F::INSTRUCTION_ERROR);
    const u32 reason = read_field32(F::EXIT_REASON);
    if ((reason & vmx::exit_reason::ENTRY_FAILURE) == 0) {
        core.launched = 1; // a refused entry leaves the VMCS as it was (§26.8)
        keep_event(vcpu, reason & vmx::exit_reason::BASIC);
    }
    const u32 basic = reason & vmx::exit_reason::BASIC;
    return own_exit(core, vcpu, basic) ? ExitReason::none
                                       : store_vmx_exit(vcpu, basic, F::EXIT_QUALIFICATION);
}

} // namespace horos::core
