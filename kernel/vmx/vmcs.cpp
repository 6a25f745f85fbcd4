// A virtual CPU's VMCS: which one a core holds, what a fresh one has in it, and how its groups are
// read into the state page.
#include "kernel/core/shell.hpp"
#include "kernel/vmx/vmx.hpp"

#pragma clang section text = ".vmxtext"

namespace horos::core {

namespace {

using F = VmcsField;

void clear_vmcs(Frame control) {
    if (vmx_clear(u64{control} << frame_bits) != 0)
        shell_stop("VMCLEAR failed");
}

void release(Core& core) {
    if (core.control != 0)
        clear_vmcs(core.control);
    core.control = 0;
    core.launched = 0;
    core.release = 0;
}

struct FieldValue {
    F field;
    u64 value;
};

// Fields whose value is neither this processor's nor this virtual CPU's. A field that is not
// written has no value that one could rely on (§24.11.3).
constexpr FieldValue fixed_fields[] = {
    {F::VMCS_LINK_POINTER, vmx::NO_LINK_POINTER},
    {F::PF_ERROR_CODE_MASK, 0}, // with the match: all page faults, if any
    {F::PF_ERROR_CODE_MATCH, 0},
    {F::CR3_TARGET_COUNT, 0},
    {F::EXIT_MSR_STORE_COUNT, switched_count},
    {F::EXIT_MSR_LOAD_COUNT, switched_count},
    {F::ENTRY_MSR_LOAD_COUNT, switched_count},
    {F::ENTRY_INTERRUPTION_INFO, 0},
    {F::ENTRY_EXCEPTION_ERROR_CODE, 0},
    {F::ENTRY_INSTRUCTION_LENGTH, 0},
    {F::TPR_THRESHOLD, 0},
    {F::TSC_OFFSET, 0},
    {F::EXCEPTION_BITMAP, mandatory_vmx::exceptions},
    {F::CR0_MASK, shadowed_cr0},
    {F::GUEST_DEBUGCTL, 0},
    {F::GUEST_PAT, x86::PAT_RESET},
    {F::GUEST_EFER, 0},
    {F::GUEST_INTERRUPTIBILITY, 0},
    {F::GUEST_ACTIVITY, 0},
    {F::GUEST_PENDING_DEBUG, 0},
    {F::GUEST_SYSENTER_CS, 0},
    {F::GUEST_SYSENTER_ESP, 0},
    {F::GUEST_SYSENTER_EIP, 0},
    {F::GUEST_CR3, 0},
    {F::CR0_SHADOW, x86::cr0::ET | x86::cr0::CD | x86::cr0::NW}, // as after RESET
    {F::CR4_SHADOW, 0},
    {F::GUEST_CR4, x86::cr4::VMXE},
    {F::GUEST_DR7, x86::dr7::RESET},
    {F::GUEST_RSP, 0},
    {F::GUEST_RIP, 0},
    {F::GUEST_RFLAGS, x86::rflags::ONE},
    {F::GUEST_GDTR_BASE, 0},
    {F::GUEST_IDTR_BASE, 0},
    {F::GUEST_GDTR_LIMIT, 0xffff},
    {F::GUEST_IDTR_LIMIT, 0xffff},
    {F::HOST_ES_SELECTOR, 0},
    {F::HOST_DS_SELECTOR, 0},
    {F::HOST_FS_SELECTOR, 0},
    {F::HOST_GS_SELECTOR, 0},
    {F::HOST_SYSENTER_CS, 0}, // SYSENTER faults
    {F::HOST_SYSENTER_ESP, 0},
    {F::HOST_SYSENTER_EIP, 0},
};

// Real-mode segments, as after RESET but for CS's base.
void init_segments() {
    for (u32 n = 0; n < vmx::SEGMENTS; ++n) {
        const u16 attributes = n == 1   ? x86::seg::CODE16
                               : n == 6 ? x86::seg::LDT
                               : n == 7 ? x86::seg::TSS_BUSY
                                        : x86::seg::DATA16;
        write_field(vmx::plus(F::GUEST_ES_SELECTOR, n), 0);
        write_field(vmx::plus(F::GUEST_ES_BASE, n), 0);
        write_field(vmx::plus(F::GUEST_ES_LIMIT, n), 0xffff);
        write_field(vmx::plus(F::GUEST_ES_RIGHTS, n), vmx::rights_of(attributes));
    }
}

void init_controls(Frame f) {
    const VmxControls& c = vmx_limits.controls;
    write_field(F::PIN_CONTROLS, c.pin);
    write_field(F::PROC_CONTROLS, c.proc);
    write_field(F::PROC_CONTROLS_2, c.proc2);
    write_field(F::EXIT_CONTROLS, c.exit);
    write_field(F::ENTRY_CONTROLS, c.entry);
    write_field(F::GUEST_CR0, x86::cr0::ET | vmx_limits.cr0_fixed);
    write_field(F::CR4_MASK, ~vmx_limits.cr4);
    const u64 page = u64{f} << frame_bits;
    const u64 list = page + offsetof(Vcpu, vmx) + offsetof(VmxState, msrs);
    write_field(F::VIRTUAL_APIC_ADDRESS, page); // only VTPR of it is used: no APIC virtualisation
    write_field(F::EXIT_MSR_STORE_ADDRESS, list);
    write_field(F::ENTRY_MSR_LOAD_ADDRESS, list);
}

Segment read_segment(u32 n) {
    const u32 rights = read_field32(vmx::plus(F::GUEST_ES_RIGHTS, n));
    const u16 attributes = vmx::attributes_of(rights);
    const bool unusable = (rights & vmx::rights::UNUSABLE) != 0;
    return {static_cast<u16>(read_field(vmx::plus(F::GUEST_ES_SELECTOR, n))),
            static_cast<u16>(unusable ? attributes & ~x86::seg::P : attributes),
            read_field32(vmx::plus(F::GUEST_ES_LIMIT, n)),
            read_field(vmx::plus(F::GUEST_ES_BASE, n))};
}

} // namespace

void select_vmcs(u32 number, Frame control) {
    Core& core = cores[number];
    if (core.control == control)
        return;
    release(core);
    if (vmx_load(u64{control} << frame_bits) != 0)
        shell_stop("VMPTRLD failed");
    core.control = control;
}

void vmx_init_vcpu(Frame f) {
    Vcpu& vcpu = vcpus[f];
    vmcss[vcpu.control].revision = vmx_limits.revision;
    clear_vmcs(vcpu.control);
    Core& core = cores[shell_core()];
    select_vmcs(shell_core(), vcpu.control);
    for (const FieldValue& f_v : fixed_fields)
        write_field(f_v.field, f_v.value);
    init_segments();
    init_controls(f);
    for (u32 i = 0; i < switched_count; ++i)
        vcpu.vmx.msrs[i].number = switched_msrs[i];
    vcpu.vmx.proc_controls = vmx_limits.controls.proc;
    vcpu.vmx.proc_written = vmx_limits.controls.proc;
    vcpu.vmx.dr6 = x86::dr6::RESET;
    release(core); // it may run on another core first
}

// The core that holds the VMCS must let go of it before its memory becomes something else. Another
// core does that when it takes the interrupt sent here.
bool vmx_end_vcpu(Frame f) {
    const u32 number = vcpus[f].core;
    if (number == no_core || cores[number & (max_cores - 1)].control != vcpus[f].control)
        return true;
    Core& core = cores[number & (max_cores - 1)];
    if (number != shell_core()) {
        core.release = 1;
        shell_send_reschedule(number);
        return false;
    }
    release(core);
    return true;
}

void vmx_rescheduled(u32 number) {
    if (cores[number].release != 0)
        release(cores[number]);
}

void release_unbound(u32 number, const Vcpu& vcpu) {
    if (vcpu.core == no_core)
        release(cores[number]);
}

void read_control(VcpuState& s) {
    s.cr0 =
        merge_shadow(read_field(F::GUEST_CR0), read_field(F::CR0_SHADOW), read_field(F::CR0_MASK));
    s.cr3 = read_field(F::GUEST_CR3);
    s.cr4 =
        merge_shadow(read_field(F::GUEST_CR4), read_field(F::CR4_SHADOW), read_field(F::CR4_MASK));
    s.efer = read_field(F::GUEST_EFER);
}

void read_code_and_stack(VcpuState& s) {
    s.cs = read_segment(1);
    s.ss = read_segment(2);
}

void read_segments(VcpuState& s) {
    s.es = read_segment(0);
    read_code_and_stack(s);
    s.ds = read_segment(3);
    s.fs = read_segment(4);
    s.gs = read_segment(5);
    s.ldtr = read_segment(6);
    s.tr = read_segment(7);
    s.gdtr = {0, 0, read_field32(F::GUEST_GDTR_LIMIT), read_field(F::GUEST_GDTR_BASE)};
    s.idtr = {0, 0, read_field32(F::GUEST_IDTR_LIMIT), read_field(F::GUEST_IDTR_BASE)};
}

void read_debug(VcpuState& s, const Vcpu& vcpu) {
    for (u32 i = 0; i < 4; ++i)
        s.dr[i] = vcpu.dr[i];
    s.dr6 = vcpu.vmx.dr6;
    s.dr7 = read_field(F::GUEST_DR7);
}

void read_system(VcpuState& s, const Vcpu& vcpu) {
    s.star = vcpu.vmx.msrs[star].value;
    s.lstar = vcpu.vmx.msrs[lstar].value;
    s.cstar = vcpu.vmx.msrs[cstar].value;
    s.sfmask = vcpu.vmx.msrs[sfmask].value;
    s.kernel_gs_base = vcpu.vmx.msrs[kernel_gs_base].value;
    s.sysenter_cs = read_field(F::GUEST_SYSENTER_CS);
    s.sysenter_esp = read_field(F::GUEST_SYSENTER_ESP);
    s.sysenter_eip = read_field(F::GUEST_SYSENTER_EIP);
    s.pat = read_field(F::GUEST_PAT);
}

} // namespace horos::core
