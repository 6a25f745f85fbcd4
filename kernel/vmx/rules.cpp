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

bool is_canonical(u64 address) { return (address + (u64{1} << 47)) >> 48 == 0; }
bool is_paging(const VcpuState& s) { return (s.cr0 & x86::cr0::PG) != 0; }
bool is_long(const VcpuState& s) { return is_paging(s) && (s.efer & x86::efer::LME) != 0; }
bool is_v86(const VcpuState& s) { return (s.rflags & x86::rflags::VM) != 0; }

bool pat_is_valid(u64 pat) {
    bool valid = true;
    for (u32 i = 0; i < 8; ++i) {
        const u64 type = (pat >> (8 * i)) & 0xff;
        valid &= type <= 1 || (type >= 4 && type <= 7);
    }
    return valid;
}

// §26.3.1.1
RuleId check_control(const VcpuState& s) {
    if ((s.cr0 & high_half) != 0)
        return RuleId::GUEST_CR0;
    if (is_paging(s) && (s.cr0 & x86::cr0::PE) == 0)
        return RuleId::GUEST_CR0_PG_PE;
    if ((s.cr4 & ~vmx_limits.cr4) != 0)
        return RuleId::GUEST_CR4;
    if (is_long(s) && (s.cr4 & x86::cr4::PAE) == 0)
        return RuleId::GUEST_IA32E_PAE;
    if (!is_long(s) && (s.cr4 & x86::cr4::PCIDE) != 0)
        return RuleId::GUEST_PCIDE;
    if ((s.cr3 & ~vmx_limits.physical_mask) != 0)
        return RuleId::GUEST_CR3;
    return (s.efer & ~vmx_limits.efer) != 0 ? RuleId::GUEST_EFER_RESERVED : RuleId::NONE;
}

RuleId check_others(const VcpuState& s) {
    if (((s.dr6 | s.dr7) & high_half) != 0)
        return RuleId::GUEST_DR7;
    if (!is_canonical(s.sysenter_esp))
        return RuleId::GUEST_SYSENTER_ESP;
    if (!is_canonical(s.sysenter_eip))
        return RuleId::GUEST_SYSENTER_EIP;
    return pat_is_valid(s.pat) ? RuleId::NONE : RuleId::GUEST_PAT;
}

// One segment register with what its checks need to know of the others.
struct Checked {
    u64 base;
    u32 limit, type, dpl;
    u16 selector, attributes;
    Register number;
    bool usable, is_long, is_real;
    u32 cs_type, ss_dpl;
};

bool wrong_type(const Checked& c) {
    switch (c.number) {
    case Register::CS: // 3: data, for unrestricted guests
        return c.type != 3 && (c.type & 9) != 9;
    case Register::SS:
        return c.usable && (c.type & 11) != 3;
    case Register::TR:
        return c.type != 11 && (c.is_long || c.type != 3);
    case Register::LDTR:
        return c.usable && c.type != 2;
    default:
        return c.usable && ((c.type & 1) == 0 || (c.type & 10) == 8);
    }
}

bool wrong_dpl(const Checked& c) {
    if (c.number != Register::CS)
        return false;
    return c.type == 3 ? c.dpl != 0 : (c.type & 4) != 0 ? c.dpl > c.ss_dpl : c.dpl != c.ss_dpl;
}

