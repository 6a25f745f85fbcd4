#include "emul/emulator.hpp"

#include "emul/alu.hpp"

namespace horos::vmm {
namespace {

constexpr bool writes_memory(Operation operation) {
    return operation != Operation::compare && operation != Operation::test &&
           operation != Operation::bit_test;
}

// The operations of two operands that leave a result in the first.
alu::Result binary(Operation operation, u64 a, u64 b, bool carry, unsigned bytes) {
    switch (operation) {
    case Operation::add:
    case Operation::exchange_add:
        return alu::add(a, b, false, bytes);
    case Operation::add_carry:
        return alu::add(a, b, carry, bytes);
    case Operation::subtract_borrow:
        return alu::subtract(a, b, carry, bytes);
    case Operation::bit_and:
    case Operation::test:
        return alu::logic(a & b, bytes);
    case Operation::bit_or:
        return alu::logic(a | b, bytes);
    case Operation::bit_xor:
        return alu::logic(a ^ b, bytes);
    default: // subtract, compare
        return alu::subtract(a, b, false, bytes);
    }
}

} // namespace

u64 Emulator::read_gpr(const Operand& operand) const {
    const u64 full = cpu_.gpr[operand.gpr & 15];
    if (operand.kind == OperandKind::gpr_high)
        return (full >> 8) & 0xff;
    return full & byte_mask(operand.bytes);
}

void Emulator::write_gpr(const Operand& operand, u64 value) {
    u64& full = cpu_.gpr[operand.gpr & 15];
    if (operand.kind == OperandKind::gpr_high) {
        full = (full & ~u64{0xff00}) | (value & 0xff) << 8;
        return;
    }
    // A 32-bit result clears the upper half; narrower ones leave the rest (APM vol. 1 §3.1.2).
    const u64 mask = byte_mask(operand.bytes);
    full = operand.bytes == 4 ? value & mask : (full & ~mask) | (value & mask);
}

u64 Emulator::source_value(const Instruction& instruction) const {
    if (instruction.source.kind == OperandKind::immediate)
        return instruction.immediate;
    return read_gpr(instruction.source);
}

void Emulator::set_flags(u64 mask, u64 value) {
    cpu_.rflags = (cpu_.rflags & ~mask) | (value & mask);
}

u64 Emulator::operand_offset(const Instruction& instruction) const {
    const MemoryOperand& memory = instruction.memory;
    u64 offset = static_cast<u64>(memory.displacement);
    if (memory.base == MemoryOperand::rip)
        offset += cpu_.rip + instruction.length;
    else if (memory.base != MemoryOperand::no_gpr)
        offset += cpu_.gpr[memory.base & 15];
    if (memory.index != MemoryOperand::no_gpr)
        offset += cpu_.gpr[memory.index & 15] * memory.scale;
    return offset & byte_mask(instruction.address_bytes);
}

Outcome Emulator::operand_address(const Instruction& instruction, unsigned bytes, bool write,
                                  u64& result) {
    return access_.linear(instruction.memory.segment, operand_offset(instruction), bytes, write,
                          result);
}

// What drivers do nearly always: a MOV in 64-bit mode that stays in its page. The processor has
// translated the address and checked it; the device is at `physical`.
bool Emulator::simple_move(const Instruction& instruction, u64 physical) {
    constexpr u64 in_page = 0xfff;
    const bool store = instruction.destination.kind == OperandKind::memory;
    const unsigned bytes = store ? instruction.destination.bytes : instruction.source.bytes;
    const bool based = instruction.memory.segment == SegmentName::fs ||
                       instruction.memory.segment == SegmentName::gs;
    if (instruction.operation != Operation::move || !code_64(cpu_) || based ||
        (physical & in_page) + bytes > in_page + 1 ||
        ((operand_offset(instruction) ^ physical) & in_page) != 0)
        return false;
    if (store)
        mmio_.mmio_write(physical, bytes, source_value(instruction) & byte_mask(bytes));
    else if (instruction.source.kind == OperandKind::memory)
        write_gpr(instruction.destination, mmio_.mmio_read(physical, bytes) & byte_mask(bytes));
    else
        return false;
    return true;
}

Outcome Emulator::memory_access(const Instruction& instruction, u64 physical) {
    const Operation operation = instruction.operation;
    if (simple_move(instruction, physical))
        return Outcome::done();
    if (operation >= Operation::string_move && operation <= Operation::string_scan)
        return string_loop(instruction);
    access_.set_known_physical(physical);
    switch (operation) {
    case Operation::unsupported:
    case Operation::move_to_control:
    case Operation::load_status_word:
    case Operation::string_in:
    case Operation::string_out:
        return Outcome::unsupported("instruction not emulated on device memory");
    case Operation::compare_exchange:
        return compare_exchange(instruction);
    case Operation::bit_test:
    case Operation::bit_test_set:
    case Operation::bit_test_reset:
    case Operation::bit_test_complement:
        return bit_operation(instruction);
    default:
        break;
    }
    if (instruction.destination.kind == OperandKind::memory)
        return modify(instruction);
    if (instruction.source.kind == OperandKind::memory)
        return load(instruction);
    return Outcome::unsupported("instruction without a memory operand faulted on device memory");
}

Outcome Emulator::control_value(const Instruction& instruction, u64& value) {
    const Operand& source = instruction.source;
    if (source.kind == OperandKind::memory) { // LMSW alone
        u64 linear = 0;
        if (Outcome result = operand_address(instruction, 2, false, linear); !result.ok())
            return result;
        if (Outcome result = access_.read(linear, 2, value); !result.ok())
            return result;
    } else {
        value = read_gpr(source);
    }
    if (instruction.operation == Operation::load_status_word) {
        // It writes PE, MP, EM and TS, and cannot clear PE (APM vol. 3, LMSW).
        constexpr u64 written = 0xf;
        value = (cpu_.cr0 & ~written) | (value & written) | (cpu_.cr0 & x86::cr0::PE);
    }
    return Outcome::done();
}

// Register = f(register, memory).
Outcome Emulator::load(const Instruction& instruction) {
    const unsigned bytes = instruction.source.bytes;
    u64 linear = 0, value = 0;
    if (instruction.operation == Operation::exchange) {
        // XCHG is symmetric: bring it into the form with memory first.
        Instruction swapped = instruction;
        swapped.destination = instruction.source;
        swapped.source = instruction.destination;
        return modify(swapped);
    }
    if (Outcome result = operand_address(instruction, bytes, false, linear); !result.ok())
        return result;
    if (Outcome result = access_.read(linear, bytes, value); !result.ok())
        return result;
    switch (instruction.operation) {
    case Operation::move:
        write_gpr(instruction.destination, value);
        return Outcome::done();
    case Operation::move_sign:
        write_gpr(instruction.destination, sign_extend(value, bytes));
        return Outcome::done();
    default:
        break;
    }
    const alu::Result result = binary(instruction.operation, read_gpr(instruction.destination),
                                      value, flag(x86::rflags::CF), bytes);
    set_flags(alu::status_flags, result.flags);
    if (writes_memory(instruction.operation))
        write_gpr(instruction.destination, result.value);
    return Outcome::done();
}

// Memory = f(memory, register or immediate).
Outcome Emulator::modify(const Instruction& instruction) {
    const Operation operation = instruction.operation;
    const unsigned bytes = instruction.destination.bytes;
    const bool writes = writes_memory(operation);
    u64 linear = 0, old = 0;
    if (Outcome result = operand_address(instruction, bytes, writes, linear); !result.ok())
        return result;
    if (operation == Operation::move)
        return access_.write(linear, bytes, source_value(instruction));
    if (writes)
        if (Outcome result = access_.check_write(linear, bytes); !result.ok())
            return result;
    if (Outcome result = access_.read(linear, bytes, old); !result.ok())
        return result;

    const u64 mask = byte_mask(bytes);
    u64 flags_changed = alu::status_flags;
    alu::Result result{};
    switch (operation) {
    case Operation::exchange:
        result.value = source_value(instruction);
        flags_changed = 0;
        break;
    case Operation::increment:
        result = alu::add(old, 1, false, bytes);
        flags_changed &= ~x86::rflags::CF;
        break;
    case Operation::decrement:
        result = alu::subtract(old, 1, false, bytes);
        flags_changed &= ~x86::rflags::CF;
        break;
    case Operation::negate:
        result = alu::subtract(0, old, false, bytes);
        break;
    case Operation::invert:
        result.value = ~old & mask;
        flags_changed = 0;
        break;
    default:
        result =
            binary(operation, old, source_value(instruction) & mask, flag(x86::rflags::CF), bytes);
        break;
    }
    if (writes)
        if (Outcome written = access_.write(linear, bytes, result.value); !written.ok())
            return written;
    if (operation == Operation::exchange || operation == Operation::exchange_add)
        write_gpr(instruction.source, old);
    set_flags(flags_changed, result.flags);
    return Outcome::done();
}

// BT and its kin: a register's bit number reaches beyond the operand (APM vol. 3, BT).
Outcome Emulator::bit_operation(const Instruction& instruction) {
    const unsigned bytes = instruction.destination.bytes;
    const bool writes = writes_memory(instruction.operation);
    u64 linear = 0, old = 0;
    u64 number = source_value(instruction);
    Instruction moved = instruction;
    if (instruction.source.kind == OperandKind::gpr) {
        const i64 number_signed = static_cast<i64>(sign_extend(number, bytes));
        const i64 shift = bytes == 8 ? 6 : bytes == 4 ? 5 : 4;
        moved.memory.displacement += (number_signed >> shift) * bytes;
    }
    number &= bytes * 8 - 1;
    if (Outcome result = operand_address(moved, bytes, writes, linear); !result.ok())
        return result;
    if (writes)
        if (Outcome result = access_.check_write(linear, bytes); !result.ok())
            return result;
    if (Outcome result = access_.read(linear, bytes, old); !result.ok())
        return result;
    u64 value = old;
    if (instruction.operation == Operation::bit_test_set)
        value |= bit(static_cast<unsigned>(number));
    else if (instruction.operation == Operation::bit_test_reset)
        value &= ~bit(static_cast<unsigned>(number));
    else if (instruction.operation == Operation::bit_test_complement)
        value ^= bit(static_cast<unsigned>(number));
    if (writes)
        if (Outcome result = access_.write(linear, bytes, value); !result.ok())
            return result;
    set_flags(x86::rflags::CF, (old >> number) & 1);
    return Outcome::done();
}

Outcome Emulator::compare_exchange(const Instruction& instruction) {
    const unsigned bytes = instruction.destination.bytes;
    u64 linear = 0, old = 0;
    if (instruction.destination.kind != OperandKind::memory)
        return Outcome::unsupported("CMPXCHG without a memory operand");
    if (Outcome result = operand_address(instruction, bytes, true, linear); !result.ok())
        return result;
    if (Outcome result = access_.check_write(linear, bytes); !result.ok())
        return result;
    if (Outcome result = access_.read(linear, bytes, old); !result.ok())
        return result;
    const Operand accumulator{OperandKind::gpr, static_cast<u8>(Gpr::rax), static_cast<u8>(bytes)};
    const u64 expected = read_gpr(accumulator);
    const bool equal = expected == old;
    // Memory is written in either case (APM vol. 3, CMPXCHG).
    const u64 value = equal ? read_gpr(instruction.source) : old;
    if (Outcome result = access_.write(linear, bytes, value); !result.ok())
        return result;
    set_flags(alu::status_flags, alu::subtract(expected, old, false, bytes).flags);
    if (!equal)
        write_gpr(accumulator, old);
    return Outcome::done();
}

} // namespace horos::vmm
