// The entry guard: turns what a VMM asks for into the VMCS. Everything is read once, checked as a
// whole, and only then written, so that a refusal changes nothing.
#include "kernel/vmx/vmx.hpp"

#pragma clang section text = ".vmxtext"

namespace horos::core {

namespace {

using vmx::RuleId;
using F = vmx::Field;

constexpr u32 state_groups =
    group::control | group::segments | group::debug | group::system | group::policy;

bool is_pae(const VcpuState& s) {
    return (s.cr0 & x86::cr0::PG) != 0 && (s.cr4 & x86::cr4::PAE) != 0 &&
           (s.efer & x86::efer::LME) == 0;
}

// With EPT an entry takes the page-directory pointers of PAE paging from the VMCS, where the last
// exit left them (§26.3.2.4). The kernel does not read them out of a guest's memory.
bool needs_other_pdptes(const VcpuState& s) {
    VcpuState before;
    read_control(before);
    return is_pae(s) && (!is_pae(before) || s.cr3 != before.cr3);
}

// What the processor checks of MSRs in a list (§26.4) is what WRMSR would.
bool wrong_msrs(const VcpuState& s) {
    return !is_canonical(s.lstar) || !is_canonical(s.cstar) || !is_canonical(s.kernel_gs_base) ||
           s.sfmask >> 32 != 0;
}

// group::policy. What the rules of §26.2.1.1 leave to a VMM of the APIC: one way that the processor
// offers (x2APIC mode and APIC accesses exclude each other), and an APIC-access page of its own.
// The kernel's tables cannot come to lie there, where the processor might take its own accesses for
// the guest's (§29.4.6).
u32 check_asked(const VcpuState& s, const Vcpu& vcpu) {
    if (const u32 rule = check_policy(s.xcr0, s.extra_exits); rule != 0)
        return rule;
    const u32 way = s.virtual_apic;
    if ((way & ~u32{vmx_limits.virtual_apics}) != 0 || (way & (way - 1)) != 0)
        return guard_rule::virtual_apic;
    if ((way & virtual_apic::in_page) == 0)
        return 0;
    const Frame domain = threads[cores[shell_core()].thread].domain;
    const bool own = s.apic_page != vcpu.state && check_ram(domain, s.apic_page) == Error::ok &&
                     can_reference(s.apic_page);
    return own ? 0 : static_cast<u32>(RuleId::APIC_ACCESS_ADDRESS);
}

// Groups that are not dirty: as they are.
u32 check_groups(VcpuState& s, const Vcpu& vcpu, u32 dirty) {
    read_groups(s, vcpu, ~dirty & state_groups);
    for (Segment VcpuState::* const g : segment_registers)
        (s.*g).attributes &= x86::seg::DEFINED;
    if (const RuleId rule = check_entry(s); rule != RuleId::NONE)
        return static_cast<u32>(rule);
    if ((dirty & group::control) != 0 && needs_other_pdptes(s))
        return static_cast<u32>(RuleId::PDPTE_FIELDS);
    if ((dirty & group::system) != 0 && wrong_msrs(s))
        return guard_rule::msrs;
    return (dirty & group::policy) != 0 ? check_asked(s, vcpu) : 0;
}

// Where the guest's code cannot be: all of the guard's rules are asked then.
bool odd_rip(u64 rip) {
    const bool code_64 = (read_field(F::GUEST_EFER) & x86::efer::LMA) != 0 &&
                         (read_field(F::GUEST_CS_RIGHTS) & vmx::rights::L) != 0;
    return !code_64 || !is_canonical(rip);
}

// §24.4.2. A shadow after STI needs IF; one without IF is that of MOV SS. With a shadow the trap
// flag's exception is pending (§26.3.1.5).
void put_shadow(bool shadow, u64 rflags) {
    using namespace vmx::interruptibility;
    const u32 kind = (rflags & x86::rflags::IF) != 0 ? BLOCKING_BY_STI : BLOCKING_BY_MOV_SS;
    write_field(F::GUEST_INTERRUPTIBILITY,
                (read_field(F::GUEST_INTERRUPTIBILITY) & ~u64{SHADOWS}) | (shadow ? kind : 0));
    if (shadow)
        write_field(F::GUEST_PENDING_DEBUG,
                    (rflags & x86::rflags::TF) != 0 ? vmx::pending_debug::BS : 0);
}

void put_events(Vcpu& vcpu, const VcpuState& s) {
    vcpu.vmx.event = (s.inject & event::valid) != 0 ? s.inject : 0;
    vcpu.vmx.pending = static_cast<u32>(s.pending_interrupt & (pending::valid | 0xff));
    vcpu.vmx.requests = s.requests & (request::window | request::nmi_window);
    vcpu.deadline = s.deadline;
    if (vcpu.vmx.virtual_apic == virtual_apic::none)
        task_priority(vcpu) = (s.tpr & 15) << 4;
    else if ((vcpu.vmx.virtual_apic & virtual_apic::delivering) != 0)
        write_field(F::GUEST_INTERRUPT_STATUS, s.interrupt_status & 0xffff);
    // An NMI ends a shadow of STI's; some processors insist (§26.3.1.5).
    put_shadow((s.interrupt_shadow & 1) != 0 && !is_nmi(s.inject), s.rflags);
}

// A state without interrupts and a shadow of STI's contradict each other: VMX keeps two kinds.
void keep_shadow(u64 rflags) {
    if ((read_field(F::GUEST_INTERRUPTIBILITY) & SHADOWS) != 0)
        put_shadow(true, rflags);
}

// What the VMM asks for, each field read once. Interrupts are more frequent than changes of the
// guest's state, and exits that need nothing but a few registers more than both.
void take(VcpuState& s, const VcpuState& page, u32 dirty) {
    if (dirty != 0)
        __builtin_memcpy(&s, &page, sizeof s);
    asm volatile("" ::: "memory"); // no later write to the page changes the copy
    s.rip = read_once(page.rip);
    s.rflags = (read_once(page.rflags) & x86::rflags::DEFINED) | x86::rflags::ONE;
    s.gpr[4] = read_once(page.gpr[4]);
}

u32 check(VcpuState& s, const Vcpu& vcpu, u32 dirty, bool whole) {
    const u32 rule = whole ? check_groups(s, vcpu, dirty) : 0;
    if (rule != 0 || (dirty & group::events) == 0)
        return rule;
    return static_cast<u32>(check_event(s, whole ? s.cr0 : read_field(F::GUEST_CR0)));
}

void put(Vcpu& vcpu, const VcpuState& s, u32 dirty, bool whole) {
    if ((dirty & group::fault_address) != 0)
        vcpu.vmx.cr2 = s.cr2;
    if (whole) {
        write_field(F::GUEST_PENDING_DEBUG, 0); // another state has no trap pending from the last
        put_groups(vcpu, s, dirty);
    }
    vcpu.vmx.event = 0; // one of a thread that ended in its run is nobody's, and may not fit
    if ((dirty & group::events) != 0)
        put_events(vcpu, s);
    else
        keep_shadow(s.rflags);
    write_field(F::GUEST_RIP, s.rip);
    write_field(F::GUEST_RFLAGS, s.rflags);
    write_field(F::GUEST_RSP, s.gpr[4]);
}

} // namespace

u32 vmx_take_state(Frame f) {
    Vcpu& vcpu = vcpus[f];
    VcpuState& page = state_pages[vcpu.state].state;
    select_vmcs(shell_core(), vcpu.control);
    const u32 dirty = read_once(page.dirty) & group::all;
    VcpuState s;
    take(s, page, dirty);
    const bool v86_changes = ((s.rflags ^ read_field(F::GUEST_RFLAGS)) & x86::rflags::VM) != 0;
    const bool whole =
        (dirty & state_groups) != 0 || v86_changes || (s.rip >> 32 != 0 && odd_rip(s.rip));
    if (const u32 rule = check(s, vcpu, dirty, whole); rule != 0) {
        if (vcpu.core == no_core) // its first run may be on another core
            release_vmcs(shell_core());
        return rule;
    }
    put(vcpu, s, dirty, whole);
    if ((dirty & group::events) != 0)
        page.inject = 0;
    if (dirty != 0)
        page.dirty = 0;
    return 0;
}

RuleId diagnose_entry(const Vcpu& vcpu) {
    VcpuState s;
    s.rip = read_field(F::GUEST_RIP);
    s.rflags = read_field(F::GUEST_RFLAGS);
    read_groups(s, vcpu, state_groups);
    return check_entry(s);
}

} // namespace horos::core
