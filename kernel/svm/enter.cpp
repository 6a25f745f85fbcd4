// One entry into a guest, and what the kernel itself does at the exit.
#include "kernel/arch/lock.hpp"
#include "kernel/core/guest_switch.hpp"
#include "kernel/svm/svm.hpp"

namespace horos::core {

ExitReason store_guest_exit(const Vcpu& vcpu, svm::Vmcb& b, VcpuState& s);
ExitReason store_io_exit(const Vcpu& vcpu, svm::Vmcb& b, VcpuState& s);

namespace {

using svm::ExitCode;

// The permission maps of the guest's space, and a tag that no entry of this core's TLB has. When
// the tags are used up, all are void at once.
[[gnu::noinline]] void renew(Core& core, Vcpu& vcpu, svm::ControlArea& control) {
    const Space& space = spaces[vcpu.space];
    const Frame io = space.io_map != 0 ? space.io_map : machine.io_map;
    const Frame msr = space.msr_map != 0 ? space.msr_map : machine.msr_map;
    control.iopm_base_pa = u64{io} << frame_bits;
    control.msrpm_base_pa = u64{msr} << frame_bits;
    control.tlb_control = static_cast<u8>(svm::TlbControl::NOTHING);
    if (next_tag(core, vcpu))
        control.tlb_control = static_cast<u8>(svm::TlbControl::FLUSH_ALL);
    control.guest_asid = vcpu.tlb_tag;
}

u64 get_xcr0() {
    u64 low; // XGETBV clears the high halves of both registers
    u64 high;
    asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return high << 32 | low;
}

// XSETBV always exits, but not everywhere: QEMU 7.2 lets the guest set the processor's XCR0. What
// it has set is its own from then on, and never the host's.
void restore_xcr0(Vcpu& vcpu) {
    vcpu.xcr0 = get_xcr0();
    if (vcpu.xcr0 != machine.xcr0)
        set_xcr0(machine.xcr0);
}

constexpr u32 address_registers = 0x000f'000f; // accesses to DR0..DR3

void store_debug(Vcpu& v, svm::Vmcb& b) {
    store_breakpoints(v);
    if ((b.save.dr7 & x86::dr7::ENABLES) == 0) {
        v.dr_live = 0;
        b.control.intercept_dr |= address_registers;
    }
}

[[gnu::always_inline]] inline void store_rare(Vcpu& vcpu, svm::Vmcb& b) {
    if (vcpu.dr_live != 0) [[unlikely]]
        store_debug(vcpu, b);
    if (machine.has_xsave != 0)
        restore_xcr0(vcpu);
}

// The kernel's own affair: host events and the debug registers. `none`: go round again.
[[gnu::noinline]] ExitReason own_exit(Vcpu& vcpu, svm::Vmcb& b, VcpuState& s) {
    const u64 code = b.control.exit_code;
    if (code == static_cast<u64>(ExitCode::INTR)) {
        shell_take_interrupt();
    } else if (code == static_cast<u64>(ExitCode::EXCEPTION_0) + 18) {
        shell_stop("machine check");
    } else if (code - static_cast<u64>(ExitCode::DR0_READ) < 0x20 && (code & 0xf) < 4 &&
               (vcpu.extra_exits & extra_exit::dr_access) == 0) {
        // The guest touches DR0..DR3: from now on they are its own in the processor.
        vcpu.dr_live = 1;
        b.control.intercept_dr &= ~address_registers;
    } else if (code != static_cast<u64>(ExitCode::NMI) &&
               code != static_cast<u64>(ExitCode::INIT)) { // they reach the host with the next STGI
        return store_guest_exit(vcpu, b, s);
    }
    b.control.event_inj = event_to_replay(b.control.exit_int_info); // delivered again
    return ExitReason::none;
}

} // namespace

[[gnu::always_inline]] ExitReason svm_enter(u32 number, Frame f) {
    Core& core = cores[number];
    Vcpu& vcpu = vcpus[f];
    svm::Vmcb& b = vmcbs[vcpu.control];
    VcpuState& page = state_pages[vcpu.state].state;
    b.control.tlb_control = static_cast<u8>(svm::TlbControl::NOTHING);
    if (vcpu.tlb_era != core.tlb_era || vcpu.flushes_seen != spaces[vcpu.space].flushes)
        [[unlikely]]
        renew(core, vcpu, b.control);
    if (core.fpu_owner != f) [[unlikely]]
        shell_fpu_switch(f);
    load_rare(vcpu);
    const HostState before = host_state();
    arch::kernel_unlock();
    svm_run(u64{vcpu.control} << frame_bits, page.gpr);
    arch::kernel_lock();
    check_host(before);
    store_rare(vcpu, b);
    const u64 code = b.control.exit_code;
    if (code == static_cast<u64>(ExitCode::IOIO))
        return store_io_exit(vcpu, b, page);
    if (code < static_cast<u64>(ExitCode::VINTR)) [[unlikely]] // all of the kernel's are below
        return own_exit(vcpu, b, page);
    return store_guest_exit(vcpu, b, page);
}

} // namespace horos::core
