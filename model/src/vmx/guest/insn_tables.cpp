// SGDT to LTR (§25.1.3; instruction information: tables 27-10 and 27-11), RDRAND and RDSEED.
#include "guest/machine.hpp"

namespace horos::model::vmx::guest {

namespace {

using namespace horos::vmx;

bool umip_refuses(const Guest& g) { return g.cpl() > 0 && (g.cr4 & x86::cr4::UMIP) != 0; }

uint64_t known_address_bits(uint32_t info) {
    uint64_t known = 7u << 7 | 1u << 10 | 7u << 15 | 1u << 22 | 1u << 27;
    known |= (info & 1u << 22) != 0 ? 0 : 3u | 0xfu << 18;
    known |= (info & 1u << 27) != 0 ? 0 : 0xfu << 23;
    return known;
}

void gdtr_idtr(Guest& g, const Insn& insn, uint32_t identity) {
    const bool load = identity >= 2;
    if (load ? g.cpl() != 0 : umip_refuses(g)) {
        gp0();
    }
    const ZydisDecodedOperand& memory =
        insn.operands[insn.operands[0].type == ZYDIS_OPERAND_TYPE_MEMORY ? 0 : 1];
    if (g.proc2(proc2::DESCRIPTOR_TABLE_EXITING)) {
        const bool wide = insn.zydis.operand_width != 16;
        const uint32_t info =
            g.memory_information(insn, memory) | identity << 28 |
            (wide && !g.code64() && !g.deviates(Deviation::DESCRIPTOR_OPERAND_SIZE) ? 1u << 11 : 0);
        const uint64_t known = known_address_bits(info) | 3u << 28 | (g.code64() ? 0 : 1u << 11);
        Exit exit(ExitReason::GDTR_IDTR_ACCESS);
        exit.length = insn.length;
        exit.information = Masked{info, known};
        exit.qualification = {g.displacement(insn, memory),
                              insn.zydis.address_width == 64 ? ~0ull : 0xffffffffull};
        g.path.push_back("descriptor-table register: exit");
        throw exit;
    }
    if (load || !g.code64()) {
        throw Open{"a descriptor-table register that does not exit"};
    }
    const uint64_t at = g.operand_linear(memory, 10, Kind::WRITE);
    const bool gdt = identity == 0;
    g.write(at, g.s[gdt ? F::GUEST_GDTR_LIMIT : F::GUEST_IDTR_LIMIT], 2);
    g.write(at + 2, g.s[gdt ? F::GUEST_GDTR_BASE : F::GUEST_IDTR_BASE], 8);
}

void ldtr_tr(Guest& g, const Insn& insn, uint32_t identity) {
    if (!g.protected_mode() || g.v86()) {
        ud();
    }
    const bool load = identity >= 2;
    if (load ? g.cpl() != 0 : umip_refuses(g)) {
        gp0();
    }
    const ZydisDecodedOperand& operand = insn.operands[0];
    const bool memory = operand.type == ZYDIS_OPERAND_TYPE_MEMORY;
    if (g.proc2(proc2::DESCRIPTOR_TABLE_EXITING)) {
        if (!memory) {
            const uint32_t number = uint32_t(gpr_number(operand.reg.value)) << 3;
            g.exit_register_form(
                ExitReason::LDTR_TR_ACCESS, insn,
                Masked{number | 1u << 10 | identity << 28, 0xfu << 3 | 1u << 10 | 3u << 28});
        }
        const uint32_t info = g.memory_information(insn, operand) | identity << 28;
        Exit exit(ExitReason::LDTR_TR_ACCESS);
        exit.length = insn.length;
        exit.information = Masked{info, known_address_bits(info) | 3u << 28};
        exit.qualification = {g.displacement(insn, operand),
                              insn.zydis.address_width == 64 ? ~0ull : 0xffffffffull};
        g.path.push_back("LDTR or TR: exit");
        throw exit;
    }
    if (load) {
        throw Open{"LLDT or LTR that does not exit"};
    }
    const uint64_t value = g.s[identity == 0 ? F::GUEST_LDTR_SELECTOR : F::GUEST_TR_SELECTOR];
    if (memory) {
        g.write(g.operand_linear(operand, 2, Kind::WRITE), value, 2);
    } else if (operand.size == 32) {
        g.set_reg(operand.reg.value, value, 0xffff);
        g.gpr_known[unsigned(gpr_number(operand.reg.value))] = 0xffff;
    } else {
        g.set_reg(operand.reg.value, value);
    }
}

void random(Guest& g, const Insn& insn, bool seed) {
    const bool there =
        seed ? (g.profile.leaf(7).ebx >> 18 & 1) != 0 : (g.profile.leaf(1).ecx >> 30 & 1) != 0;
    if (!there) {
        ud();
    }
    const ZydisDecodedOperand& to = insn.operands[0];
    if (g.proc2(seed ? proc2::RDSEED_EXITING : proc2::RDRAND_EXITING)) {
        uint32_t size = to.size == 16 ? 0 : to.size == 32 ? 1 : 2;
        if (to.size != 64 && g.deviates(Deviation::RANDOM_OPERAND_SIZE)) {
            size = insn.zydis.address_width == 16 ? 0 : 1;
        }
        g.exit_instruction(
            seed ? ExitReason::RDSEED : ExitReason::RDRAND, insn, 0,
            Masked{uint32_t(gpr_number(to.reg.value)) << 3 | size << 11, 0xfu << 3 | 3u << 11});
    }
    g.set_reg(to.reg.value, 0, 0);
    throw Open{"random numbers"}; // and CF with them
}

} // namespace

bool Guest::execute_tables(const Insn& insn) {
    switch (insn.zydis.mnemonic) {
    case ZYDIS_MNEMONIC_SGDT:
        gdtr_idtr(*this, insn, 0);
        return true;
    case ZYDIS_MNEMONIC_SIDT:
        gdtr_idtr(*this, insn, 1);
        return true;
    case ZYDIS_MNEMONIC_LGDT:
        gdtr_idtr(*this, insn, 2);
        return true;
    case ZYDIS_MNEMONIC_LIDT:
        gdtr_idtr(*this, insn, 3);
        return true;
    case ZYDIS_MNEMONIC_SLDT:
        ldtr_tr(*this, insn, 0);
        return true;
    case ZYDIS_MNEMONIC_STR:
        ldtr_tr(*this, insn, 1);
        return true;
    case ZYDIS_MNEMONIC_LLDT:
        ldtr_tr(*this, insn, 2);
        return true;
    case ZYDIS_MNEMONIC_LTR:
        ldtr_tr(*this, insn, 3);
        return true;
    case ZYDIS_MNEMONIC_RDRAND:
        random(*this, insn, false);
        return true;
    case ZYDIS_MNEMONIC_RDSEED:
        random(*this, insn, true);
        return true;
    default:
        return false;
    }
}

} // namespace horos::model::vmx::guest
