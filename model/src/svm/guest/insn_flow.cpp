// Near branches, calls and returns, and where other instructions go on.
#include "guest/basic.hpp"

namespace horos::model::svm::guest {

namespace {

namespace f = x86::rflags;

// True if the conditional jump is taken.
bool condition(Cpu& cpu, ZydisMnemonic m) {
    const uint64_t flags = cpu.flags_value();
    const bool cf = (flags & f::CF) != 0, zf = (flags & f::ZF) != 0, sf = (flags & f::SF) != 0;
    const bool of = (flags & f::OF) != 0, pf = (flags & f::PF) != 0;
    switch (m) {
    case ZYDIS_MNEMONIC_JB:
        return cf;
    case ZYDIS_MNEMONIC_JNB:
        return !cf;
    case ZYDIS_MNEMONIC_JZ:
        return zf;
    case ZYDIS_MNEMONIC_JNZ:
        return !zf;
    case ZYDIS_MNEMONIC_JBE:
        return cf || zf;
    case ZYDIS_MNEMONIC_JNBE:
        return !cf && !zf;
    case ZYDIS_MNEMONIC_JS:
        return sf;
    case ZYDIS_MNEMONIC_JNS:
        return !sf;
    case ZYDIS_MNEMONIC_JO:
        return of;
    case ZYDIS_MNEMONIC_JNO:
        return !of;
    case ZYDIS_MNEMONIC_JP:
        return pf;
    case ZYDIS_MNEMONIC_JNP:
        return !pf;
    case ZYDIS_MNEMONIC_JL:
        return sf != of;
    case ZYDIS_MNEMONIC_JNL:
        return sf == of;
    case ZYDIS_MNEMONIC_JLE:
        return zf || sf != of;
    default:
        return !zf && sf == of; // JNLE
    }
}

// Deviation::NEAR_BRANCH_KEEPS_HIGH: in 16-bit code, to the page that the branch itself lies in.
bool keeps_high(const Cpu& cpu, const Insn& insn, uint64_t target) {
    const horos::svm::Segment& cs = cpu.sreg(SegReg::CS);
    if (cpu.code64() || insn.operand_bits() != 16 || (cs.attributes & x86::seg::DB) != 0 ||
        (cpu.rflags & (f::TF | f::RF)) != 0 || cpu.shadow) {
        return false;
    }
    constexpr uint64_t PAGE = ~0xfffull;
    return (((cs.base + target) ^ (cs.base + cpu.rip)) & PAGE) == 0 && target >> 16 != 0 &&
           cpu.deviates(Deviation::NEAR_BRANCH_KEEPS_HIGH);
}

void check_target(Cpu& cpu, uint64_t target) {
    const bool bad = cpu.code64() ? !cpu.canonical(target) : cpu.beyond_code(target);
    if (bad && !(cpu.code64() && cpu.deviates(Deviation::IRET_RIP_UNCHECKED))) {
        gp0();
    }
}

uint64_t branch_target(Cpu& cpu, const Insn& insn) {
    const ZydisDecodedOperand& operand = insn.operands[0];
    const bool relative =
        operand.type == ZYDIS_OPERAND_TYPE_IMMEDIATE && operand.imm.is_relative != 0;
    uint64_t target =
        relative ? insn.next_rip + operand.imm.value.u : cpu.known_value(cpu.read_operand(operand));
    if (!relative || !keeps_high(cpu, insn, target)) {
        target &= width_mask(cpu.code64() ? 64 : insn.operand_bits());
    }
    check_target(cpu, target);
    return target;
}

void branch(Cpu& cpu, const Insn& insn) {
    if (insn.zydis.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR) {
        execute_far_transfer(cpu, insn);
        return;
    }
    const uint64_t target = branch_target(cpu, insn);
    if (insn.zydis.mnemonic == ZYDIS_MNEMONIC_CALL) {
        cpu.push({insn.next_rip, ~0ull}, stack_bytes(cpu, insn));
    }
    cpu.rip = target;
}

void near_return(Cpu& cpu, const Insn& insn) {
    if (insn.zydis.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR) {
        throw Open{"far returns are not modelled"};
    }
    const uint64_t target = cpu.known_value(cpu.pop(stack_bytes(cpu, insn)));
    check_target(cpu, target);
    cpu.rip = target;
}

} // namespace

// Sets RIP itself.
bool execute_flow(Cpu& cpu, const Insn& insn) {
    switch (insn.zydis.mnemonic) {
    case ZYDIS_MNEMONIC_JMP:
    case ZYDIS_MNEMONIC_CALL:
        branch(cpu, insn);
        return true;
    case ZYDIS_MNEMONIC_RET:
        near_return(cpu, insn);
        return true;
    case ZYDIS_MNEMONIC_JB:
    case ZYDIS_MNEMONIC_JNB:
    case ZYDIS_MNEMONIC_JZ:
    case ZYDIS_MNEMONIC_JNZ:
    case ZYDIS_MNEMONIC_JBE:
    case ZYDIS_MNEMONIC_JNBE:
    case ZYDIS_MNEMONIC_JS:
    case ZYDIS_MNEMONIC_JNS:
    case ZYDIS_MNEMONIC_JO:
    case ZYDIS_MNEMONIC_JNO:
    case ZYDIS_MNEMONIC_JP:
    case ZYDIS_MNEMONIC_JNP:
    case ZYDIS_MNEMONIC_JL:
    case ZYDIS_MNEMONIC_JNL:
    case ZYDIS_MNEMONIC_JLE:
    case ZYDIS_MNEMONIC_JNLE:
        cpu.rip = condition(cpu, insn.zydis.mnemonic) ? branch_target(cpu, insn) : insn.next_rip;
        return true;
    default:
        return false;
    }
}

// Where an instruction that is no branch goes on. Deviation::SEQUENTIAL_WRAPS: in 16-bit code with
// 16 bits of RIP after one that ends on another page, unless what follows it is held up.
uint64_t next_in_sequence(Cpu& cpu, const Insn& insn) {
    constexpr uint64_t PAGE = ~0xfffull, OFFSET_16 = 0xffff;
    const horos::svm::Segment& cs = cpu.sreg(SegReg::CS);
    const bool wraps = !cpu.code64() && (cs.attributes & x86::seg::DB) == 0 &&
                       (cpu.rflags & f::TF) == 0 && !cpu.shadow &&
                       (((cs.base + insn.next_rip) ^ (cs.base + cpu.rip)) & PAGE) != 0 &&
                       insn.next_rip > OFFSET_16 && cpu.deviates(Deviation::SEQUENTIAL_WRAPS);
    return wraps ? insn.next_rip & OFFSET_16 : insn.next_rip;
}

} // namespace horos::model::svm::guest
