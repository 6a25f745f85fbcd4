// From Zydis' terms to ours. The only file that sees Zydis.
#include <Zydis/Decoder.h>

#include "emul/instruction.hpp"

namespace horos::vmm {
namespace {

Operation operation_of(ZydisMnemonic mnemonic) {
    switch (mnemonic) {
    case ZYDIS_MNEMONIC_MOV:
    case ZYDIS_MNEMONIC_MOVZX: // a move from a narrower source extends with zeros
    case ZYDIS_MNEMONIC_MOVNTI:
        return Operation::move;
    case ZYDIS_MNEMONIC_LMSW:
        return Operation::load_status_word;
    case ZYDIS_MNEMONIC_MOVSX:
    case ZYDIS_MNEMONIC_MOVSXD:
        return Operation::move_sign;
    case ZYDIS_MNEMONIC_ADD:
        return Operation::add;
    case ZYDIS_MNEMONIC_ADC:
        return Operation::add_carry;
    case ZYDIS_MNEMONIC_SUB:
        return Operation::subtract;
    case ZYDIS_MNEMONIC_SBB:
        return Operation::subtract_borrow;
    case ZYDIS_MNEMONIC_AND:
        return Operation::bit_and;
    case ZYDIS_MNEMONIC_OR:
        return Operation::bit_or;
    case ZYDIS_MNEMONIC_XOR:
        return Operation::bit_xor;
    case ZYDIS_MNEMONIC_CMP:
        return Operation::compare;
    case ZYDIS_MNEMONIC_TEST:
        return Operation::test;
    case ZYDIS_MNEMONIC_XCHG:
        return Operation::exchange;
    case ZYDIS_MNEMONIC_XADD:
        return Operation::exchange_add;
    case ZYDIS_MNEMONIC_CMPXCHG:
        return Operation::compare_exchange;
    case ZYDIS_MNEMONIC_INC:
        return Operation::increment;
    case ZYDIS_MNEMONIC_DEC:
        return Operation::decrement;
    case ZYDIS_MNEMONIC_NEG:
        return Operation::negate;
    case ZYDIS_MNEMONIC_NOT:
        return Operation::invert;
    case ZYDIS_MNEMONIC_BT:
        return Operation::bit_test;
    case ZYDIS_MNEMONIC_BTS:
        return Operation::bit_test_set;
    case ZYDIS_MNEMONIC_BTR:
        return Operation::bit_test_reset;
    case ZYDIS_MNEMONIC_BTC:
        return Operation::bit_test_complement;
    case ZYDIS_MNEMONIC_MOVSB:
    case ZYDIS_MNEMONIC_MOVSW:
    case ZYDIS_MNEMONIC_MOVSD: // the SSE2 instruction of that name has other operands
    case ZYDIS_MNEMONIC_MOVSQ:
        return Operation::string_move;
    case ZYDIS_MNEMONIC_STOSB:
    case ZYDIS_MNEMONIC_STOSW:
    case ZYDIS_MNEMONIC_STOSD:
    case ZYDIS_MNEMONIC_STOSQ:
        return Operation::string_store;
    case ZYDIS_MNEMONIC_LODSB:
    case ZYDIS_MNEMONIC_LODSW:
    case ZYDIS_MNEMONIC_LODSD:
    case ZYDIS_MNEMONIC_LODSQ:
        return Operation::string_load;
    case ZYDIS_MNEMONIC_CMPSB:
    case ZYDIS_MNEMONIC_CMPSW:
    case ZYDIS_MNEMONIC_CMPSD:
    case ZYDIS_MNEMONIC_CMPSQ:
        return Operation::string_compare;
    case ZYDIS_MNEMONIC_SCASB:
    case ZYDIS_MNEMONIC_SCASW:
    case ZYDIS_MNEMONIC_SCASD:
    case ZYDIS_MNEMONIC_SCASQ:
        return Operation::string_scan;
    case ZYDIS_MNEMONIC_INSB:
    case ZYDIS_MNEMONIC_INSW:
    case ZYDIS_MNEMONIC_INSD:
        return Operation::string_in;
    case ZYDIS_MNEMONIC_OUTSB:
    case ZYDIS_MNEMONIC_OUTSW:
    case ZYDIS_MNEMONIC_OUTSD:
        return Operation::string_out;
    default:
        return Operation::unsupported;
    }
}

constexpr bool is_string(Operation operation) {
    return operation >= Operation::string_move && operation <= Operation::string_out;
}

bool set_register(ZydisRegister reg, Operand& operand) {
    if (reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH) {
        operand.kind = OperandKind::gpr_high;
        operand.gpr = static_cast<u8>(reg - ZYDIS_REGISTER_AH);
        return true;
    }
    const ZydisRegisterClass kind = ZydisRegisterGetClass(reg);
    if (kind != ZYDIS_REGCLASS_GPR8 && kind != ZYDIS_REGCLASS_GPR16 &&
        kind != ZYDIS_REGCLASS_GPR32 && kind != ZYDIS_REGCLASS_GPR64)
        return false;
    // Within the byte registers SPL..DIL and R8B.. follow AH..BH, so their IDs are four too high.
    const ZyanI8 id = ZydisRegisterGetId(reg);
    operand.kind = OperandKind::gpr;
    operand.gpr =
        static_cast<u8>(kind == ZYDIS_REGCLASS_GPR8 && reg > ZYDIS_REGISTER_BH ? id - 4 : id);
    return true;
}

// MOV to a control register; all other uses of those are left to the processor.
bool is_control_write(const ZydisDecodedInstruction& from, const ZydisDecodedOperand* operands) {
    return from.mnemonic == ZYDIS_MNEMONIC_MOV && from.operand_count_visible == 2 &&
           operands[0].type == ZYDIS_OPERAND_TYPE_REGISTER &&
           ZydisRegisterGetClass(operands[0].reg.value) == ZYDIS_REGCLASS_CONTROL;
}

bool address_register(ZydisRegister reg, u8& number) {
    if (reg == ZYDIS_REGISTER_NONE) {
        number = MemoryOperand::no_gpr;
        return true;
    }
    if (reg == ZYDIS_REGISTER_RIP || reg == ZYDIS_REGISTER_EIP) {
        number = MemoryOperand::rip;
        return true;
    }
    Operand operand;
    if (!set_register(reg, operand) || operand.kind != OperandKind::gpr)
        return false;
    number = operand.gpr;
    return true;
}

bool set_memory(const ZydisDecodedOperand& from, Instruction& to) {
    MemoryOperand& memory = to.memory;
    switch (from.mem.segment) {
    case ZYDIS_REGISTER_ES:
        memory.segment = SegmentName::es;
        break;
    case ZYDIS_REGISTER_CS:
        memory.segment = SegmentName::cs;
        break;
    case ZYDIS_REGISTER_SS:
        memory.segment = SegmentName::ss;
        break;
    case ZYDIS_REGISTER_FS:
        memory.segment = SegmentName::fs;
        break;
    case ZYDIS_REGISTER_GS:
        memory.segment = SegmentName::gs;
        break;
    default:
        memory.segment = SegmentName::ds;
        break;
    }
    memory.scale = from.mem.scale == 0 ? 1 : from.mem.scale;
    memory.displacement = from.mem.disp.has_displacement ? from.mem.disp.value : 0;
    return address_register(from.mem.base, memory.base) &&
           address_register(from.mem.index, memory.index);
}

bool set_operand(const ZydisDecodedOperand& from, Operand& operand, Instruction& to) {
    operand.bytes = static_cast<u8>(from.size / 8);
    switch (from.type) {
    case ZYDIS_OPERAND_TYPE_REGISTER:
        return set_register(from.reg.value, operand);
    case ZYDIS_OPERAND_TYPE_MEMORY:
        operand.kind = OperandKind::memory;
        return set_memory(from, to);
    case ZYDIS_OPERAND_TYPE_IMMEDIATE:
        operand.kind = OperandKind::immediate;
        to.immediate = from.imm.is_signed ? static_cast<u64>(from.imm.value.s) : from.imm.value.u;
        return true;
    default:
        return false;
    }
}

Repeat repeat_of(const ZydisDecodedInstruction& from) {
    // F2h and F3h mean the same before a string instruction that compares nothing.
    const bool compares = operation_of(from.mnemonic) == Operation::string_compare ||
                          operation_of(from.mnemonic) == Operation::string_scan;
    if (!compares) {
        for (unsigned i = 0; i < from.raw.prefix_count; ++i)
            if (from.raw.prefixes[i].value == 0xf2 || from.raw.prefixes[i].value == 0xf3)
                return Repeat::while_count;
        return Repeat::once;
    }
    if (from.attributes & ZYDIS_ATTRIB_HAS_REPE)
        return Repeat::while_equal;
    if (from.attributes & ZYDIS_ATTRIB_HAS_REPNE)
        return Repeat::while_not_equal;
    return Repeat::once;
}

// The element and the segment of a string instruction come from its implicit memory operands;
// only DS:rSI can be overridden.
void set_string(const ZydisDecodedInstruction& from, const ZydisDecodedOperand* operands,
                Instruction& to) {
    to.repeat = repeat_of(from);
    to.memory.segment = SegmentName::ds;
    bool has_memory = false;
    for (unsigned i = 0; i < from.operand_count; ++i) {
        const ZydisDecodedOperand& operand = operands[i];
        if (operand.type != ZYDIS_OPERAND_TYPE_MEMORY)
            continue;
        has_memory = true;
        to.operand_bytes = static_cast<u8>(operand.size / 8);
        const ZydisRegister base =
            ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, operand.mem.base);
        if (base == ZYDIS_REGISTER_RSI)
            set_memory(operand, to);
    }
    if (!has_memory || from.meta.category == ZYDIS_CATEGORY_DATAXFER)
        to.operation = Operation::unsupported; // MOVSD and CMPSD of SSE2
}

void convert(const ZydisDecodedInstruction& from, const ZydisDecodedOperand* operands,
             Instruction& to) {
    to = {};
    to.length = from.length;
    to.address_bytes = static_cast<u8>(from.address_width / 8);
    to.operand_bytes = static_cast<u8>(from.operand_width / 8);
    to.locked = (from.attributes & ZYDIS_ATTRIB_HAS_LOCK) != 0;
    to.operation = operation_of(from.mnemonic);
    if (to.operation == Operation::unsupported)
        return;
    if (is_control_write(from, operands)) {
        to.operation = Operation::move_to_control;
        to.destination.gpr = static_cast<u8>(ZydisRegisterGetId(operands[0].reg.value));
        if (!set_operand(operands[1], to.source, to))
            to.operation = Operation::unsupported;
        return;
    }
    if (is_string(to.operation)) {
        set_string(from, operands, to);
        return;
    }
    const unsigned count = from.operand_count_visible;
    if (to.operation == Operation::load_status_word) {
        if (!set_operand(operands[0], to.source, to))
            to.operation = Operation::unsupported;
        return;
    }
    bool known = count >= 1 && count <= 2 && set_operand(operands[0], to.destination, to);
    if (known && count == 2)
        known = set_operand(operands[1], to.source, to);
    if (!known)
        to.operation = Operation::unsupported;
}

} // namespace

bool decode(const u8* bytes, unsigned count, CodeSize size, Instruction& result) {
    ZydisDecoder decoder;
    ZyanStatus status = ZYAN_STATUS_FAILED;
    switch (size) {
    case CodeSize::bits_64:
        status = ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
        break;
    case CodeSize::bits_32:
        status =
            ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_COMPAT_32, ZYDIS_STACK_WIDTH_32);
        break;
    case CodeSize::bits_16:
        status =
            ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_COMPAT_16, ZYDIS_STACK_WIDTH_16);
        break;
    }
    if (!ZYAN_SUCCESS(status))
        return false;
    ZydisDecodedInstruction instruction;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, bytes, count, &instruction, operands)))
        return false;
    convert(instruction, operands, result);
    return true;
}

} // namespace horos::vmm
