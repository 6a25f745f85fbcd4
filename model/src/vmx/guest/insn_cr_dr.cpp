// MOV CR, CLTS, LMSW, SMSW, MOV DR (§25.1.3, §25.3; exit qualifications: tables 27-3 and 27-4).
#include "guest/machine.hpp"

namespace horos::model::vmx::guest {

namespace {

using namespace horos::vmx;

// What a guest sees of a register with a mask and a shadow (§24.6.6).
uint64_t merged(uint64_t real, uint64_t mask, uint64_t shadow) {
    return (real & ~mask) | (shadow & mask);
}

void need_cpl0(const Guest& g) {
    if (g.cpl() != 0) {
        gp0();
    }
}

// A write that does not exit: the bits that the host does not own, as long as VMX operation and
// the architecture allow the result. Anything that would change the mode is left open.
void write_cr0(Guest& g, uint64_t value) {
    const uint64_t mask = g.s[F::CR0_MASK];
    const uint64_t now = (g.cr0 & mask) | (value & ~mask) | x86::cr0::ET;
    const bool unrestricted = g.proc2(proc2::UNRESTRICTED_GUEST);
    const uint64_t relaxed = unrestricted ? x86::cr0::PE | x86::cr0::PG : 0;
    const uint64_t must = g.profile.cr0_fixed0 & ~relaxed;
    const bool pg_without_pe = (now & (x86::cr0::PG | x86::cr0::PE)) == x86::cr0::PG;
    const bool nw_without_cd = (now & (x86::cr0::NW | x86::cr0::CD)) == x86::cr0::NW;
    if (value >> 32 != 0 || (now & must) != must || pg_without_pe || nw_without_cd) {
        gp0();
    }
    constexpr uint64_t MODE = x86::cr0::PG | x86::cr0::PE;
    if (((now ^ g.cr0) & MODE) != 0) {
        throw Open{"a change of mode"};
    }
    if (((now ^ g.cr0) & (x86::cr0::CD | x86::cr0::NW)) != 0 && g.paging() && !g.ia32e() &&
        (g.cr4 & x86::cr4::PAE) != 0) {
        throw Open{"reloading of the PDPTEs"};
    }
    g.cr0 = now;
    // What is left of bits that have no meaning is the processor's business.
    g.cr0_known = x86::cr0::PE | x86::cr0::MP | x86::cr0::EM | x86::cr0::TS | x86::cr0::NE |
                  x86::cr0::WP | x86::cr0::AM | x86::cr0::NW | x86::cr0::CD | x86::cr0::PG;
}

void write_cr4(Guest& g, uint64_t value) {
    const uint64_t mask = g.s[F::CR4_MASK];
    const uint64_t now = (g.cr4 & mask) | (value & ~mask);
    if ((now & g.profile.cr4_fixed0) != g.profile.cr4_fixed0 ||
        (now & ~g.profile.cr4_fixed1) != 0) {
        gp0();
    }
    constexpr uint64_t HARD = x86::cr4::PAE | x86::cr4::PSE | x86::cr4::PGE | x86::cr4::PCIDE |
                              x86::cr4::LA57 | x86::cr4::SMEP | x86::cr4::CET | x86::cr4::PKE;
    if (((now ^ g.cr4) & HARD) != 0) {
        throw Open{"a change of the paging mode"};
    }
    g.cr4 = now;
}

void mov_to_cr(Guest& g, const Insn& insn, unsigned number, unsigned source, uint64_t value) {
    const auto exits = [&] {
        g.exit_instruction(ExitReason::CR_ACCESS, insn,
                           number | cr_access::MOV_TO | uint64_t{source} << cr_access::GPR_SHIFT);
    };
    if (number == 0 || number == 4) {
        const uint64_t mask = g.s[number == 0 ? F::CR0_MASK : F::CR4_MASK];
        const uint64_t shadow = g.s[number == 0 ? F::CR0_SHADOW : F::CR4_SHADOW];
        if (((value ^ shadow) & mask) != 0) {
            exits();
        }
        number == 0 ? write_cr0(g, value) : write_cr4(g, value);
        return;
    }
    if (number == 3) {
        bool target = false;
        for (unsigned n = 0; n < g.s[F::CR3_TARGET_COUNT] && n < 4; ++n) {
            target = target || g.s[plus(F::CR3_TARGET_0, n)] == value;
        }
        if (g.proc(proc::CR3_LOAD_EXITING) && !target) {
            exits();
        }
        throw Open{"a new CR3"};
    }
    if (g.proc(proc::CR8_LOAD_EXITING)) {
        exits();
    }
    if ((value & ~0xfull) != 0) {
        gp0();
    }
    g.write_cr8(value);
}

void mov_from_cr(Guest& g, const Insn& insn, unsigned number, ZydisRegister to, unsigned target) {
    const auto exits = [&] {
        g.exit_instruction(ExitReason::CR_ACCESS, insn,
                           number | cr_access::MOV_FROM | uint64_t{target} << cr_access::GPR_SHIFT);
    };
    if (number == 3 && g.proc(proc::CR3_STORE_EXITING)) {
        exits();
    }
    if (number == 8 && g.proc(proc::CR8_STORE_EXITING)) {
        exits();
    }
    if (number == 8 && g.proc(proc::USE_TPR_SHADOW)) {
        g.set_reg(to, g.vapic(vapic::TPR) >> 4 & 0xf);
        return;
    }
    if (number == 2 || number == 8) {
        g.set_reg(to, 0, 0);
        return;
    }
    const uint64_t value = number == 0 ? g.visible_cr0() : number == 3 ? g.cr3 : g.visible_cr4();
    const uint64_t known =
        number == 0 ? g.cr0_known | 0xffffffff00000000ull | g.s[F::CR0_MASK] : ~0ull;
    g.set_reg(to, value, known);
}

void mov_cr(Guest& g, const Insn& insn) {
    const bool to_cr = ZydisRegisterGetClass(insn.operands[0].reg.value) == ZYDIS_REGCLASS_CONTROL;
    const ZydisRegister control = insn.operands[to_cr ? 0 : 1].reg.value;
    const ZydisRegister general = insn.operands[to_cr ? 1 : 0].reg.value;
    const auto number = unsigned(control - ZYDIS_REGISTER_CR0);
    if (number != 0 && number != 2 && number != 3 && number != 4 && number != 8) {
        ud();
    }
    need_cpl0(g);
    const auto n = unsigned(gpr_number(general));
    if (!to_cr) {
        mov_from_cr(g, insn, number, general, n);
    } else if (number == 2) {
        throw Open{"a write of CR2"};
    } else {
        mov_to_cr(g, insn, number, n, g.reg(general));
    }
}

void clts(Guest& g, const Insn& insn) {
    need_cpl0(g);
    const bool owned = (g.s[F::CR0_MASK] & x86::cr0::TS) != 0;
    if (owned && (g.s[F::CR0_SHADOW] & x86::cr0::TS) != 0) {
        g.exit_instruction(ExitReason::CR_ACCESS, insn, cr_access::CLTS);
    }
    if (!owned) {
        g.cr0 &= ~x86::cr0::TS;
    }
}

void lmsw(Guest& g, const Insn& insn) {
    need_cpl0(g);
    const ZydisDecodedOperand& operand = insn.operands[0];
    const bool memory = operand.type == ZYDIS_OPERAND_TYPE_MEMORY;
    const uint64_t source = g.operand_value(operand, 2);
    const uint64_t mask = g.s[F::CR0_MASK], shadow = g.s[F::CR0_SHADOW];
    // PE can be set, not cleared (§25.1.3).
    const bool sets_pe = (mask & source & ~shadow & x86::cr0::PE) != 0;
    const bool others = (mask & (source ^ shadow) & 0xe) != 0;
    if (sets_pe || others) {
        Exit exit(ExitReason::CR_ACCESS);
        exit.qualification = {cr_access::LMSW | (memory ? cr_access::LMSW_MEMORY : 0) |
                                  source << cr_access::LMSW_SOURCE_SHIFT,
                              ~0ull};
        exit.length = insn.length;
        if (memory) {
            exit.linear = g.exit_linear(operand);
        }
        g.path.push_back("lmsw: exit");
        throw exit;
    }
    const uint64_t changes = ~mask & 0xf & ~(g.cr0 & x86::cr0::PE);
    write_cr0(g, (g.cr0 & ~changes) | (source & changes));
}

void smsw(Guest& g, const Insn& insn) {
    if (g.cpl() > 0 && (g.cr4 & x86::cr4::UMIP) != 0) {
        gp0();
    }
    const ZydisDecodedOperand& operand = insn.operands[0];
    const uint64_t value = g.visible_cr0();
    if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY) {
        g.write(g.operand_linear(operand, 2, Kind::WRITE), value, 2);
    } else if (operand.size == 16) {
        g.set_reg(operand.reg.value, value);
    } else {
        g.set_reg(operand.reg.value, value, 0xffff); // the manual leaves the rest of 32 bits open
        g.gpr_known[unsigned(gpr_number(operand.reg.value))] = 0xffff;
    }
}

// The exit comes before the check of CPL and of DR4 and DR5 (§25.1.3).
void mov_dr(Guest& g, const Insn& insn) {
    const bool to_dr = ZydisRegisterGetClass(insn.operands[0].reg.value) == ZYDIS_REGCLASS_DEBUG;
    const ZydisRegister debug = insn.operands[to_dr ? 0 : 1].reg.value;
    const ZydisRegister general = insn.operands[to_dr ? 1 : 0].reg.value;
    auto number = unsigned(debug - ZYDIS_REGISTER_DR0);
    if (number > 7) {
        ud();
    }
    const auto n = unsigned(gpr_number(general));
    if (g.proc(proc::MOV_DR_EXITING)) {
        g.exit_instruction(ExitReason::MOV_DR, insn,
                           number | (to_dr ? 0 : dr_access::FROM) |
                               uint64_t{n} << dr_access::GPR_SHIFT);
    }
    if ((number == 4 || number == 5) && (g.cr4 & x86::cr4::DE) != 0) {
        ud();
    }
    need_cpl0(g);
    if ((g.dr7 & x86::dr7::GD) != 0) {
        throw Exception{1, std::nullopt, debug_exit::BD};
    }
    if (to_dr) {
        throw Open{"a write of a debug register"};
    }
    const bool is_dr7 = number == 5 || number == 7;
    g.set_reg(general, is_dr7 ? g.dr7 : 0, is_dr7 ? ~0ull : 0);
}

} // namespace