// A limit below 1 MiB counts bytes or pages; above, it must count pages and end with one.
bool wrong_granularity(const Checked& c) {
    return (c.attributes & x86::seg::G) != 0 ? (c.limit & 0xfff) != 0xfff
                                             : (c.limit & 0xfff0'0000) != 0;
}

bool is_system(const Checked& c) { return c.number >= Register::LDTR; }

bool wrong_base(const Checked& c) {
    return c.number <= Register::DS
               ? c.usable && (c.base & high_half) != 0
               : (c.usable || c.number != Register::LDTR) && !is_canonical(c.base);
}

// §26.3.1.2 outside virtual-8086 mode; P and the reserved bits are right by construction, but CS
// and TR cannot be unusable.
SegmentCheck check_segment(const Checked& c, bool& wrong) {
    wrong = true;
    if (is_system(c) && c.usable && (c.selector & 4) != 0)
        return SegmentCheck::SELECTOR_TI;
    if (wrong_base(c))
        return c.number <= Register::DS ? SegmentCheck::BASE_HIGH : SegmentCheck::BASE_CANONICAL;
    if (wrong_type(c))
        return SegmentCheck::TYPE;
    if (c.usable && ((c.attributes & x86::seg::S) != 0) == is_system(c))
        return SegmentCheck::S;
    if (wrong_dpl(c))
        return SegmentCheck::DPL;
    if (c.number == Register::SS && (c.cs_type == 3 || c.is_real) && c.dpl != 0)
        return SegmentCheck::DPL_REAL;
    if (c.usable && (c.attributes & x86::seg::P) == 0)
        return SegmentCheck::P;
    if (c.number == Register::CS && c.is_long &&
        (c.attributes & (x86::seg::L | x86::seg::DB)) == (x86::seg::L | x86::seg::DB))
        return SegmentCheck::DB;
    wrong = c.usable && wrong_granularity(c);
    return SegmentCheck::G;
}

SegmentCheck check_v86_segment(const Segment& s, bool& wrong) {
    wrong = true;
    if (s.base != u64{s.selector} << 4)
        return SegmentCheck::BASE_V86;
    if (s.limit != 0xffff)
        return SegmentCheck::LIMIT_V86;
    wrong = s.attributes != 0xf3;
    return SegmentCheck::RIGHTS_V86;
}

Segment segment(const VcpuState& s, u32 n) {
    switch (n) {
    case 0:
        return s.es;
    case 1:
        return s.cs;
    case 2:
        return s.ss;
    case 3:
        return s.ds;
    case 4:
        return s.fs;
    case 5:
        return s.gs;
    case 6:
        return s.ldtr;
    default:
        return s.tr;
    }
}

RuleId check_segments(const VcpuState& s) {
    const auto dpl = [](u16 a) { return u32{a} >> x86::seg::DPL_SHIFT & 3; };
    for (u32 n = 0; n < vmx::SEGMENTS; ++n) {
        const Segment g = segment(s, n);
        const Register number = static_cast<Register>(n);
        const bool present = (g.attributes & x86::seg::P) != 0;
        const bool always = number == Register::CS || number == Register::TR;
        const Checked c{g.base,
                        g.limit,
                        g.attributes & 15u,
                        dpl(g.attributes),
                        g.selector,
                        g.attributes,
                        number,
                        present || always,
                        is_long(s),
                        (s.cr0 & x86::cr0::PE) == 0,
                        s.cs.attributes & 15u,
                        dpl(s.ss.attributes)};
        bool wrong;
        const SegmentCheck check = is_v86(s) && number < Register::LDTR
                                       ? check_v86_segment(g, wrong)
                                       : check_segment(c, wrong);
        if (wrong)
            return vmx::segment_rule(number, check);
    }
    return RuleId::NONE;
}

// §26.3.1.3, §26.3.1.4
RuleId check_rest(const VcpuState& s) {
    if (!is_canonical(s.gdtr.base))
        return RuleId::GUEST_GDTR_BASE;
    if (s.gdtr.limit > 0xffff)
        return RuleId::GUEST_GDTR_LIMIT;
    if (!is_canonical(s.idtr.base))
        return RuleId::GUEST_IDTR_BASE;
    if (s.idtr.limit > 0xffff)
        return RuleId::GUEST_IDTR_LIMIT;
    const bool code_64 = is_long(s) && (s.cs.attributes & x86::seg::L) != 0;
    if (!code_64 && (s.rip & high_half) != 0)
        return RuleId::GUEST_RIP_HIGH;
    if (s.rip >> 48 != 0 && s.rip >> 48 != 0xffff) // bit 47 does not count
        return RuleId::GUEST_RIP_CANONICAL;
    return is_v86(s) && (is_long(s) || (s.cr0 & x86::cr0::PE) == 0) ? RuleId::GUEST_RFLAGS_VM
                                                                    : RuleId::NONE;
}

} // namespace

RuleId check_entry(const VcpuState& s) {
    if (const RuleId rule = check_control(s); rule != RuleId::NONE)
        return rule;
    if (const RuleId rule = check_others(s); rule != RuleId::NONE)
        return rule;
    if (const RuleId rule = check_segments(s); rule != RuleId::NONE)
        return rule;
    return check_rest(s);
}

} // namespace horos::core
