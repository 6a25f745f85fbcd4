// Control registers: MOV CRn, LMSW, SMSW, CLTS (APM vol. 2 rev. 3.42 §15.8.1,
// table 15-7; §3.1).
#include "guest/control.hpp"
#include "guest/sensitive.hpp"

namespace horos::model::svm::guest {

namespace {

using horos::svm::Misc1;
using horos::svm::Misc2;
namespace c0 = x86::cr0;
namespace c4 = x86::cr4;

bool cr_read_intercepted(const Cpu& cpu, unsigned n) {
    return (cpu.control.intercept_cr & horos::svm::intercept_read(n)) != 0;
}
bool cr_write_intercepted(const Cpu& cpu, unsigned n) {
    return (cpu.control.intercept_cr & horos::svm::intercept_write(n)) != 0;
}

// EXITINFO1 of a MOV CR (table 15-2), or of LMSW, SMSW and CLTS (all clear).
Masked mov_info(const Cpu& cpu, int gpr) {
    if (!cpu.has(x86::cpuid::SVM_EDX_DECODE_ASSISTS)) {
        return {0, 0};
    }
    if (gpr < 0) {
        return {0, horos::svm::CR_EXIT_MOV};
    }
    return {horos::svm::CR_EXIT_MOV | static_cast<uint64_t>(gpr), ~0ull};
}

// What MOV CR0 refuses (vol. 2 §3.1.1; vol. 3 "MOV CRn").
bool cr0_refused(const Cpu& cpu, uint64_t value) {
    const bool pg = (value & c0::PG) != 0;
    const bool pg_rises = pg && (cpu.cr0 & c0::PG) == 0;
    const bool lme = (cpu.efer & x86::efer::LME) != 0;
    const bool cs_l = (cpu.sreg(SegReg::CS).attributes & x86::seg::L) != 0;
    return (value & c0::MBZ_HIGH) != 0 || (pg && (value & c0::PE) == 0) ||
           ((value & c0::NW) != 0 && (value & c0::CD) == 0) ||
           (pg_rises && lme && ((cpu.cr4 & c4::PAE) == 0 || cs_l)) ||
           (!pg && (cpu.code64() || (cpu.cr4 & c4::PCIDE) != 0)) ||
           ((value & c0::WP) == 0 && (cpu.cr4 & c4::CET) != 0);
}
bool cr3_refused(const Cpu& cpu, uint64_t value) {
    if (!cpu.long_mode()) {
        return false;
    }
    const bool no_flush_bit = (cpu.cr4 & c4::PCIDE) != 0;
    const uint64_t above = 0xfff0000000000000ull & ~(no_flush_bit ? x86::cr3::NO_INVALIDATE : 0);
    // §5.3.2 asks software to keep address bits that the part lacks clear; most parts check.
    return (value & above) != 0 ||
           ((value & x86::cr3::ADDR_4K_MASK) >= cpu.profile.physical_limit() &&
            !cpu.choices.flip());
}
bool cr4_refused(const Cpu& cpu, uint64_t value) {
    const uint64_t changes = value ^ cpu.cr4;
    const bool pcide_rises = (changes & value & c4::PCIDE) != 0;
    return (value & ~cpu.profile.cr4_defined) != 0 ||
           (cpu.long_mode() && ((value & c4::PAE) == 0 || (changes & c4::LA57) != 0)) ||
           (pcide_rises && (!cpu.long_mode() || (cpu.cr3 & 0xfff) != 0)) ||
           ((value & c4::CET) != 0 && (cpu.cr0 & c0::WP) == 0);
}
bool cr_refused(const Cpu& cpu, unsigned n, uint64_t value) {
    switch (n) {
    case 0:
        return cr0_refused(cpu, value);
    case 3:
        return cr3_refused(cpu, value);
    case 4:
        return cr4_refused(cpu, value);
    case 8:
        return value > 0xf;
    default:
        return false;
    }
}
// Deviation::CR_UNCHECKED: what becomes of a value that is to be refused. Bits of CR3 and CR4 that
// the part does look at end the guest with VMEXIT_INVALID; of CR0 and CR8 it keeps the low bits.
uint64_t unchecked_value(const Cpu& cpu, unsigned n, uint64_t value) {
    if (n == 8) {
        return value & 0xf;
    }
    if (n == 0 && !cr0_refused(cpu, value & 0xffffffffull)) {
        return value & 0xffffffffull;
    }
    const bool beyond = (value & ~(cpu.profile.physical_limit() - 1)) != 0;
    if ((n == 3 && beyond) ||
        (n == 4 && (value & ~(cpu.profile.cr4_defined | CR4_WITHOUT_CPUID)) != 0)) {
        throw Exit{ExitCode::INVALID};
    }
    const uint64_t wrong = value & ~cpu.profile.cr4_defined;
    if (n == 4 && wrong != 0 && (wrong & ~CR4_WITHOUT_CPUID) == 0 &&
        !cr4_refused(cpu, value & cpu.profile.cr4_defined)) {
        return value;
    }
    throw Open{"goes on with a control register that no processor would take"};
}

// Legacy PAE without nested paging: the PDPEs are read when CR3 is loaded or paging starts, and
// faults come after the intercept (table 15-7).
void load_pdpes(Cpu& cpu, uint64_t new_cr0, uint64_t new_cr3, uint64_t new_cr4) {
    if (cpu.nested_paging() || paging_mode(new_cr0, new_cr4, cpu.efer) != PagingMode::PAE) {
        return;
    }
    const uint64_t beyond = ~(cpu.profile.physical_limit() - 1) & x86::pte::ADDR;
    for (unsigned i = 0; i < 4; ++i) {
        const uint64_t at = (new_cr3 & x86::cr3::ADDR_PAE_MASK) + 8 * i;
        const uint64_t entry = cpu.memory.read_number(at, 8);
        if ((entry & x86::pte::P) != 0 && (entry & (0xfff00000000001e6ull | beyond)) != 0 &&
            !cpu.deviates(Deviation::PAE_PDPE_LAX)) {
            gp0();
        }
    }
}

void commit_cr0(Cpu& cpu, uint64_t value) {
    value |= c0::ET;
    const bool starts = (~cpu.cr0 & value & c0::PG) != 0;
    if (starts && (cpu.efer & x86::efer::LME) == 0) {
        load_pdpes(cpu, value, cpu.cr3, cpu.cr4);
    }
    if (((value ^ cpu.cr0) & ~c0::DEFINED & 0xffffffffull) != 0) {
        throw Open{"reserved bits of CR0 that parts hold or drop"};
    }
    const bool to_long = (value & c0::PG) != 0 && (cpu.efer & x86::efer::LME) != 0;
    if ((value & c0::PE) == 0 && to_long && cpu.deviates(Deviation::LONG_MODE_PE_PANIC)) {
        throw Open{"dies: change_cpu_mode: EFER.LMA is set when CR0.PE=0"};
    }
    if (((value ^ cpu.cr0) & c0::PE) != 0) {
        throw Open{"a switch between real and protected mode is not followed"};
    }
    if (((value ^ cpu.cr0) & c0::PG) != 0) {
        cpu.drop_translations(true);
    }
    cpu.cr0 = value;
    cpu.efer = to_long ? cpu.efer | x86::efer::LMA : cpu.efer & ~x86::efer::LMA;
}

void trap_after_write(const Cpu& cpu, unsigned n) {
    if ((cpu.control.intercept_misc2 >> (16 + n) & 1) != 0) {
        throw Open{"CR write traps are for SEV-ES guests"};
    }
}

void write_cr8(Cpu& cpu, uint64_t value) {
    namespace ic = horos::svm::int_ctl;
    cpu.int_ctl = (cpu.int_ctl & ~ic::V_TPR) | static_cast<uint32_t>(value & 0xf);
    cpu.virq_unmasked = cpu.virq_unmasked ||
                        ((cpu.rflags & x86::rflags::IF) != 0 && cpu.virtual_interrupt_above_tpr());
    if ((cpu.control.int_ctl & ic::V_INTR_MASKING) == 0) {
        cpu.apic_tpr = {value & 0xf, ~0ull}; // both (§15.21.2)
        if (cpu.intr_pending) {
            throw Open{"a physical interrupt pends while the guest moves the physical TPR"};
        }
    }
}
Masked read_cr8(const Cpu& cpu) {
    namespace ic = horos::svm::int_ctl;
    const bool masking = (cpu.control.int_ctl & ic::V_INTR_MASKING) != 0;
    return masking ? Masked{cpu.virtual_tpr(), ~0ull}
                   : Masked{cpu.apic_tpr.value, cpu.apic_tpr.known | ~0xfull};
}

// Whether the selective intercept of CR0 writes counts this one (§15.9).
bool selective(const Cpu& cpu, uint64_t value) {
    const uint64_t changes = (value ^ cpu.cr0) & ~(c0::TS | c0::MP);
    const uint64_t reserved = changes & ~c0::DEFINED;
    if (reserved != 0 && reserved <= 0xffffffffull && (changes & c0::DEFINED & ~c0::ET) == 0) {
        throw Open{"the selective intercept where only reserved bits of CR0 change"};
    }
    if ((changes & ~c0::ET) != 0) {
        return true;
    }
    const bool drops = (cpu.cr0 & ~c0::DEFINED) != 0;
    return (changes != 0 && cpu.deviates(Deviation::CR0_SEL_COUNTS_ET)) ||
           (drops && cpu.deviates(Deviation::CR0_SEL_COUNTS_RESERVED));
}

void write_cr(Cpu& cpu, const Insn& insn, unsigned n, uint64_t value, int gpr) {
    const bool paged_real = n == 0 && (value & (c0::PG | c0::PE)) == c0::PG &&
                            !cr0_refused(cpu, value | c0::PE) &&
                            cpu.deviates(Deviation::CR0_PAGED_REAL);
    const bool refused = !paged_real && cr_refused(cpu, n, value);
    const bool late = refused && (n == 3 || n == 8) && cpu.deviates(Deviation::CR3_CR8_LATE);
    if (refused && !late && !cpu.deviates(Deviation::CR_UNCHECKED)) {
        gp0();
    }
    if (cr_write_intercepted(cpu, n)) {
        exit_instruction(cpu, horos::svm::exit_code(ExitCode::CR0_WRITE, n), mov_info(cpu, gpr));
    }
    if (n == 0 && cpu.intercepted(Misc1::CR0_SEL_WRITE) && selective(cpu, value)) {
        exit_instruction(cpu, ExitCode::CR0_SEL_WRITE, mov_info(cpu, gpr));
    }
    trap_after_write(cpu, n);
    if (late) {
        gp0();
    }
    if (refused) {
        value = unchecked_value(cpu, n, value);
    }
    switch (n) {
    case 0:
        commit_cr0(cpu, value);
        break;
    case 2:
        cpu.cr2 = value;
        cpu.cr2_known = ~0ull;
        break;
    case 3:
        value &= cpu.long_mode() ? ~0ull : 0xffffffffull;
        load_pdpes(cpu, cpu.cr0, value, cpu.cr4);
        cpu.cr3 = value & ~x86::cr3::NO_INVALIDATE;
        cpu.drop_translations(false);
        cpu.tables_written = cpu.tables_written && (value >> 63) != 0;
        break;
    case 4:
        load_pdpes(cpu, cpu.cr0, cpu.cr3, value);
        if (((value ^ cpu.cr4) & (x86::cr4::PGE | x86::cr4::PAE | x86::cr4::PSE)) != 0) {
            cpu.drop_translations(true);
        }
        cpu.cr4 = value;
        break;
    default:
        write_cr8(cpu, value);
    }
    advance(cpu, insn);
}

void read_cr(Cpu& cpu, const Insn& insn, unsigned n) {
    const ZydisDecodedOperand& to = insn.operands[0];
    if (cr_read_intercepted(cpu, n)) {
        exit_instruction(cpu, horos::svm::exit_code(ExitCode::CR0_READ, n),
                         mov_info(cpu, ZydisRegisterGetId(to.reg.value)));
    }
    const uint64_t values[] = {cpu.cr0, 0, cpu.cr2, cpu.cr3, cpu.cr4};
    const uint64_t known = n == 2 ? cpu.cr2_known : ~0ull;
    cpu.write_reg(to.reg.value, n == 8 ? read_cr8(cpu) : Masked{values[n], known});
    advance(cpu, insn);
}

void lmsw(Cpu& cpu, const Insn& insn) {
    need_cpl0(cpu, insn);
    if (cr_write_intercepted(cpu, 0)) {
        exit_instruction(cpu, ExitCode::CR0_WRITE, mov_info(cpu, -1));
    }
    // Whatever is written (table 15-7), so the operand is not read before.
    const bool sel = cpu.intercepted(Misc1::CR0_SEL_WRITE);
    if (sel && !cpu.deviates(Deviation::LMSW_SELECTIVE)) {
        exit_instruction(cpu, ExitCode::CR0_SEL_WRITE, mov_info(cpu, -1));
    }
    const uint64_t source = cpu.known_value(cpu.read_operand(insn.operands[0]));
    trap_after_write(cpu, 0);
    constexpr uint64_t LOW = c0::PE | c0::MP | c0::EM | c0::TS;
    const uint64_t value = (cpu.cr0 & ~(LOW & ~c0::PE)) | (source & LOW);
    if (sel && selective(cpu, value)) {
        exit_instruction(cpu, ExitCode::CR0_SEL_WRITE, mov_info(cpu, -1));
    }
    commit_cr0(cpu, value);
    advance(cpu, insn);
}
void smsw(Cpu& cpu, const Insn& insn) {
    if (umip_refuses(cpu)) {
        gp0();
    }
    if (cr_read_intercepted(cpu, 0)) {
        exit_instruction(cpu, ExitCode::CR0_READ, mov_info(cpu, -1));
    }
    cpu.write_operand(insn.operands[0], {cpu.cr0, ~0ull});
    advance(cpu, insn);
}
void clts(Cpu& cpu, const Insn& insn) {
    need_cpl0(cpu, insn);
    if (cr_write_intercepted(cpu, 0)) {
        exit_instruction(cpu, ExitCode::CR0_WRITE, mov_info(cpu, -1));
    }
    trap_after_write(cpu, 0);
    cpu.cr0 &= ~c0::TS;
    advance(cpu, insn);
}

unsigned cr_number(Cpu& cpu, ZydisRegister reg) {
    const auto n = static_cast<unsigned>(reg - ZYDIS_REGISTER_CR0);
    if (n != 0 && n != 2 && n != 3 && n != 4 && n != 8) {
        ud();
    }
    if (cpu.cpl != 0) {
        gp0();
    }
    return n;
}

constexpr SensitiveRow ROWS[] = {
    {ZYDIS_MNEMONIC_LMSW, no_checks, {}, ExitCode::CR0_WRITE, nullptr, lmsw},
    {ZYDIS_MNEMONIC_SMSW, no_checks, {}, ExitCode::CR0_READ, nullptr, smsw},
    {ZYDIS_MNEMONIC_CLTS, no_checks, {}, ExitCode::CR0_WRITE, nullptr, clts},
};

} // namespace

std::span<const SensitiveRow> control_rows() { return ROWS; }

// Declared in basic.hpp: true if the MOV names a control or debug register and was executed.
bool execute_mov_control(Cpu& cpu, const Insn& insn) {
    const ZydisRegister to = insn.operands[0].reg.value;
    const ZydisRegister from = insn.operands[1].reg.value;
    const auto kind = [](const ZydisDecodedOperand& o) {
        return o.type == ZYDIS_OPERAND_TYPE_REGISTER ? ZydisRegisterGetClass(o.reg.value)
                                                     : ZYDIS_REGCLASS_INVALID;
    };
    const ZydisRegisterClass to_kind = kind(insn.operands[0]);
    const ZydisRegisterClass from_kind = kind(insn.operands[1]);
    if (to_kind == ZYDIS_REGCLASS_CONTROL) {
        const unsigned n = cr_number(cpu, to);
        cpu.feature(820 + n);
        write_cr(cpu, insn, n, moved_value(cpu, from), ZydisRegisterGetId(from));
    } else if (from_kind == ZYDIS_REGCLASS_CONTROL) {
        const unsigned n = cr_number(cpu, from);
        cpu.feature(830 + n);
        read_cr(cpu, insn, n);
    } else if (to_kind == ZYDIS_REGCLASS_DEBUG) {
        move_dr(cpu, insn, true, static_cast<unsigned>(to - ZYDIS_REGISTER_DR0), from);
    } else if (from_kind == ZYDIS_REGCLASS_DEBUG) {
        move_dr(cpu, insn, false, static_cast<unsigned>(from - ZYDIS_REGISTER_DR0), to);
    } else {
        return false;
    }
    return true;
}

} // namespace horos::model::svm::guest