uint64_t Guest::visible_cr0() const { return merged(cr0, s[F::CR0_MASK], s[F::CR0_SHADOW]); }
uint64_t Guest::visible_cr4() const { return merged(cr4, s[F::CR4_MASK], s[F::CR4_SHADOW]); }

bool Guest::execute_cr_dr(const Insn& insn) {
    switch (insn.zydis.mnemonic) {
    case ZYDIS_MNEMONIC_CLTS:
        clts(*this, insn);
        return true;
    case ZYDIS_MNEMONIC_LMSW:
        lmsw(*this, insn);
        return true;
    case ZYDIS_MNEMONIC_SMSW:
        smsw(*this, insn);
        return true;
    case ZYDIS_MNEMONIC_MOV:
        break;
    default:
        return false;
    }
    for (unsigned n = 0; n < 2; ++n) {
        if (insn.operands[n].type != ZYDIS_OPERAND_TYPE_REGISTER) {
            continue;
        }
        const ZydisRegisterClass c = ZydisRegisterGetClass(insn.operands[n].reg.value);
        if (c == ZYDIS_REGCLASS_CONTROL) {
            mov_cr(*this, insn);
            return true;
        }
        if (c == ZYDIS_REGCLASS_DEBUG) {
            mov_dr(*this, insn);
            return true;
        }
    }
    return false;
}

} // namespace horos::model::vmx::guest
