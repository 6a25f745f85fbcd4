// The entry guard: turns what a VMM asks for into the VMCS. Everything is read once, checked as a
// whole, and only then written, so that a refusal changes nothing.
#include "kernel/core/shell.hpp"
#include "kernel/vmx/vmx.hpp"

#pragma clang section text = ".vmxtext"

namespace horos::core {

namespace {

using vmx::RuleId;
using F = VmcsField;

constexpr u32 state_groups =
    group::control | group::segments | group::debug | group::system | group::policy;

// What group::events asks for.
struct Events {
    u64 inject, deadline, pending;
    u32 requests, tpr, shadow;
};

Events read_events(const VcpuState& page) {
    return {read_once(page.inject),   read_once(page.deadline), read_once(page.pending_interrupt),
            read_once(page.requests), read_once(page.tpr),      read_once(page.interrupt_shadow)};
}

// A copy of the page that no later write to it can change.
[[gnu::always_inline]] inline void copy_page(VcpuState& to, const VcpuState& page) {
    __builtin_memcpy(&to, &page, sizeof to);
    asm volatile("" ::: "memory");
}

// Exceptions that push an error code; the processor insists (§26.2.1.3).
constexpr u32 error_code_vectors =
    1u << 8 | 1u << 10 | 1u << 11 | 1u << 12 | 1u << 13 | 1u << 14 | 1u << 17;

RuleId check_exception(u64 e, u64 vector, u64 cr0) {
    if (vector > 31)
        return RuleId::EVENT_VECTOR_EXCEPTION;
    const bool has_code = (e & event::has_error_code) != 0;
    const bool needs_code = (error_code_vectors >> vector & 1) != 0;
    if ((cr0 & x86::cr0::PE) == 0)
        return RuleId::NONE; // real mode: none is delivered
    if (needs_code && !has_code)
        return RuleId::EVENT_ERROR_CODE_PRESENT;
    if (!needs_code && has_code)
        return RuleId::EVENT_ERROR_CODE_ABSENT;
    return has_code && (e >> event::error_code_shift) > 0x7fff ? RuleId::EVENT_ERROR_CODE_HIGH
                                                               : RuleId::NONE;
}

// §26.2.1.3 and, for what the event needs of the guest, §26.3.1.4 and §26.3.1.5. Whether the guest
// is in an NMI does not matter: see inject().
RuleId check_event(const Events& events, u64 rflags, u64 cr0) {
    const u64 e = events.inject;
    if ((e & event::valid) == 0)
        return RuleId::NONE;
    const u64 vector = e & event::vector_mask;
    const u64 type = e >> event::type_shift & 7;
    const bool shadow = (events.shadow & 1) != 0;
    if ((e & event::has_error_code) != 0 && type != event::exception)
        return RuleId::EVENT_ERROR_CODE_ABSENT;
    switch (type) {
    case event::external:
        if ((rflags & x86::rflags::IF) == 0)
            return RuleId::GUEST_RFLAGS_IF;
        return shadow ? RuleId::BLOCKING_EXTERNAL : RuleId::NONE;
    case event::nmi:
        if (vector != 2)
            return RuleId::EVENT_VECTOR_NMI;
        return shadow && (rflags & x86::rflags::IF) == 0 ? RuleId::BLOCKING_MOV_SS_NMI
                                                         : RuleId::NONE;
    case event::exception:
        return check_exception(e, vector, cr0);
    case event::software:
        return vmx_limits.any_length != 0 ? RuleId::NONE : RuleId::EVENT_LENGTH;
    default:
        return RuleId::EVENT_TYPE;
    }
}

// XCR0 as XSETBV would take it: x87 always, AVX only with SSE, nothing the host lacks.
u32 check_policy(const VcpuState& s) {
    const u64 x = s.xcr0;
    const bool avx_alone = (x & x86::xcr0::AVX) != 0 && (x & x86::xcr0::SSE) == 0;
    if ((x & x86::xcr0::X87) == 0 || avx_alone || (x & ~(machine.xcr0 | 1)) != 0)
        return guard_rule::xcr0;
    return (s.extra_exits & ~extra_exit::known) != 0 ? guard_rule::extra_exits : 0;
}

bool is_pae(u64 cr0, u64 cr4, u64 efer) {
    return (cr0 & x86::cr0::PG) != 0 && (cr4 & x86::cr4::PAE) != 0 && (efer & x86::efer::LME) == 0;
}

// With EPT an entry takes the page-directory pointers of PAE paging from the VMCS, where the last
// exit left them (§26.3.2.4). The kernel does not read them out of a guest's memory.
bool needs_other_pdptes(const VcpuState& s) {
    if (!is_pae(s.cr0, s.cr4, s.efer))
        return false;
    const bool was_pae = is_pae(guest_cr0(), guest_cr4(), read_field(F::GUEST_EFER));
    return !was_pae || s.cr3 != read_field(F::GUEST_CR3);
}

// What the processor checks of MSRs in a list (§26.4) is what WRMSR would.
bool is_canonical(u64 address) { return (address + (u64{1} << 47)) >> 48 == 0; }
bool wrong_msrs(const VcpuState& s) {
    return !is_canonical(s.lstar) || !is_canonical(s.cstar) || !is_canonical(s.kernel_gs_base) ||
           s.sfmask >> 32 != 0;
}

// Groups that are not dirty: as they are.
void complete(VcpuState& s, const Vcpu& vcpu, u32 dirty) {
    if ((dirty & group::control) == 0)
        read_control(s);
    if ((dirty & group::segments) == 0)
        read_segments(s);
    if ((dirty & group::debug) == 0)
        read_debug(s, vcpu);
    if ((dirty & group::system) == 0)
        read_system(s, vcpu);
}

u32 check_groups(const VcpuState& s, u32 dirty) {
    if (const RuleId rule = check_entry(s); rule != RuleId::NONE)
        return static_cast<u32>(rule);
    if ((dirty & group::control) != 0 && needs_other_pdptes(s))
        return static_cast<u32>(RuleId::PDPTE_FIELDS);
    if ((dirty & group::system) != 0 && wrong_msrs(s))
        return guard_rule::msrs;
    return (dirty & group::policy) != 0 ? check_policy(s) : 0;
}

u32 segment_rights(u32 n, u16 attributes) {
    const bool always = n == 1 || n == 7; // CS, TR
    const bool usable = always || (attributes & x86::seg::P) != 0;
    return vmx::rights_of(attributes) | (usable ? 0 : vmx::rights::UNUSABLE);
}

void put_segment(u32 n, const Segment& s) {
    write_field(vmx::plus(F::GUEST_ES_SELECTOR, n), s.selector);
    write_field(vmx::plus(F::GUEST_ES_LIMIT, n), s.limit);
    write_field(vmx::plus(F::GUEST_ES_RIGHTS, n), segment_rights(n, s.attributes));
    write_field(vmx::plus(F::GUEST_ES_BASE, n), s.base);
}

void put_segments(const VcpuState& s) {
    put_segment(0, s.es);
    put_segment(1, s.cs);
    put_segment(2, s.ss);
    put_segment(3, s.ds);
    put_segment(4, s.fs);
    put_segment(5, s.gs);
    put_segment(6, s.ldtr);
    put_segment(7, s.tr);
    write_field(F::GUEST_GDTR_LIMIT, s.gdtr.limit);
    write_field(F::GUEST_GDTR_BASE, s.gdtr.base);
    write_field(F::GUEST_IDTR_LIMIT, s.idtr.limit);
    write_field(F::GUEST_IDTR_BASE, s.idtr.base);
}

// The masks decide what the guest reads from the shadow; they are written before the registers.
void put_masks(const Vcpu& vcpu) {
    write_field(F::CR0_MASK,
                (vcpu.extra_exits & extra_exit::cr0_write) != 0 ? ~u64{0} : shadowed_cr0);
    write_field(F::CR4_MASK,
                (vcpu.extra_exits & extra_exit::cr4_write) != 0 ? ~u64{0} : ~vmx_limits.cr4);
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

void put_debug(Vcpu& vcpu, const VcpuState& s) {
    for (u32 i = 0; i < 4; ++i)
        vcpu.dr[i] = s.dr[i];
    vcpu.vmx.dr6 = s.dr6;
    write_field(F::GUEST_DR7, s.dr7);
}

void put_system(Vcpu& vcpu, const VcpuState& s) {
    const u64 values[switched_count] = {s.star, s.lstar, s.cstar, s.sfmask, s.kernel_gs_base};
    for (u32 i = 0; i < switched_count; ++i)
        vcpu.vmx.msrs[i].value = values[i];
    write_field(F::GUEST_SYSENTER_CS, s.sysenter_cs & 0xffff'ffff);
    write_field(F::GUEST_SYSENTER_ESP, s.sysenter_esp);
    write_field(F::GUEST_SYSENTER_EIP, s.sysenter_eip);
    write_field(F::GUEST_PAT, s.pat);
}

u32 optional_proc(u32 extra) {
    using namespace vmx::proc;
    const auto if_asked = [extra](u32 bit, u32 control) {
        return (extra & bit) != 0 ? control : 0;
    };
    return if_asked(extra_exit::pause, PAUSE_EXITING) | if_asked(extra_exit::rdtsc, RDTSC_EXITING) |
           if_asked(extra_exit::invlpg, INVLPG_EXITING) |
           if_asked(extra_exit::cr3_write, CR3_LOAD_EXITING) |
           if_asked(extra_exit::cr8, CR8_LOAD_EXITING | CR8_STORE_EXITING);
}

void put_policy(Vcpu& vcpu, const VcpuState& s) {
    write_field(F::TSC_OFFSET, s.tsc_offset);
    vcpu.xcr0 = s.xcr0;
    vcpu.exception_exits = s.exception_exits;
    vcpu.extra_exits = s.extra_exits;
    write_field(F::EXCEPTION_BITMAP, s.exception_exits | mandatory_vmx::exceptions);
    // The debug registers exit until the guest uses them; on request they always do.
    vcpu.dr_live = 0;
    vcpu.vmx.proc_controls = vmx_limits.controls.proc | optional_proc(s.extra_exits);
    const bool tables = (s.extra_exits & extra_exit::descriptor_access) != 0;
    write_field(F::PROC_CONTROLS_2,
                vmx_limits.controls.proc2 | (tables ? vmx::proc2::DESCRIPTOR_TABLE_EXITING : 0));
    u64 cr0 = guest_cr0();
    u64 cr4 = guest_cr4();
    put_masks(vcpu);
    write_field(F::CR0_SHADOW, cr0);
    write_field(F::CR4_SHADOW, cr4);
}

// §24.4.2. A shadow after STI needs IF; one without IF is that of MOV SS. With a shadow the trap
// flag's exception is pending (§26.3.1.5).
void put_shadow(bool shadow, u64 rflags) {
    using namespace vmx::interruptibility;
    const u32 old = read_field32(F::GUEST_INTERRUPTIBILITY);
    constexpr u32 both = BLOCKING_BY_STI | BLOCKING_BY_MOV_SS;
    const u32 kind = (rflags & x86::rflags::IF) != 0 ? BLOCKING_BY_STI : BLOCKING_BY_MOV_SS;
    const u32 next = (old & ~both) | (shadow ? kind : 0);
    if (next != old)
        write_field(F::GUEST_INTERRUPTIBILITY, next);
    if (shadow)
        write_field(F::GUEST_PENDING_DEBUG,
                    (rflags & x86::rflags::TF) != 0 ? vmx::pending_debug::BS : 0);
}

void put_events(Vcpu& vcpu, const Events& events, u64 rflags) {
    vcpu.vmx.event = (events.inject & event::valid) != 0 ? events.inject : 0;
    vcpu.vmx.pending = static_cast<u32>(events.pending & (pending::valid | 0xff));
    vcpu.vmx.requests = events.requests & (request::window | request::nmi_window);
    vcpu.vmx.vtpr = (events.tpr & 15) << 4;
    vcpu.deadline = events.deadline;
    // An NMI ends a shadow of STI's; some processors insist (§26.3.1.5).
    put_shadow((events.shadow & 1) != 0 && !is_nmi(events.inject), rflags);
}

// Another state than the guest's last has no trap pending from that one.
void put_groups(Vcpu& vcpu, const VcpuState& s, u32 dirty) {
    write_field(F::GUEST_PENDING_DEBUG, 0);
    if ((dirty & group::policy) != 0)
        put_policy(vcpu, s);
    if ((dirty & group::control) != 0) {
        put_control(s);
        vcpu.tlb_era = 0; // other page tables or paging modes: a new tag
    }
    if ((dirty & group::segments) != 0)
        put_segments(s);
    if ((dirty & group::debug) != 0)
        put_debug(vcpu, s);
    if ((dirty & group::system) != 0)
        put_system(vcpu, s);
}

struct Basic {
    u64 rip, rflags, rsp;
};

// Only what every run takes has changed, and virtual-8086 mode has not.
u32 check_basic(const Basic& b) {
    const bool high = b.rip >> 32 != 0;
    if (!high)
        return 0;
    const bool code_64 = (read_field(F::GUEST_EFER) & x86::efer::LMA) != 0 &&
                         (read_field(F::GUEST_CS_RIGHTS) & vmx::rights::L) != 0;
    if (!code_64)
        return static_cast<u32>(RuleId::GUEST_RIP_HIGH);
    const u64 top = b.rip >> 48;
    return top != 0 && top != 0xffff ? static_cast<u32>(RuleId::GUEST_RIP_CANONICAL) : 0;
}

// A state without interrupts and a shadow of STI's contradict each other: VMX keeps two kinds.
void keep_shadow(u64 rflags) {
    if ((read_field32(F::GUEST_INTERRUPTIBILITY) & 3) != 0)
        put_shadow(true, rflags);
}

[[gnu::noinline]] u32 take_groups(Vcpu& vcpu, const VcpuState& page, u32 dirty, const Basic& b) {
    VcpuState s;
    copy_page(s, page);
    s.rip = b.rip;
    s.rflags = b.rflags;
    complete(s, vcpu, dirty);
    Segment* const registers[] = {&s.es, &s.cs, &s.ss, &s.ds, &s.fs, &s.gs, &s.ldtr, &s.tr};
    for (Segment* g : registers)
        g->attributes &= x86::seg::DEFINED;
    if (const u32 rule = check_groups(s, dirty); rule != 0)
        return rule;
    const Events events = read_events(s);
    const u64 cr0 = s.cr0;
    if ((dirty & group::events) != 0) {
        if (const RuleId rule = check_event(events, b.rflags, cr0); rule != RuleId::NONE)
            return static_cast<u32>(rule);
    }
    if ((dirty & group::fault_address) != 0)
        vcpu.vmx.cr2 = s.cr2;
    put_groups(vcpu, s, dirty);
    if ((dirty & group::events) != 0)
        put_events(vcpu, events, b.rflags);
    else
        keep_shadow(b.rflags);
    return 0;
}

// Interrupts are rare beside exits that need nothing but a few registers.
u32 take_events(Vcpu& vcpu, const VcpuState& page, u32 dirty, const Basic& b) {
    if (const u32 rule = check_basic(b); rule != 0)
        return rule;
    if ((dirty & group::events) != 0) {
        const Events events = read_events(page);
        if (const RuleId rule = check_event(events, b.rflags, read_field(F::GUEST_CR0));
            rule != RuleId::NONE)
            return static_cast<u32>(rule);
        put_events(vcpu, events, b.rflags);
    } else {
        keep_shadow(b.rflags);
    }
    if ((dirty & group::fault_address) != 0)
        vcpu.vmx.cr2 = read_once(page.cr2);
    return 0;
}

} // namespace

u32 vmx_take_state(Frame f) {
    Vcpu& vcpu = vcpus[f];
    VcpuState& page = state_pages[vcpu.state].state;
    select_vmcs(shell_core(), vcpu.control);
    const u32 dirty = read_once(page.dirty) & group::all;
    const Basic b{read_once(page.rip),
                  (read_once(page.rflags) & x86::rflags::DEFINED) | x86::rflags::ONE,
                  read_once(page.gpr[4])};
    const bool v86_changes = ((b.rflags ^ read_field(F::GUEST_RFLAGS)) & x86::rflags::VM) != 0;
    const u32 rule = (dirty & state_groups) != 0 || v86_changes ? take_groups(vcpu, page, dirty, b)
                                                                : take_events(vcpu, page, dirty, b);
    if (rule != 0) {
        release_unbound(shell_core(), vcpu);
        return rule;
    }
    if ((dirty & group::events) != 0)
        page.inject = 0;
    if (dirty != 0)
        page.dirty = 0;
    write_field(F::GUEST_RIP, b.rip);
    write_field(F::GUEST_RFLAGS, b.rflags);
    write_field(F::GUEST_RSP, b.rsp);
    return 0;
}

RuleId diagnose_entry(const Vcpu& vcpu) {
    VcpuState s;
    s.rip = read_field(F::GUEST_RIP);
    s.rflags = read_field(F::GUEST_RFLAGS);
    complete(s, vcpu, 0);
    return check_entry(s);
}

} // namespace horos::core
