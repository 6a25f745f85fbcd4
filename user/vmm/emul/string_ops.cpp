// String instructions, element by element in bounded slices.
#include "emul/alu.hpp"
#include "emul/emulator.hpp"

namespace horos::vmm {

u64 Emulator::address_gpr(const Instruction& instruction, Gpr number) const {
    return gpr(number) & byte_mask(instruction.address_bytes);
}

void Emulator::set_address_gpr(const Instruction& instruction, Gpr number, u64 value) {
    write_gpr({OperandKind::gpr, static_cast<u8>(number), instruction.address_bytes}, value);
}

u64 Emulator::count_register(const Instruction& instruction) const {
    return address_gpr(instruction, Gpr::rcx);
}

void Emulator::step_pointer(const Instruction& instruction, Gpr number) {
    const u64 old = address_gpr(instruction, number);
    const u64 step = instruction.operand_bytes;
    set_address_gpr(instruction, number, flag(x86::rflags::DF) ? old - step : old + step);
}

Outcome Emulator::source_element(const Instruction& instruction, u64& value) {
    u64 linear = 0;
    const u64 offset = address_gpr(instruction, Gpr::rsi);
    if (Outcome result = access_.linear(instruction.memory.segment, offset,
                                        instruction.operand_bytes, false, linear);
        !result.ok())
        return result;
    return access_.read(linear, instruction.operand_bytes, value);
}

// ES:rDI, which no prefix overrides.
Outcome Emulator::destination_address(const Instruction& instruction, bool write, u64& linear) {
    const u64 offset = address_gpr(instruction, Gpr::rdi);
    return access_.linear(SegmentName::es, offset, instruction.operand_bytes, write, linear);
}

Outcome Emulator::string_element(const Instruction& instruction) {
    const unsigned bytes = instruction.operand_bytes;
    const Operand accumulator{OperandKind::gpr, static_cast<u8>(Gpr::rax), static_cast<u8>(bytes)};
    const u16 port = static_cast<u16>(gpr(Gpr::rdx));
    const Operation operation = instruction.operation;
    u64 value = 0, other = 0, linear = 0;

    const bool reads_source =
        operation == Operation::string_move || operation == Operation::string_load ||
        operation == Operation::string_compare || operation == Operation::string_out;
    const bool uses_destination =
        operation != Operation::string_load && operation != Operation::string_out;
    const bool writes = operation == Operation::string_move ||
                        operation == Operation::string_store || operation == Operation::string_in;
    if (uses_destination) {
        if (Outcome result = destination_address(instruction, writes, linear); !result.ok())
            return result;
        if (writes) // before a device is read, whose read may have an effect
            if (Outcome result = access_.check_write(linear, bytes); !result.ok())
                return result;
    }
    if (reads_source)
        if (Outcome result = source_element(instruction, value); !result.ok())
            return result;
    if (operation == Operation::string_store || operation == Operation::string_scan)
        value = read_gpr(accumulator);
    if (operation == Operation::string_in)
        value = ports_.port_read(port, bytes);
    if (writes)
        if (Outcome result = access_.write(linear, bytes, value); !result.ok())
            return result;
    if (operation == Operation::string_compare || operation == Operation::string_scan) {
        if (Outcome result = access_.read(linear, bytes, other); !result.ok())
            return result;
        set_flags(alu::status_flags, alu::subtract(value, other, false, bytes).flags);
    }
    if (operation == Operation::string_load)
        write_gpr(accumulator, value);
    if (operation == Operation::string_out)
        ports_.port_write(port, bytes, static_cast<u32>(value));
    if (reads_source)
        step_pointer(instruction, Gpr::rsi);
    if (uses_destination)
        step_pointer(instruction, Gpr::rdi);
    return Outcome::done();
}

Outcome Emulator::string_loop(const Instruction& instruction) {
    if (instruction.repeat == Repeat::once)
        return string_element(instruction);
    for (unsigned i = 0; i < slice; ++i) {
        const u64 count = count_register(instruction);
        if (count == 0)
            return Outcome::done();
        if (Outcome result = string_element(instruction); !result.ok())
            return result;
        set_address_gpr(instruction, Gpr::rcx, count - 1);
        const bool equal = flag(x86::rflags::ZF);
        if (count == 1 || (instruction.repeat == Repeat::while_equal && !equal) ||
            (instruction.repeat == Repeat::while_not_equal && equal))
            return Outcome::done();
    }
    return Outcome::again();
}

Outcome Emulator::string_io(const Instruction& instruction) {
    if (instruction.operation != Operation::string_in &&
        instruction.operation != Operation::string_out)
        return Outcome::unsupported("a string I/O exit at an instruction that is none");
    return string_loop(instruction);
}

} // namespace horos::vmm
