// A virtual CPU's VMCS: which one a core holds, and what a fresh one has in it.
#include "kernel/vmx/vmx.hpp"

#pragma clang section text = ".vmxtext"

namespace horos::core {

namespace {

using F = vmx::Field;

// Fields that are zero in a fresh VMCS, by runs of neighbouring encodings. A field that is not
// written has no value that one could rely on (§24.11.3).
struct Run {
    F first;
    u32 count;
};
constexpr Run zero_fields[] = {
    {F::PF_ERROR_CODE_MASK, 3},      // and match: all page faults exit, if any; CR3-target count
    {F::ENTRY_INTERRUPTION_INFO, 3}, // error code, instruction length
    {F::GUEST_INTERRUPTIBILITY, 2},  // activity state
    {F::GUEST_RSP, 4},               // RIP, RFLAGS, pending debug exceptions
    {F::GUEST_DEBUGCTL, 1},
    {F::HOST_ES_SELECTOR, 7},
    {F::HOST_SYSENTER_CS, 1}, // SYSENTER faults
    {F::HOST_SYSENTER_ESP, 2},
};

void init_controls(Frame f) {
    const u64 list = (u64{f} << frame_bits) + offsetof(Vcpu, vmx) + offsetof(VmxState, msrs);
    for (const Run& run : zero_fields)
        for (u32 n = 0; n < run.count; ++n)
            write_field(vmx::plus(run.first, n), 0);
    write_field(F::VMCS_LINK_POINTER, vmx::NO_LINK_POINTER);
    write_field(F::PIN_CONTROLS, vmx_limits.controls.pin);
    write_field(F::EXIT_CONTROLS, vmx_limits.controls.exit);
    write_field(F::VIRTUAL_APIC_ADDRESS, u64{vcpus[f].state} << frame_bits);
    write_field(F::EXIT_MSR_STORE_ADDRESS, list);
    write_field(F::ENTRY_MSR_LOAD_ADDRESS, list);
    write_field(F::EXIT_MSR_STORE_COUNT, switched_count);
    write_field(F::EXIT_MSR_LOAD_COUNT, switched_count);
    write_field(F::ENTRY_MSR_LOAD_COUNT, switched_count);
}

// As after RESET, but for CS's base and RIP, which its VMM chooses.
void init_guest(Vcpu& vcpu) {
    VcpuState s{};
    s.cr0 = x86::cr0::ET | x86::cr0::CD | x86::cr0::NW;
    s.es = {0, x86::seg::DATA16, 0xffff, 0};
    s.ss = s.ds = s.fs = s.gs = s.gdtr = s.idtr = s.es;
    s.cs = {0, x86::seg::CODE16, 0xffff, 0};
    s.ldtr = {0, x86::seg::LDT, 0xffff, 0};
    s.tr = {0, x86::seg::TSS_BUSY, 0xffff, 0};
    s.dr6 = x86::dr6::RESET;
    s.dr7 = x86::dr7::RESET;
    s.pat = x86::PAT_RESET;
    s.xcr0 = vcpu.xcr0;
    write_field(F::CR0_MASK, ~u64{0});
    write_field(F::CR4_MASK, ~u64{0});
    write_field(F::GUEST_RFLAGS, x86::rflags::ONE);
    put_groups(vcpu, s, group::all);
}

} // namespace

void release_vmcs(u32 number) {
    Core& core = cores[number];
    if (core.control != 0)
        must_succeed(vmx_clear(u64{core.control} << frame_bits), "VMCLEAR failed");
    core.control = 0;
    core.launched = core.release = 0;
}

void select_vmcs(u32 number, Frame control) {
    Core& core = cores[number];
    if (core.control == control)
        return;
    release_vmcs(number);
    must_succeed(vmx_load(u64{control} << frame_bits), "VMPTRLD failed");
    core.control = control;
}

void vmx_init_vcpu(Frame f) {
    Vcpu& vcpu = vcpus[f];
    vmcss[vcpu.control].revision = vmx_limits.revision;
    must_succeed(vmx_clear(u64{vcpu.control} << frame_bits), "VMCLEAR failed");
    select_vmcs(shell_core(), vcpu.control);
    init_controls(f);
    init_guest(vcpu);
    for (u32 i = 0; i < switched_count; ++i)
        vcpu.vmx.msrs[i].number = switched_msrs[i].number;
    release_vmcs(shell_core()); // it may run on another core first
}

// The core that holds the VMCS must let go of it before its memory becomes something else. Another
// core does that when it takes the interrupt sent here.
bool vmx_end_vcpu(Frame f) {
    const u32 number = vcpus[f].core;
    Core& core = cores[number & (max_cores - 1)];
    const bool held = number != no_core && core.control == vcpus[f].control;
    if (held && number != shell_core()) {
        core.release = 1;
        shell_send_reschedule(number);
        return false;
    }
    if (held)
        release_vmcs(number);
    drop_apic_page(vcpus[f]);
    return true;
}

void vmx_rescheduled(u32 number) {
    if (cores[number].release != 0)
        release_vmcs(number);
}

} // namespace horos::core
