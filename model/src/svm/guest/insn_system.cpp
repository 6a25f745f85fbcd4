// CPUID, the time stamp counter, HLT, PAUSE, MONITOR/MWAIT, XSETBV, cache and TLB instructions.
#include "guest/sensitive.hpp"

namespace horos::model::svm::guest {

namespace {

namespace id = x86::cpuid;
using horos::svm::Misc1;
using horos::svm::Misc2;
using horos::svm::Misc3;

// ---- CPUID ----

struct Dynamic {
    uint32_t leaf;
    uint32_t known[4]; // eax, ebx, ecx, edx
};
// Leaves with parts that depend on more than the part: the APIC ID, the topology, XCR0.
constexpr Dynamic DYNAMIC[] = {
    {1, {~0u, 0x0000ffff, ~0u, ~0u}}, {0xb, {0, 0, 0, 0}},        {0xd, {0, 0, 0, 0}},
    {0x8000001d, {0, 0, 0, 0}},       {0x8000001e, {0, 0, 0, 0}},
};

void execute_cpuid(Cpu& cpu, const Insn& insn) {
    const auto function = static_cast<uint32_t>(cpu.gpr32(Gpr::RAX));
    const auto index = static_cast<uint32_t>(cpu.gpr32(Gpr::RCX));
    CpuidLeaf leaf = cpu.profile.execute_cpuid(function, index);
    const uint32_t top = cpu.profile.leaf(function >= 0x80000000 ? 0x80000000 : 0).eax;
    uint32_t known[4] = {~0u, ~0u, ~0u, ~0u};
    bool listed = false;
    for (const CpuidLeaf& l : cpu.profile.cpuid) {
        listed = listed || l.leaf == function;
    }
    if (function > top || !listed) {
        std::fill(std::begin(known), std::end(known), 0);
    }
    for (const Dynamic& d : DYNAMIC) {
        if (d.leaf == function) {
            std::copy(std::begin(d.known), std::end(d.known), std::begin(known));
        }
    }
    if (function == 1) {
        const bool osxsave = (cpu.cr4 & x86::cr4::OSXSAVE) != 0;
        leaf.ecx = (leaf.ecx & ~id::L1_ECX_OSXSAVE) | (osxsave ? id::L1_ECX_OSXSAVE : 0);
    }
    if (function == 7) {
        constexpr uint32_t OSPKE = 1u << 4;
        leaf.ecx = (leaf.ecx & ~OSPKE) | ((cpu.cr4 & x86::cr4::PKE) != 0 ? OSPKE : 0);
    }
    cpu.set_gpr32(Gpr::RAX, {leaf.eax, known[0]});
    cpu.set_gpr32(Gpr::RBX, {leaf.ebx, known[1]});
    cpu.set_gpr32(Gpr::RCX, {leaf.ecx, known[2]});
    cpu.set_gpr32(Gpr::RDX, {leaf.edx, known[3]});
    advance(cpu, insn);
}

// ---- time stamp counter ----

void tsc_checks(Cpu& cpu, const Insn&) {
    if ((cpu.cr4 & x86::cr4::TSD) != 0 && cpu.cpl != 0) {
        gp0();
    }
}
void read_tsc(Cpu& cpu) {
    cpu.set_gpr32(Gpr::RAX, {0, 0});
    cpu.set_gpr32(Gpr::RDX, {0, 0});
    cpu.result.tsc_reads.push_back({cpu.control.tsc_offset});
}
bool rdtsc_intercept_differs(const Cpu& cpu) {
    return cpu.intercepted(Misc1::RDTSC) != cpu.intercepted(Misc2::RDTSCP) ||
           cpu.intercepted(Misc1::RDTSC);
}
void execute_rdtsc(Cpu& cpu, const Insn& insn) {
    read_tsc(cpu);
    advance(cpu, insn);
}
void rdtscp_checks(Cpu& cpu, const Insn& insn) {
    if ((cpu.profile.leaf(id::LEAF_EXT_FEATURES).edx & id::E1_EDX_RDTSCP) == 0) {
        ud();
    }
    tsc_checks(cpu, insn);
    if (rdtsc_intercept_differs(cpu) && cpu.deviates(Deviation::RDTSCP_IS_RDTSC)) {
        if (cpu.intercepted(Misc1::RDTSC)) {
            exit_instruction(cpu, ExitCode::RDTSC);
        }
        skip_intercept(cpu);
    }
}
void execute_rdtscp(Cpu& cpu, const Insn& insn) {
    read_tsc(cpu);
    cpu.set_gpr32(Gpr::RCX, cpu.tsc_aux);
    advance(cpu, insn);
}
void rdpmc_checks(Cpu& cpu, const Insn&) {
    if (cpu.cpl != 0 && (cpu.cr4 & x86::cr4::PCE) == 0) {
        gp0();
    }
    // Counters 0 to 3 exist on every AMD64 part; more depends on features that vary.
    if (cpu.gpr32(Gpr::RCX) > 3 && !cpu.choices.flip()) {
        gp0();
    }
}
void execute_rdpmc(Cpu& cpu, const Insn& insn) {
    if (cpu.deviates(Deviation::RDPMC_ABSENT)) {
        ud();
    }
    cpu.set_gpr32(Gpr::RAX, {0, 0});
    cpu.set_gpr32(Gpr::RDX, {0, 0});
    advance(cpu, insn);
}
void rdpru_checks(Cpu& cpu, const Insn&) {
    if ((cpu.profile.leaf(id::LEAF_ADDRESS_SIZES).ebx & id::E8_EBX_RDPRU) == 0) {
        ud();
    }
    if ((cpu.cr4 & x86::cr4::TSD) != 0 && cpu.cpl != 0) {
        ud();
    }
}

// ---- waiting ----

bool virtual_interrupt_pending(const Cpu& cpu) {
    return (cpu.int_ctl & (horos::svm::int_ctl::V_IRQ | horos::svm::int_ctl::V_NMI)) != 0;
}
void execute_hlt(Cpu& cpu, const Insn& insn) {
    if (cpu.has(id::SVM_EDX_IDLE_HLT) && cpu.intercepted(Misc3::IDLE_HLT) &&
        !virtual_interrupt_pending(cpu)) {
        exit_instruction(cpu, ExitCode::IDLE_HLT);
    }
    cpu.waiting = true;
    advance(cpu, insn);
}

// The filter counts PAUSEs down; table 15-7 exits below zero, §15.14.4 at zero.
void pause_filter(Cpu& cpu, const Insn&) {
    if (!cpu.intercepted(Misc1::PAUSE)) {
        return;
    }
    if (cpu.pause_budget < 0) {
        exit_instruction(cpu, ExitCode::PAUSE);
    }
    if (cpu.has(id::SVM_EDX_PAUSE_FILTER_THRESHOLD) && cpu.control.pause_filter_threshold != 0) {
        throw Open{"the PAUSE filter threshold depends on time"};
    }
    const int left = --cpu.pause_budget;
    if (left < 0 || (left == 0 && cpu.choices.flip())) {
        cpu.pause_budget = -1;
        exit_instruction(cpu, ExitCode::PAUSE);
    }
}

void invd_checks(Cpu& cpu, const Insn& insn) {
    need_cpl0(cpu, insn);
    const bool differs = cpu.intercepted(Misc1::INVD) || cpu.intercepted(Misc2::WBINVD);
    if (differs && cpu.deviates(Deviation::INVD_IS_WBINVD)) {
        if (cpu.intercepted(Misc2::WBINVD)) {
            exit_instruction(cpu, ExitCode::WBINVD);
        }
        skip_intercept(cpu);
    }
}

bool has_monitor(const Cpu& cpu, const Insn& insn) {
    const bool x = insn.zydis.mnemonic == ZYDIS_MNEMONIC_MONITORX ||
                   insn.zydis.mnemonic == ZYDIS_MNEMONIC_MWAITX;
    return x ? (cpu.profile.leaf(id::LEAF_EXT_FEATURES).ecx & id::E1_ECX_MONITORX) != 0
             : (cpu.profile.leaf(id::LEAF_FEATURES).ecx & id::L1_ECX_MONITOR) != 0;
}
bool is_extended(const Insn& insn) {
    return insn.zydis.mnemonic == ZYDIS_MNEMONIC_MONITORX ||
           insn.zydis.mnemonic == ZYDIS_MNEMONIC_MWAITX;
}
void monitor_checks(Cpu& cpu, const Insn& insn) {
    if (!has_monitor(cpu, insn) || (cpu.cpl != 0 && !is_extended(insn))) {
        ud();
    }
    if (cpu.gpr32(Gpr::RCX) != 0) {
        gp0();
    }
    if (cpu.deviates(Deviation::MONITOR_NO_ACCESS)) {
        return;
    }
    const uint64_t offset = cpu.code64() ? cpu.gpr_value(Gpr::RAX) : cpu.gpr32(Gpr::RAX);
    cpu.read_linear(cpu.linear(SegReg::DS, offset, 1, Access::READ), 1);
}
void mwait_checks(Cpu& cpu, const Insn& insn) {
    if (!has_monitor(cpu, insn) || (cpu.cpl != 0 && !is_extended(insn))) {
        ud();
    }
    const uint64_t allowed = is_extended(insn) ? 3 : 1;
    if ((cpu.gpr32(Gpr::RCX) & ~allowed) != 0) {
        gp0();
    }
    // The conditional intercept comes first, if the monitor is armed (it rarely stays so).
    if (cpu.intercepted(Misc2::MWAIT_ARMED) && cpu.choices.flip()) {
        exit_instruction(cpu, ExitCode::MWAIT_CONDITIONAL);
    }
}
void execute_mwait(Cpu& cpu, const Insn& insn) {
    cpu.waiting = cpu.choices.flip();
    advance(cpu, insn);
}

// ---- XSETBV ----

void xsetbv_checks(Cpu& cpu, const Insn& insn) {
    const bool differs =
        cpu.intercepted(Misc2::XSETBV) || (cpu.cpl != 0 && (cpu.cr4 & x86::cr4::OSXSAVE) == 0);
    if (differs && cpu.deviates(Deviation::XSETBV_NO_INTERCEPT)) {
        need_cpl0(cpu, insn);
        skip_intercept(cpu);
    }
    if ((cpu.cr4 & x86::cr4::OSXSAVE) == 0) {
        ud();
    }
}
void execute_xsetbv(Cpu& cpu, const Insn& insn) {
    namespace x = x86::xcr0;
    need_cpl0(cpu, insn);
    const uint64_t value = cpu.gpr32(Gpr::RDX) << 32 | cpu.gpr32(Gpr::RAX);
    const CpuidLeaf leaf = cpu.profile.leaf(id::LEAF_XSTATE);
    const uint64_t supported = static_cast<uint64_t>(leaf.edx) << 32 | leaf.eax;
    const bool avx_alone = (value & x::AVX) != 0 && (value & x::SSE) == 0;
    if (cpu.gpr32(Gpr::RCX) != 0 || (value & x::X87) == 0 || avx_alone) {
        gp0();
    }
    if ((value & ~supported) != 0) {
        gp0();
    }
    if ((value & ~7ull) != 0) {
        throw Open{"XCR0 components beyond AVX have further rules"};
    }
    cpu.xcr0 = {value, ~0ull};
    advance(cpu, insn);
}

// ---- TLB ----

uint64_t invlpg_address(Cpu& cpu, const Insn& insn) {
    const ZydisDecodedOperand& operand = insn.operands[0];
    const SegReg r = cpu.segment_of(operand);
    const bool flat = cpu.code64() && r != SegReg::FS && r != SegReg::GS;
    uint64_t address = cpu.effective_offset(operand) + (flat ? 0 : cpu.sreg(r).base);
    if (!cpu.code64()) {
        address &= 0xffffffffull;
    }
    return address;
}
void invlpg_info(Cpu& cpu, const Insn& insn, Exit& exit) {
    const uint64_t address = invlpg_address(cpu, insn);
    if (cpu.has(id::SVM_EDX_DECODE_ASSISTS)) {
        exit.info1 = {address, ~0ull};
    }
}
void flush_tlb(Cpu& cpu, const Insn& insn) {
    cpu.tables_written = false;
    advance(cpu, insn);
}
void invlpg(Cpu& cpu, const Insn& insn) {
    if (!cpu.tlb.empty()) {
        cpu.drop_translation(invlpg_address(cpu, insn));
    }
    flush_tlb(cpu, insn);
}
void invpcid_checks(Cpu& cpu, const Insn& insn) {
    if ((cpu.profile.leaf(id::LEAF_STRUCTURED).ebx & id::L7_EBX_INVPCID) == 0) {
        ud();
    }
    need_cpl0(cpu, insn);
}
void execute_invpcid(Cpu& cpu, const Insn& insn) {
    const uint64_t type = cpu.known_value(cpu.read_operand(insn.operands[0]));
    if (type > 3) {
        gp0();
    }
    const SegReg r = cpu.segment_of(insn.operands[1]);
    const uint64_t offset = cpu.effective_offset(insn.operands[1]);
    const uint64_t low = cpu.known_value(cpu.read(r, offset, 8));
    const uint64_t address = cpu.known_value(cpu.read(r, offset + 8, 8));
    const bool pcid_off = (cpu.cr4 & x86::cr4::PCIDE) == 0;
    if ((low >> 12) != 0 || (type == 0 && !cpu.canonical(address)) ||
        (pcid_off && type < 2 && (low & 0xfff) != 0)) {
        gp0();
    }
    if (type == 0) {
        cpu.drop_translation(address);
    } else {
        cpu.drop_translations(type == 2);
    }
    flush_tlb(cpu, insn);
}
template <uint32_t EBX_BIT>
void extension_checks(Cpu& cpu, const Insn& insn) {
    if ((cpu.profile.leaf(id::LEAF_ADDRESS_SIZES).ebx & EBX_BIT) == 0) {
        ud();
    }
    need_cpl0(cpu, insn);
}
void not_followed(Cpu&, const Insn&) { throw Open{"this instruction's execution is not modelled"}; }

constexpr SensitiveRow ROWS[] = {
    {ZYDIS_MNEMONIC_CPUID, no_checks, at(Misc1::CPUID), ExitCode::CPUID, nullptr, execute_cpuid},
    {ZYDIS_MNEMONIC_RDTSC, tsc_checks, at(Misc1::RDTSC), ExitCode::RDTSC, nullptr, execute_rdtsc},
    {ZYDIS_MNEMONIC_RDTSCP, rdtscp_checks, at(Misc2::RDTSCP), ExitCode::RDTSCP, nullptr,
     execute_rdtscp},
    {ZYDIS_MNEMONIC_RDPMC, rdpmc_checks, at(Misc1::RDPMC), ExitCode::RDPMC, nullptr, execute_rdpmc},
    {ZYDIS_MNEMONIC_RDPRU, rdpru_checks, at(Misc2::RDPRU), ExitCode::RDPRU, nullptr, not_followed},
    {ZYDIS_MNEMONIC_HLT, need_cpl0, at(Misc1::HLT), ExitCode::HLT, nullptr, execute_hlt},
    {ZYDIS_MNEMONIC_PAUSE, pause_filter, {}, ExitCode::PAUSE, nullptr, nothing},
    {ZYDIS_MNEMONIC_MONITOR, monitor_checks, at(Misc2::MONITOR), ExitCode::MONITOR, nullptr,
     nothing},
    {ZYDIS_MNEMONIC_MONITORX, monitor_checks, at(Misc2::MONITOR), ExitCode::MONITOR, nullptr,
     nothing},
    {ZYDIS_MNEMONIC_MWAIT, mwait_checks, at(Misc2::MWAIT), ExitCode::MWAIT, nullptr, execute_mwait},
    {ZYDIS_MNEMONIC_MWAITX, mwait_checks, at(Misc2::MWAIT), ExitCode::MWAIT, nullptr,
     execute_mwait},
    {ZYDIS_MNEMONIC_XSETBV, xsetbv_checks, at(Misc2::XSETBV), ExitCode::XSETBV, nullptr,
     execute_xsetbv},
    {ZYDIS_MNEMONIC_INVD, invd_checks, at(Misc1::INVD), ExitCode::INVD, nullptr, nothing},
    {ZYDIS_MNEMONIC_WBINVD, need_cpl0, at(Misc2::WBINVD), ExitCode::WBINVD, nullptr, nothing},
    {ZYDIS_MNEMONIC_INVLPG, need_cpl0, at(Misc1::INVLPG), ExitCode::INVLPG, invlpg_info, invlpg},
    {ZYDIS_MNEMONIC_INVPCID, invpcid_checks, at(Misc3::INVPCID), ExitCode::INVPCID, nullptr,
     execute_invpcid},
    {ZYDIS_MNEMONIC_INVLPGB, extension_checks<id::E8_EBX_INVLPGB>, at(Misc3::INVLPGB),
     ExitCode::INVLPGB, nullptr, not_followed},
    {ZYDIS_MNEMONIC_TLBSYNC, extension_checks<id::E8_EBX_INVLPGB>, at(Misc3::TLBSYNC),
     ExitCode::TLBSYNC, nullptr, not_followed},
    {ZYDIS_MNEMONIC_MCOMMIT, extension_checks<id::E8_EBX_MCOMMIT>, at(Misc3::MCOMMIT),
     ExitCode::MCOMMIT, nullptr, not_followed},
};

} // namespace

std::span<const SensitiveRow> system_rows() { return ROWS; }

} // namespace horos::model::svm::guest
