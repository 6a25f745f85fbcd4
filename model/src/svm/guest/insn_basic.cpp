#include "guest/basic.hpp"

#include <bit>

namespace horos::model::svm::guest {

namespace {

namespace f = x86::rflags;

uint64_t result_flags(uint64_t result, unsigned bits) {
    const uint64_t r = result & width_mask(bits);
    uint64_t flags = r == 0 ? f::ZF : 0;
    flags |= (r >> (bits - 1) & 1) != 0 ? f::SF : 0;
    flags |= (std::popcount(static_cast<uint8_t>(r)) & 1) == 0 ? f::PF : 0;
    return flags;
}
constexpr uint64_t ARITHMETIC = f::CF | f::PF | f::AF | f::ZF | f::SF | f::OF;
void set_flags(Cpu& cpu, uint64_t which, uint64_t values, uint64_t undefined = 0) {
    cpu.rflags = (cpu.rflags & ~which) | (values & which);
    cpu.rflags_known = (cpu.rflags_known | which) & ~undefined;
}

struct Sum {
    uint64_t value;
    uint64_t flags;
};
Sum add(uint64_t a, uint64_t b, unsigned bits) {
    const uint64_t mask = width_mask(bits);
    const uint64_t r = (a + b) & mask;
    uint64_t flags = result_flags(r, bits);
    flags |= r < (a & mask) ? f::CF : 0;
    flags |= ((~(a ^ b) & (a ^ r)) >> (bits - 1) & 1) != 0 ? f::OF : 0;
    flags |= ((a ^ b ^ r) & 0x10) != 0 ? f::AF : 0;
    return {r, flags};
}
Sum subtract(uint64_t a, uint64_t b, unsigned bits) {
    const uint64_t mask = width_mask(bits);
    const uint64_t r = (a - b) & mask;
    uint64_t flags = result_flags(r, bits);
    flags |= (a & mask) < (b & mask) ? f::CF : 0;
    flags |= (((a ^ b) & (a ^ r)) >> (bits - 1) & 1) != 0 ? f::OF : 0;
    flags |= ((a ^ b ^ r) & 0x10) != 0 ? f::AF : 0;
    return {r, flags};
}

// An operand that is written back.
Masked read_to_modify(Cpu& cpu, const ZydisDecodedOperand& operand) {
    struct Guard {
        Cpu& cpu;
        ~Guard() { cpu.modifies = false; }
    } guard{cpu};
    cpu.modifies = operand.type == ZYDIS_OPERAND_TYPE_MEMORY;
    return cpu.read_operand(operand);
}

void binary(Cpu& cpu, const Insn& insn) {
    const unsigned bits = insn.operands[0].size;
    const auto same = [&] {
        return insn.operands[0].type == ZYDIS_OPERAND_TYPE_REGISTER &&
               insn.operands[1].type == ZYDIS_OPERAND_TYPE_REGISTER &&
               insn.operands[0].reg.value == insn.operands[1].reg.value;
    };
    const ZydisMnemonic m = insn.zydis.mnemonic;
    const bool zeroing = same() && (m == ZYDIS_MNEMONIC_XOR || m == ZYDIS_MNEMONIC_SUB);
    const bool compares = m == ZYDIS_MNEMONIC_CMP || m == ZYDIS_MNEMONIC_TEST;
    const uint64_t a = zeroing    ? 0
                       : compares ? cpu.known_value(cpu.read_operand(insn.operands[0]))
                                  : cpu.known_value(read_to_modify(cpu, insn.operands[0]));
    const uint64_t b = zeroing ? 0 : cpu.known_value(cpu.read_operand(insn.operands[1]));
    Sum r{};
    uint64_t undefined = 0;
    switch (m) {
    case ZYDIS_MNEMONIC_ADD:
        r = add(a, b, bits);
        break;
    case ZYDIS_MNEMONIC_SUB:
    case ZYDIS_MNEMONIC_CMP:
        r = subtract(a, b, bits);
        break;
    case ZYDIS_MNEMONIC_XOR:
        r.value = a ^ b;
        break;
    case ZYDIS_MNEMONIC_OR:
        r.value = a | b;
        break;
    default:
        r.value = a & b; // AND, TEST
    }
    if (m != ZYDIS_MNEMONIC_ADD && m != ZYDIS_MNEMONIC_SUB && m != ZYDIS_MNEMONIC_CMP) {
        r.flags = result_flags(r.value, bits);
        undefined = f::AF;
    }
    if (!compares) {
        cpu.write_operand(insn.operands[0], {r.value, ~0ull});
    }
    set_flags(cpu, ARITHMETIC, r.flags, undefined);
}

void increment(Cpu& cpu, const Insn& insn) {
    const unsigned bits = insn.operands[0].size;
    const uint64_t a = cpu.known_value(read_to_modify(cpu, insn.operands[0]));
    const Sum r =
        insn.zydis.mnemonic == ZYDIS_MNEMONIC_INC ? add(a, 1, bits) : subtract(a, 1, bits);
    cpu.write_operand(insn.operands[0], {r.value, ~0ull});
    set_flags(cpu, ARITHMETIC & ~f::CF, r.flags);
}

std::optional<SegReg> segment_operand(const Insn& insn) {
    const ZydisDecodedOperand& operand = insn.operands[0];
    if (operand.type != ZYDIS_OPERAND_TYPE_REGISTER ||
        ZydisRegisterGetClass(operand.reg.value) != ZYDIS_REGCLASS_SEGMENT) {
        return std::nullopt;
    }
    return static_cast<SegReg>(ZydisRegisterGetId(operand.reg.value));
}

void move(Cpu& cpu, const Insn& insn) {
    if (const auto r = segment_operand(insn)) {
        load_segment(cpu, *r,
                     static_cast<uint16_t>(cpu.known_value(cpu.read_operand(insn.operands[1]))));
        return;
    }
    Masked value = cpu.read_operand(insn.operands[1]);
    if (insn.operands[1].type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
        value.known = ~0ull;
    }
    cpu.write_operand(insn.operands[0], value);
}

void extend(Cpu& cpu, const Insn& insn) {
    Masked value = cpu.read_operand(insn.operands[1]);
    if (insn.zydis.mnemonic == ZYDIS_MNEMONIC_MOVSX ||
        insn.zydis.mnemonic == ZYDIS_MNEMONIC_MOVSXD) {
        const unsigned shift = 64 - insn.operands[1].size;
        value = {
            static_cast<uint64_t>(static_cast<int64_t>(cpu.known_value(value) << shift) >> shift),
            ~0ull};
    }
    cpu.write_operand(insn.operands[0], value);
}

void exchange(Cpu& cpu, const Insn& insn) {
    const Masked a = read_to_modify(cpu, insn.operands[0]);
    const Masked b = read_to_modify(cpu, insn.operands[1]);
    cpu.write_operand(insn.operands[0], b);
    cpu.write_operand(insn.operands[1], a);
}

// §8.1.4: interrupts wait one instruction after an STI that sets IF.
void sti_cli(Cpu& cpu, const Insn& insn) {
    if (cpu.cpl > cpu.iopl()) { // in real mode only with Deviation::CPL_FROM_SS
        if (cpu.protected_mode() && (cpu.cr4 & (x86::cr4::PVI | x86::cr4::VME)) != 0) {
            throw Open{"virtual interrupt flags (PVI, VME) are not modelled"};
        }
        gp0();
    }
    const bool sti = insn.zydis.mnemonic == ZYDIS_MNEMONIC_STI;
    cpu.next_shadow =
        sti && ((cpu.rflags & f::IF) == 0 || cpu.deviates(Deviation::STI_ALWAYS_SHADOWS));
    set_flags(cpu, f::IF, sti ? f::IF : 0);
}

// DIV: only whether it faults and unsigned results that fit 64 bits.
void divide(Cpu& cpu, const Insn& insn) {
    const unsigned bits = insn.operands[0].size;
    const uint64_t divisor = cpu.known_value(cpu.read_operand(insn.operands[0]));
    if (divisor == 0) {
        throw fault(x86::Vector::DE);
    }
    if (bits != 32) {
        throw Open{"DIV of this width is not modelled"};
    }
    const uint64_t dividend = cpu.gpr32(Gpr::RDX) << 32 | cpu.gpr32(Gpr::RAX);
    if (dividend / divisor > 0xffffffffull) {
        throw fault(x86::Vector::DE);
    }
    cpu.set_gpr32(Gpr::RAX, {dividend / divisor, ~0ull});
    cpu.set_gpr32(Gpr::RDX, {dividend % divisor, ~0ull});
    set_flags(cpu, 0, 0, ARITHMETIC);
}

void bound(Cpu& cpu, const Insn& insn) {
    const unsigned bits = insn.operands[0].size;
    const unsigned shift = 64 - bits;
    const auto sign = [&](uint64_t v) { return static_cast<int64_t>(v << shift) >> shift; };
    const SegReg r = cpu.segment_of(insn.operands[1]);
    const uint64_t offset = cpu.effective_offset(insn.operands[1]);
    const int64_t index = sign(cpu.known_value(cpu.read_operand(insn.operands[0])));
    const int64_t lower = sign(cpu.known_value(cpu.read(r, offset, bits / 8)));
    const int64_t upper = sign(cpu.known_value(cpu.read(r, offset + bits / 8, bits / 8)));
    if (index < lower || index > upper) {
        Exception e = fault(x86::Vector::BR);
        e.kind = Exception::Kind::INSTRUCTION;
        throw e;
    }
}

void swapgs(Cpu& cpu) {
    if (cpu.cpl != 0) {
        gp0();
    }
    std::swap(cpu.sreg(SegReg::GS).base, cpu.kernel_gs_base);
}

// Each of these says whether it knows the instruction.
bool execute_data(Cpu& cpu, const Insn& insn) {
    switch (insn.zydis.mnemonic) {
    case ZYDIS_MNEMONIC_MOV:
        move(cpu, insn);
        return true;
    case ZYDIS_MNEMONIC_MOVZX:
    case ZYDIS_MNEMONIC_MOVSX:
    case ZYDIS_MNEMONIC_MOVSXD:
        extend(cpu, insn);
        return true;
    case ZYDIS_MNEMONIC_LEA:
        cpu.write_operand(insn.operands[0], {cpu.effective_offset(insn.operands[1]), ~0ull});
        return true;
    case ZYDIS_MNEMONIC_ADD:
    case ZYDIS_MNEMONIC_SUB:
    case ZYDIS_MNEMONIC_CMP:
    case ZYDIS_MNEMONIC_XOR:
    case ZYDIS_MNEMONIC_OR:
    case ZYDIS_MNEMONIC_AND:
    case ZYDIS_MNEMONIC_TEST:
        binary(cpu, insn);
        return true;
    case ZYDIS_MNEMONIC_INC:
    case ZYDIS_MNEMONIC_DEC:
        increment(cpu, insn);
        return true;
    case ZYDIS_MNEMONIC_XCHG:
        exchange(cpu, insn);
        return true;
    case ZYDIS_MNEMONIC_DIV:
        divide(cpu, insn);
        return true;
    case ZYDIS_MNEMONIC_BOUND:
        bound(cpu, insn);
        return true;
    default:
        return false;
    }
}

bool execute_stack(Cpu& cpu, const Insn& insn) {
    if (insn.zydis.mnemonic == ZYDIS_MNEMONIC_PUSH) {
        // An immediate comes sign-extended from the decoder.
        const Masked value = cpu.read_operand(insn.operands[0]);
        cpu.push(value, stack_bytes(cpu, insn));
        return true;
    }
    if (insn.zydis.mnemonic != ZYDIS_MNEMONIC_POP ||
        insn.operands[0].type != ZYDIS_OPERAND_TYPE_REGISTER) {
        return false;
    }
    if (const auto r = segment_operand(insn)) {
        const Masked selector = cpu.pop(stack_bytes(cpu, insn));
        load_segment(
            cpu, *r,
            static_cast<uint16_t>(cpu.known_value({selector.value, selector.known | ~0xffffull})));
        return true;
    }
    cpu.write_reg(insn.operands[0].reg.value, cpu.pop(stack_bytes(cpu, insn)));
    return true;
}

bool execute_flags(Cpu& cpu, const Insn& insn) {
    switch (insn.zydis.mnemonic) {
    case ZYDIS_MNEMONIC_STI:
    case ZYDIS_MNEMONIC_CLI:
        sti_cli(cpu, insn);
        return true;
    case ZYDIS_MNEMONIC_CLC:
        set_flags(cpu, f::CF, 0);
        return true;
    case ZYDIS_MNEMONIC_STC:
        set_flags(cpu, f::CF, f::CF);
        return true;
    case ZYDIS_MNEMONIC_CLD:
        set_flags(cpu, f::DF, 0);
        return true;
    case ZYDIS_MNEMONIC_STD:
        set_flags(cpu, f::DF, f::DF);
        return true;
    default:
        return false;
    }
}

bool execute_other(Cpu& cpu, const Insn& insn) {
    switch (insn.zydis.mnemonic) {
    case ZYDIS_MNEMONIC_SWAPGS:
        swapgs(cpu);
        return true;
    case ZYDIS_MNEMONIC_NOP:
    case ZYDIS_MNEMONIC_LFENCE:
    case ZYDIS_MNEMONIC_MFENCE:
    case ZYDIS_MNEMONIC_SFENCE:
        return true;
    case ZYDIS_MNEMONIC_UD0:
    case ZYDIS_MNEMONIC_UD1:
    case ZYDIS_MNEMONIC_UD2:
        ud();
    default:
        return false;
    }
}

} // namespace

bool Cpu::execute_basic(const Insn& insn) {
    if ((insn.zydis.mnemonic == ZYDIS_MNEMONIC_MOV && execute_mov_control(*this, insn)) ||
        execute_flow(*this, insn)) {
        return true;
    }
    const bool known = execute_data(*this, insn) || execute_stack(*this, insn) ||
                       execute_flags(*this, insn) || execute_other(*this, insn);
    if (known) {
        rip = next_in_sequence(*this, insn);
    }
    return known;
}

} // namespace horos::model::svm::guest
