// The groups of the state page, from and to the current VMCS. Nothing is checked here.
#include "kernel/vmx/vmx.hpp"

#pragma clang section text = ".vmxtext"

namespace horos::core {

namespace {

using F = vmx::Field;

constexpr F system_fields[] = {F::GUEST_SYSENTER_CS, F::GUEST_SYSENTER_ESP, F::GUEST_SYSENTER_EIP,
                               F::GUEST_PAT};
constexpr u64 VcpuState::* system_places[] = {&VcpuState::sysenter_cs, &VcpuState::sysenter_esp,
                                              &VcpuState::sysenter_eip, &VcpuState::pat};

// A control register as the guest sees it.
u64 seen(F reg, F shadow, F mask) {
    const u64 owned = read_field(mask);
    return (read_field(reg) & ~owned) | (read_field(shadow) & owned);
}
u64 guest_cr0() { return seen(F::GUEST_CR0, F::CR0_SHADOW, F::CR0_MASK); }
u64 guest_cr4() { return seen(F::GUEST_CR4, F::CR4_SHADOW, F::CR4_MASK); }

Segment read_segment(u32 n) {
    const u32 rights = read_field32(vmx::plus(F::GUEST_ES_RIGHTS, n));
    const u16 attributes = vmx::attributes_of(rights);
    const bool unusable = (rights & vmx::rights::UNUSABLE) != 0;
    return {static_cast<u16>(read_field(vmx::plus(F::GUEST_ES_SELECTOR, n))),
            static_cast<u16>(unusable ? attributes & ~x86::seg::P : attributes),
            read_field32(vmx::plus(F::GUEST_ES_LIMIT, n)),
            read_field(vmx::plus(F::GUEST_ES_BASE, n))};
}

void read_segments(VcpuState& s) {
    for (u32 n = 0; n < vmx::SEGMENTS; ++n)
        s.*segment_registers[n] = read_segment(n);
    s.gdtr = {0, 0, read_field32(F::GUEST_GDTR_LIMIT), read_field(F::GUEST_GDTR_BASE)};
    s.idtr = {0, 0, read_field32(F::GUEST_IDTR_LIMIT), read_field(F::GUEST_IDTR_BASE)};
}

void put_segments(const VcpuState& s) {
    for (u32 n = 0; n < vmx::SEGMENTS + 2; ++n) {
        const Segment& g = s.*segment_registers[n];
        write_field(vmx::plus(F::GUEST_ES_LIMIT, n), g.limit);
        write_field(vmx::plus(F::GUEST_ES_BASE, n), g.base);
        if (n >= vmx::SEGMENTS)
            continue;                                                              // GDTR, IDTR
        const bool usable = (g.attributes & x86::seg::P) != 0 || n == 1 || n == 7; // CS, TR: always
        write_field(vmx::plus(F::GUEST_ES_SELECTOR, n), g.selector);
        write_field(vmx::plus(F::GUEST_ES_RIGHTS, n),
                    vmx::rights_of(g.attributes) | (usable ? 0 : vmx::rights::UNUSABLE));
    }
}

void put_control(const VcpuState& s) {
    const bool long_mode = (s.cr0 & x86::cr0::PG) != 0 && (s.efer & x86::efer::LME) != 0;
    constexpr u64 not_loaded = x86::cr0::CD | x86::cr0::NW;
    write_field(F::GUEST_CR0, (s.cr0 & ~not_loaded) | vmx_limits.cr0_fixed);
    write_field(F::CR0_SHADOW, s.cr0);
    write_field(F::GUEST_CR3, s.cr3);
    write_field(F::GUEST_CR4, s.cr4 | x86::cr4::VMXE);
    write_field(F::CR4_SHADOW, s.cr4);
    write_field(F::GUEST_EFER, (s.efer & ~x86::efer::LMA) | (long_mode ? x86::efer::LMA : 0));
    write_field(F::ENTRY_CONTROLS,
                vmx_limits.controls.entry | (long_mode ? vmx::entry_ctl::IA32E_MODE_GUEST : 0));
}

void read_debug(VcpuState& s, const Vcpu& vcpu) {
    __builtin_memcpy(s.dr, vcpu.dr, sizeof s.dr);
    s.dr6 = vcpu.vmx.dr6;
    s.dr7 = read_field(F::GUEST_DR7);
}

void put_debug(Vcpu& vcpu, const VcpuState& s) {
    __builtin_memcpy(vcpu.dr, s.dr, sizeof s.dr);
    vcpu.vmx.dr6 = s.dr6;
    write_field(F::GUEST_DR7, s.dr7);
}

void read_system(VcpuState& s, const Vcpu& vcpu) {
    for (u32 i = 0; i < switched_count; ++i)
        s.*switched_msrs[i].place = vcpu.vmx.msrs[i].value;
    for (u32 i = 0; i < 4; ++i)
        s.*system_places[i] = read_field(system_fields[i]);
}

void put_system(Vcpu& vcpu, const VcpuState& s) {
    for (u32 i = 0; i < switched_count; ++i)
        vcpu.vmx.msrs[i].value = s.*switched_msrs[i].place;
    for (u32 i = 0; i < 4; ++i)
        write_field(system_fields[i], s.*system_places[i]);
}

struct OptionalExit {
    u32 asked, controls;
};
constexpr OptionalExit optional_exits[] = {
    {extra_exit::pause, vmx::proc::PAUSE_EXITING},
    {extra_exit::rdtsc, vmx::proc::RDTSC_EXITING},
    {extra_exit::invlpg, vmx::proc::INVLPG_EXITING},
    {extra_exit::cr3_write, vmx::proc::CR3_LOAD_EXITING},
    {extra_exit::cr8, vmx::proc::CR8_LOAD_EXITING | vmx::proc::CR8_STORE_EXITING},
};

// A mask decides what the guest reads from the shadow: the register stays as the guest sees it.
void put_masks(u32 extra) {
    const u64 cr0 = guest_cr0();
    const u64 cr4 = guest_cr4();
    write_field(F::CR0_MASK, (extra & extra_exit::cr0_write) != 0 ? ~u64{0} : shadowed_cr0);
    write_field(F::CR4_MASK, (extra & extra_exit::cr4_write) != 0 ? ~u64{0} : ~vmx_limits.cr4);
    write_field(F::CR0_SHADOW, cr0);
    write_field(F::CR4_SHADOW, cr4);
}

// Fields of controls that are off need not be there. A virtual x2APIC has an MSR bitmap of its own:
// renew_space() finds it.
void put_apic(Vcpu& vcpu, const VcpuState& s) {
    vcpu.vmx.virtual_apic = s.virtual_apic;
    vcpu.tlb_era = 0;
    drop_apic_page(vcpu);
    if ((s.virtual_apic & virtual_apic::in_page) != 0) {
        reference(s.apic_page); // ordinary memory for as long as the processor knows its address
        vcpu.vmx.apic_page = s.apic_page;
        write_field(F::APIC_ACCESS_ADDRESS, u64{s.apic_page} << frame_bits);
    }
    for (u32 n = 0; n < 4 && (s.virtual_apic & virtual_apic::delivering) != 0; ++n)
        write_field(vmx::plus(F::EOI_EXIT_BITMAP_0, n), s.eoi_exits[n]);
}

void put_policy(Vcpu& vcpu, const VcpuState& s) {
    const bool tables = (s.extra_exits & extra_exit::descriptor_access) != 0;
    vcpu.xcr0 = s.xcr0;
    vcpu.exception_exits = s.exception_exits;
    vcpu.extra_exits = s.extra_exits;
    // The debug registers exit until the guest uses them; on request they always do.
    vcpu.dr_live = 0;
    vcpu.vmx.proc_controls = vmx_limits.controls.proc;
    for (const OptionalExit& e : optional_exits)
        vcpu.vmx.proc_controls |= (s.extra_exits & e.asked) != 0 ? e.controls : 0;
    write_field(F::TSC_OFFSET, s.tsc_offset);
    write_field(F::EXCEPTION_BITMAP, s.exception_exits | mandatory_vmx::exceptions);
    write_field(F::PROC_CONTROLS_2, vmx_limits.controls.proc2 |
                                        mandatory_vmx::apic_controls[s.virtual_apic] |
                                        (tables ? vmx::proc2::DESCRIPTOR_TABLE_EXITING : 0));
    put_masks(s.extra_exits);
    put_apic(vcpu, s);
}

} // namespace

void read_control(VcpuState& s) {
    s.cr0 = guest_cr0();
    s.cr3 = read_field(F::GUEST_CR3);
    s.cr4 = guest_cr4();
    s.efer = read_field(F::GUEST_EFER);
}

void read_code_and_stack(VcpuState& s) {
    s.cs = read_segment(1);
    s.ss = read_segment(2);
}

void read_groups(VcpuState& s, const Vcpu& vcpu, u32 groups) {
    if ((groups & group::fault_address) != 0)
        s.cr2 = vcpu.vmx.cr2;
    if ((groups & group::control) != 0)
        read_control(s);
    if ((groups & group::segments) != 0)
        read_segments(s);
    if ((groups & group::debug) != 0)
        read_debug(s, vcpu);
    if ((groups & group::system) != 0)
        read_system(s, vcpu);
}

void put_groups(Vcpu& vcpu, const VcpuState& s, u32 groups) {
    if ((groups & group::control) != 0) {
        put_control(s);
        vcpu.tlb_era = 0; // other page tables or paging modes: a new tag
    }
    if ((groups & group::segments) != 0)
        put_segments(s);
    if ((groups & group::debug) != 0)
        put_debug(vcpu, s);
    if ((groups & group::system) != 0)
        put_system(vcpu, s);
    if ((groups & group::policy) != 0)
        put_policy(vcpu, s);
}

} // namespace horos::core
