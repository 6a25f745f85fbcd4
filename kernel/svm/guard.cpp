// The entry guard: turns what a VMM asks for into the VMCB. Everything is read once, checked as a
// whole, and only then written, so that a refusal changes nothing.
#include "kernel/svm/quirks.hpp"

namespace horos::core {

namespace {

using svm::RuleId;

// State that VMRUN checks together (§15.5.1, "Canonicalization and Consistency Checks").
struct Checked {
    u64 cr0, cr3, cr4, efer, dr6, dr7, pat, event;
    u16 cs_attributes;
};

constexpr u64 low_half = 0xffff'ffff;

RuleId check_paging(const Checked& c) {
    const bool paging = (c.cr0 & x86::cr0::PG) != 0;
    const bool long_mode = paging && (c.efer & x86::efer::LME) != 0;
    if (long_mode && (c.cr4 & x86::cr4::PAE) == 0)
        return RuleId::SAVE_LME_PG_PAE;
    if (long_mode && (c.cr0 & x86::cr0::PE) == 0)
        return RuleId::SAVE_LME_PG_PE;
    const u16 both = x86::seg::L | x86::seg::DB;
    if (long_mode && (c.cr4 & x86::cr4::PAE) != 0 && (c.cs_attributes & both) == both)
        return RuleId::SAVE_CS_L_D;
    return RuleId::NONE;
}

RuleId check_registers(const Checked& c) {
    if ((c.efer & ~svm_limits.efer) != 0)
        return RuleId::SAVE_EFER_MBZ;
    if ((c.cr0 & (x86::cr0::CD | x86::cr0::NW)) == x86::cr0::NW)
        return RuleId::SAVE_CR0_CD_NW;
    if ((c.cr0 & ~low_half) != 0)
        return RuleId::SAVE_CR0_HIGH;
    // With CR4.PCIDE the low bits are a PCID; bit 63 is an operand of MOV only.
    if ((c.efer & x86::efer::LME) != 0 && (c.cr3 & ~svm_limits.physical_mask) != 0)
        return RuleId::SAVE_CR3_MBZ;
    if ((c.cr4 & ~svm_limits.cr4) != 0)
        return RuleId::SAVE_CR4_MBZ;
    if ((c.dr6 & ~low_half) != 0)
        return RuleId::SAVE_DR6_HIGH;
    if ((c.dr7 & ~low_half) != 0)
        return RuleId::SAVE_DR7_HIGH;
    return pat_is_valid(c.pat) ? RuleId::NONE : RuleId::CTL_NP_GPAT;
}

// Vectors of exceptions (§8.2, table 8-1), and those of them that no guest of Horos has: 9 is never
// raised, #CP needs CR4.CET, #HV and #VC need SEV.
constexpr u32 exception_vectors =
    0x3fbu | 0x1fu << 10 | 0xfu << 16 | 1u << 21 | 1u << 28 | 1u << 29 | 1u << 30;
constexpr u32 absent_exceptions = 1u << 9 | 1u << 21 | 1u << 28 | 1u << 29;

// §15.20: the types 0, 2, 3 and 4; type 3 has the vector of an exception that is possible in the
// guest's mode.
RuleId check_event(const Checked& c) {
    if ((c.event & svm::event::VALID) == 0)
        return RuleId::NONE;
    const u64 type = (c.event & svm::event::TYPE) >> svm::event::TYPE_SHIFT;
    if (type == 1 || type > 4)
        return RuleId::CTL_EVENT_TYPE;
    if (type != 3)
        return RuleId::NONE;
    const u64 vector = c.event & svm::event::VECTOR;
    if (vector > 31 || (exception_vectors >> vector & 1) == 0)
        return RuleId::CTL_EVENT_VECTOR;
    if ((absent_exceptions >> vector & 1) != 0)
        return RuleId::CTL_EVENT_VECTOR_FEATURE;
    const bool in_64_bit_mode = (c.cr0 & x86::cr0::PG) != 0 && (c.efer & x86::efer::LME) != 0 &&
                                (c.cs_attributes & x86::seg::L) != 0;
    if (in_64_bit_mode && vector == 5)
        return RuleId::CTL_EVENT_MODE;
    return in_64_bit_mode && vector == 4 ? RuleId::CTL_EVENT_MODE_OF : RuleId::NONE;
}

// A copy of the groups that the VMM changed.
struct Request {
    VcpuState s; // only the fields of `dirty` groups are filled in
    u32 dirty;
};

template <class T>
void copy(T& to, const T& from) {
    to = read_once(from);
}

void copy_segment(Segment& to, const Segment& from) {
    copy(to.selector, from.selector);
    to.attributes = read_once(from.attributes) & x86::seg::DEFINED;
    copy(to.limit, from.limit);
    copy(to.base, from.base);
}

void copy_control(VcpuState& to, const VcpuState& from) {
    copy(to.cr0, from.cr0);
    copy(to.cr3, from.cr3);
    copy(to.cr4, from.cr4);
    copy(to.efer, from.efer);
}

void copy_debug(VcpuState& to, const VcpuState& from) {
    for (u32 i = 0; i < 4; ++i)
        copy(to.dr[i], from.dr[i]);
    copy(to.dr6, from.dr6);
    copy(to.dr7, from.dr7);
}

void copy_system(VcpuState& to, const VcpuState& from) {
    for_system(to, from, [](auto& t, const auto& f) { copy(t, f); });
    copy(to.pat, from.pat);
}

void copy_policy(VcpuState& to, const VcpuState& from) {
    copy(to.tsc_offset, from.tsc_offset);
    copy(to.xcr0, from.xcr0);
    copy(to.exception_exits, from.exception_exits);
    copy(to.extra_exits, from.extra_exits);
}

void copy_events(VcpuState& to, const VcpuState& from) {
    to.inject = read_once(from.inject) & ~svm::event::RESERVED;
    copy(to.deadline, from.deadline);
    copy(to.pending_interrupt, from.pending_interrupt);
    copy(to.requests, from.requests);
    copy(to.interrupt_shadow, from.interrupt_shadow);
    copy(to.tpr, from.tpr);
}

// The state as it would be with the request: changed groups from it, the others from the VMCB. An
// event that is still to be delivered there counts like one that is asked for.
Checked merge(const Request& r, const svm::Vmcb& b) {
    const svm::SaveArea& save = b.save;
    Checked c{save.cr0,          save.cr3, save.cr4,   save.efer & ~x86::efer::SVME,
              save.dr6,          save.dr7, save.g_pat, b.control.event_inj,
              save.cs.attributes};
    if ((r.dirty & group::events) != 0)
        c.event = r.s.inject;
    if ((r.dirty & group::control) != 0) {
        c.cr0 = r.s.cr0;
        c.cr3 = r.s.cr3;
        c.cr4 = r.s.cr4;
        c.efer = r.s.efer & ~x86::efer::SVME; // the host's (§15.5.1 wants it set), not the VMM's
    }
    if ((r.dirty & group::segments) != 0)
        c.cs_attributes = r.s.cs.attributes;
    if ((r.dirty & group::debug) != 0) {
        c.dr6 = r.s.dr6;
        c.dr7 = r.s.dr7;
    }
    if ((r.dirty & group::system) != 0)
        c.pat = r.s.pat;
    return c;
}

void put_segment(svm::Segment& to, const Segment& from) {
    to.selector = from.selector;
    to.attributes = from.attributes;
    to.limit = from.limit;
    to.base = from.base;
}

void put_control(svm::SaveArea& save, const VcpuState& s) {
    const bool long_mode = (s.cr0 & x86::cr0::PG) != 0 && (s.efer & x86::efer::LME) != 0;
    save.cr0 = s.cr0;
    save.cr3 = s.cr3;
    save.cr4 = s.cr4;
    save.efer = (s.efer & ~x86::efer::LMA) | x86::efer::SVME | (long_mode ? x86::efer::LMA : 0);
}

void put_segments(svm::SaveArea& save, const VcpuState& s) {
    for_segments(save, s, put_segment);
    save.cpl = static_cast<u8>((s.ss.attributes & x86::seg::DPL_MASK) >> x86::seg::DPL_SHIFT);
}

void put_debug(Vcpu& vcpu, svm::Vmcb& b, const VcpuState& s) {
    for (u32 i = 0; i < 4; ++i)
        vcpu.dr[i] = s.dr[i];
    b.save.dr6 = s.dr6;
    b.save.dr7 = s.dr7;
}

void put_system(svm::SaveArea& save, const VcpuState& s) {
    for_system(save, s, assign);
    save.g_pat = s.pat;
}

u32 optional_cr(u32 extra) {
    return ((extra & extra_exit::cr3_write) != 0 ? svm::intercept_write(3) : 0) |
           ((extra & extra_exit::cr0_write) != 0 ? svm::intercept_write(0) : 0) |
           ((extra & extra_exit::cr4_write) != 0 ? svm::intercept_write(4) : 0) |
           ((extra & extra_exit::cr8) != 0 ? svm::intercept_read(8) | svm::intercept_write(8) : 0);
}

u32 optional_misc1(u32 extra) {
    using svm::bit;
    using svm::Misc1;
    constexpr u32 tables = bit(Misc1::IDTR_READ) | bit(Misc1::GDTR_READ) | bit(Misc1::LDTR_READ) |
                           bit(Misc1::TR_READ) | bit(Misc1::IDTR_WRITE) | bit(Misc1::GDTR_WRITE) |
                           bit(Misc1::LDTR_WRITE) | bit(Misc1::TR_WRITE);
    return ((extra & extra_exit::pause) != 0 ? bit(Misc1::PAUSE) : 0) |
           ((extra & extra_exit::rdtsc) != 0 ? bit(Misc1::RDTSC) : 0) |
           ((extra & extra_exit::invlpg) != 0 ? bit(Misc1::INVLPG) : 0) |
           ((extra & extra_exit::descriptor_access) != 0 ? tables : 0);
}

// Exits that the windows of put_interrupts need; they are not policy.
constexpr u32 window_exits = svm::bit(svm::Misc1::VINTR) | svm::bit(svm::Misc1::IRET);

void put_policy(Vcpu& vcpu, svm::ControlArea& control, const VcpuState& s) {
    control.tsc_offset = s.tsc_offset;
    vcpu.xcr0 = s.xcr0;
    vcpu.exception_exits = s.exception_exits;
    vcpu.extra_exits = s.extra_exits;
    control.intercept_exceptions = s.exception_exits | mandatory::exceptions;
    control.intercept_misc1 =
        (control.intercept_misc1 & window_exits) | mandatory::misc1 | optional_misc1(s.extra_exits);
    // Breakpoint registers exit until the guest uses them; on request every access always does.
    constexpr u32 addresses = 0x000f'000f;
    constexpr u32 all_debug = 0x00ff'00ff;
    const bool debug_exits = (s.extra_exits & extra_exit::dr_access) != 0;
    if (debug_exits || control.intercept_dr == all_debug) {
        vcpu.dr_live = 0;
        control.intercept_dr = debug_exits ? all_debug : addresses;
    }
    const bool rdtscp = (s.extra_exits & extra_exit::rdtsc) != 0;
    control.intercept_misc2 = mandatory::misc2 | (rdtscp ? bit(svm::Misc2::RDTSCP) : 0);
}

void read_request(Request& r, const VcpuState& page, u32 dirty) {
    r.dirty = dirty;
    if ((dirty & group::events) != 0)
        copy_events(r.s, page);
    if ((dirty & group::fault_address) != 0)
        copy(r.s.cr2, page.cr2);
    if ((dirty & group::control) != 0)
        copy_control(r.s, page);
    if ((dirty & group::segments) != 0)
        for_segments(r.s, page, copy_segment);
    if ((dirty & group::debug) != 0)
        copy_debug(r.s, page);
    if ((dirty & group::system) != 0)
        copy_system(r.s, page);
    if ((dirty & group::policy) != 0)
        copy_policy(r.s, page);
}

// §15.21.4: the virtual interrupt. A window is a virtual interrupt that exits instead of being
// delivered.
void put_interrupts(Vcpu& vcpu, svm::ControlArea& control, const VcpuState& s) {
    const bool window = (s.requests & request::window) != 0;
    const bool deliver = !window && (s.pending_interrupt & pending::valid) != 0;
    const u8 vector = static_cast<u8>(s.pending_interrupt);
    u32 ctl = svm::int_ctl::V_INTR_MASKING | (s.tpr & svm::int_ctl::V_TPR_PRIO);
    if (deliver)
        ctl |= svm::int_ctl::V_IRQ | static_cast<u32>(vector >> 4)
                                         << svm::int_ctl::V_INTR_PRIO_SHIFT;
    if (window)
        ctl |= svm::int_ctl::V_IRQ | svm::int_ctl::V_IGN_TPR | svm::int_ctl::V_INTR_PRIO;
    control.int_ctl = ctl;
    control.v_intr_vector = deliver ? vector : 0;
    control.intercept_misc1 = (control.intercept_misc1 & ~window_exits) |
                              (window ? bit(svm::Misc1::VINTR) : 0) |
                              ((s.requests & request::nmi_window) != 0 ? bit(svm::Misc1::IRET) : 0);
    vcpu.delivering = deliver;
}

void put_events(Vcpu& vcpu, svm::ControlArea& control, const VcpuState& s) {
    control.event_inj = (s.inject & svm::event::VALID) != 0 ? s.inject : 0;
    control.int_state = s.interrupt_shadow & svm::int_state::INTERRUPT_SHADOW;
    put_interrupts(vcpu, control, s);
    vcpu.deadline = s.deadline;
}

// The first rule that the request breaks.
u32 check(const Request& r, const svm::Vmcb& b) {
    const Checked merged = merge(r, b);
    if (const RuleId rule = check_event(merged); rule != RuleId::NONE)
        return static_cast<u32>(rule);
    if ((r.dirty &
         (group::control | group::segments | group::debug | group::system | group::policy)) == 0)
        return 0;
    if (const RuleId rule = check_registers(merged); rule != RuleId::NONE)
        return static_cast<u32>(rule);
    if (const RuleId rule = check_paging(merged); rule != RuleId::NONE)
        return static_cast<u32>(rule);
    if ((r.dirty & group::policy) != 0) {
        if (const u32 rule = check_policy(r.s.xcr0, r.s.extra_exits); rule != 0)
            return rule;
    }
    return would_lose_host(merged.cr0, merged.cr4, merged.efer) ? guard_rule::long_mode_without_pae
                                                                : 0;
}

void put_request(Vcpu& vcpu, svm::Vmcb& b, const Request& r) {
    if ((r.dirty & group::events) != 0)
        put_events(vcpu, b.control, r.s);
    if ((r.dirty & group::fault_address) != 0)
        b.save.cr2 = r.s.cr2;
    if ((r.dirty & group::control) != 0) {
        put_control(b.save, r.s);
        vcpu.tlb_era = 0; // other page tables or paging modes: a new tag (§15.16)
    }
    if ((r.dirty & group::segments) != 0)
        put_segments(b.save, r.s);
    if ((r.dirty & group::debug) != 0)
        put_debug(vcpu, b, r.s);
    if ((r.dirty & group::system) != 0)
        put_system(b.save, r.s);
    if ((r.dirty & group::policy) != 0)
        put_policy(vcpu, b.control, r.s);
    if ((r.dirty & (group::control | group::policy)) != 0) {
        b.control.intercept_cr = optional_cr(vcpu.extra_exits);
        guard_long_mode(b);
    }
}

[[gnu::noinline]] u32 take_groups(Vcpu& vcpu, svm::Vmcb& b, VcpuState& page, u32 dirty) {
    Request r; // of the groups that are not dirty nothing is used
    read_request(r, page, dirty);
    if (const u32 rule = check(r, b); rule != 0)
        return rule;
    put_request(vcpu, b, r);
    page.dirty = 0;
    if ((dirty & group::events) != 0)
        page.inject = 0;
    return 0;
}

} // namespace

void svm_init_vcpu(Frame f) {
    Vcpu& vcpu = vcpus[f];
    svm::Vmcb& b = vmcbs[vcpu.control];
    b.control.intercept_exceptions = mandatory::exceptions;
    b.control.intercept_misc1 = mandatory::misc1;
    b.control.intercept_misc2 = mandatory::misc2;
    b.control.intercept_misc3 = mandatory::misc3;
    b.control.intercept_dr = 0x000f'000f; // DR0..DR3 until the guest uses them
    b.control.nested_ctl = svm::nested_ctl::NP_ENABLE;
    b.control.nested_cr3 = u64{spaces[vcpu.space].root} << frame_bits;
    b.control.int_ctl = svm::int_ctl::V_INTR_MASKING;
    b.save.efer = x86::efer::SVME;
    b.save.cr0 = x86::cr0::ET | x86::cr0::CD | x86::cr0::NW; // as after RESET (§14.1.3)
    b.save.g_pat = x86::PAT_RESET;
    b.save.dr6 = x86::dr6::RESET;
    b.save.dr7 = x86::dr7::RESET;
    b.save.rflags = x86::rflags::ONE;
}

[[gnu::always_inline]] u32 svm_take_state(Frame f) {
    Vcpu& vcpu = vcpus[f];
    svm::Vmcb& b = vmcbs[vcpu.control];
    VcpuState& page = state_pages[vcpu.state].state;
    if (const u32 dirty = read_once(page.dirty) & group::all; dirty != 0) [[unlikely]] {
        if (const u32 rule = take_groups(vcpu, b, page, dirty); rule != 0)
            return rule;
    }
    b.save.rip = read_once(page.rip);
    b.save.rflags = (read_once(page.rflags) & x86::rflags::DEFINED) | x86::rflags::ONE;
    b.save.rax = read_once(page.gpr[0]);
    b.save.rsp = read_once(page.gpr[4]);
    return 0;
}

} // namespace horos::core
