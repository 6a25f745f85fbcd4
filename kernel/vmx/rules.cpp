// The rules of a VM entry about the guest's state (§26.3.1), as far as a VMM's request can break
// them: what the kernel alone writes keeps them by construction. Names are the model's.
#include "kernel/vmx/vmx.hpp"

#pragma clang section text = ".vmxtext"

namespace horos::core {

namespace {

using vmx::RuleId;
using vmx::SegmentCheck;
using Register = vmx::Segment;

constexpr u64 high_half = ~u64{0xffff'ffff};

bool is_paging(const VcpuState& s) { return (s.cr0 & x86::cr0::PG) != 0; }
bool is_real(const VcpuState& s) { return (s.cr0 & x86::cr0::PE) == 0; }
bool is_long(const VcpuState& s) { return is_paging(s) && (s.efer & x86::efer::LME) != 0; }
bool is_v86(const VcpuState& s) { return (s.rflags & x86::rflags::VM) != 0; }
u32 type_of(const Segment& s) { return s.attributes & 15u; }
u32 dpl_of(const Segment& s) { return u32{s.attributes} >> x86::seg::DPL_SHIFT & 3; }

struct Check {
    RuleId rule;
    bool broken;
};
template <u32 count>
RuleId first_broken(const Check (&checks)[count]) {
    for (const Check& c : checks)
        if (c.broken)
            return c.rule;
    return RuleId::NONE;
}

// §26.3.1.1
RuleId check_registers(const VcpuState& s) {
    const Check checks[] = {
        {RuleId::GUEST_CR0, (s.cr0 & high_half) != 0},
        {RuleId::GUEST_CR0_PG_PE, is_paging(s) && is_real(s)},
        {RuleId::GUEST_CR4, (s.cr4 & ~vmx_limits.cr4) != 0},
        {RuleId::GUEST_IA32E_PAE, is_long(s) && (s.cr4 & x86::cr4::PAE) == 0},
        {RuleId::GUEST_PCIDE, !is_long(s) && (s.cr4 & x86::cr4::PCIDE) != 0},
        {RuleId::GUEST_CR3, s.cr3 >> machine.physical_bits != 0},
        {RuleId::GUEST_EFER_RESERVED, (s.efer & ~guest_efer) != 0},
        {RuleId::GUEST_DR7, ((s.dr6 | s.dr7) & high_half) != 0},
        {RuleId::GUEST_SYSENTER_ESP, !is_canonical(s.sysenter_esp)},
        {RuleId::GUEST_SYSENTER_EIP, !is_canonical(s.sysenter_eip)},
        {RuleId::GUEST_PAT, !pat_is_valid(s.pat)},
    };
    return first_broken(checks);
}

// The types that each segment register may have while it is usable: accessed, code readable where
// it is data, data in CS for unrestricted guests, a busy TSS.
constexpr u32 data = 1u << 1 | 1u << 3 | 1u << 5 | 1u << 7 | 1u << 11 | 1u << 15;
constexpr u32 code = 1u << 3 | 1u << 9 | 1u << 11 | 1u << 13 | 1u << 15;
constexpr u32 types[] = {data, code, 1u << 3 | 1u << 7, data,
                         data, data, 1u << 2,           1u << 3 | 1u << 11};
bool wrong_type(Register n, u32 type, bool long_mode) {
    const bool short_task = n == Register::TR && type == 3;
    return (types[static_cast<u32>(n)] >> type & 1) == 0 || (short_task && long_mode);
}

bool wrong_code_dpl(u32 type, u32 dpl, u32 stack_dpl) {
    return type == 3 ? dpl != 0 : (type & 4) != 0 ? dpl > stack_dpl : dpl != stack_dpl;
}

// A limit below 1 MiB counts bytes or pages; above, it must count pages and end with one.
bool wrong_granularity(const Segment& g) {
    return (g.attributes & x86::seg::G) != 0 ? (g.limit & 0xfff) != 0xfff
                                             : (g.limit & 0xfff0'0000) != 0;
}

// §26.3.1.2 outside virtual-8086 mode; the reserved bits are right by construction. CS and TR
// cannot be unusable.
RuleId check_segment(const VcpuState& s, Register n, const Segment& g) {
    const auto rule = [n](SegmentCheck c) { return vmx::segment_rule(n, c); };
    const bool present = (g.attributes & x86::seg::P) != 0;
    const bool cs = n == Register::CS;
    const bool usable = present || cs || n == Register::TR;
    const bool system = n >= Register::LDTR;
    const bool low = n <= Register::DS; // the processor keeps 32 bits of the base
    const bool flat_base = usable || (!low && n != Register::LDTR);
    constexpr u16 both = x86::seg::L | x86::seg::DB;
    const Check checks[] = {
        {rule(SegmentCheck::SELECTOR_TI), system && usable && (g.selector & 4) != 0},
        {rule(SegmentCheck::BASE_HIGH), low && flat_base && (g.base & high_half) != 0},
        {rule(SegmentCheck::BASE_CANONICAL), !low && flat_base && !is_canonical(g.base)},
        {rule(SegmentCheck::TYPE), usable && wrong_type(n, type_of(g), is_long(s))},
        {rule(SegmentCheck::S), usable && ((g.attributes & x86::seg::S) != 0) == system},
        {rule(SegmentCheck::DPL), cs && wrong_code_dpl(type_of(g), dpl_of(g), dpl_of(s.ss))},
        {rule(SegmentCheck::DPL_REAL),
         n == Register::SS && (type_of(s.cs) == 3 || is_real(s)) && dpl_of(g) != 0},
        {rule(SegmentCheck::P), usable && !present},
        {rule(SegmentCheck::DB), cs && is_long(s) && (g.attributes & both) == both},
        {rule(SegmentCheck::G), usable && wrong_granularity(g)},
    };
    return first_broken(checks);
}

RuleId check_v86_segment(Register n, const Segment& g) {
    const Check checks[] = {
        {vmx::segment_rule(n, SegmentCheck::BASE_V86), g.base != u64{g.selector} << 4},
        {vmx::segment_rule(n, SegmentCheck::LIMIT_V86), g.limit != 0xffff},
        {vmx::segment_rule(n, SegmentCheck::RIGHTS_V86), g.attributes != 0xf3},
    };
    return first_broken(checks);
}

RuleId check_segments(const VcpuState& s) {
    for (u32 i = 0; i < vmx::SEGMENTS; ++i) {
        const Register n = static_cast<Register>(i);
        const Segment& g = s.*segment_registers[i];
        const bool v86 = is_v86(s) && n < Register::LDTR;
        const RuleId rule = v86 ? check_v86_segment(n, g) : check_segment(s, n, g);
        if (rule != RuleId::NONE)
            return rule;
    }
    return RuleId::NONE;
}

// §26.3.1.3, §26.3.1.4
RuleId check_rest(const VcpuState& s) {
    const bool code_64 = is_long(s) && (s.cs.attributes & x86::seg::L) != 0;
    const u64 top = s.rip >> 48; // bit 47 does not count
    const Check checks[] = {
        {RuleId::GUEST_GDTR_BASE, !is_canonical(s.gdtr.base)},
        {RuleId::GUEST_GDTR_LIMIT, s.gdtr.limit > 0xffff},
        {RuleId::GUEST_IDTR_BASE, !is_canonical(s.idtr.base)},
        {RuleId::GUEST_IDTR_LIMIT, s.idtr.limit > 0xffff},
        {RuleId::GUEST_RIP_HIGH, !code_64 && (s.rip & high_half) != 0},
        {RuleId::GUEST_RIP_CANONICAL, top != 0 && top != 0xffff},
        {RuleId::GUEST_RFLAGS_VM, is_v86(s) && (is_long(s) || is_real(s))},
    };
    return first_broken(checks);
}

} // namespace

// Whether the guest is in an NMI does not matter: see inject().
RuleId check_event(const VcpuState& s, u64 cr0) {
    const u64 e = s.inject;
    const u64 vector = e & event::vector_mask;
    const u64 type = e >> event::type_shift & 7;
    const bool external = type == event::external;
    const bool nmi = type == event::nmi;
    const bool exception = type == event::exception;
    const bool has_code = (e & event::has_error_code) != 0;
    const bool needs_code = vector < 32 && (vmx::VECTORS_WITH_ERROR_CODE >> vector & 1) != 0;
    const bool delivers = exception && (cr0 & x86::cr0::PE) != 0; // none in real mode
    const bool shadow = (s.interrupt_shadow & 1) != 0;
    const bool open = (s.rflags & x86::rflags::IF) != 0;
    const Check checks[] = {
        {RuleId::EVENT_TYPE, type == 1 || type > event::software},
        {RuleId::EVENT_VECTOR_NMI, nmi && vector != 2},
        {RuleId::EVENT_VECTOR_EXCEPTION, exception && vector > 31},
        {RuleId::EVENT_ERROR_CODE_ABSENT, has_code && (!exception || (delivers && !needs_code))},
        {RuleId::EVENT_ERROR_CODE_PRESENT, delivers && needs_code && !has_code},
        {RuleId::EVENT_ERROR_CODE_HIGH,
         delivers && has_code && e >> event::error_code_shift > 0x7fff},
        {RuleId::EVENT_LENGTH, type == event::software && vmx_limits.any_length == 0},
        {RuleId::GUEST_RFLAGS_IF, external && !open},
        {RuleId::BLOCKING_EXTERNAL, external && shadow},
        {RuleId::BLOCKING_MOV_SS_NMI, nmi && shadow && !open},
    };
    return (e & event::valid) != 0 ? first_broken(checks) : RuleId::NONE;
}

RuleId check_entry(const VcpuState& s) {
    RuleId rule = check_registers(s);
    if (rule == RuleId::NONE)
        rule = check_segments(s);
    return rule != RuleId::NONE ? rule : check_rest(s);
}

} // namespace horos::core
