// A decoded instruction in the few terms that emulation needs. Small, so that many fit a cache.
#pragma once

#include "base.hpp"

namespace horos::vmm {

enum class Operation : u8 {
    unsupported,
    move,      // destination = source
    move_sign, // MOVSX, MOVSXD
    add,
    add_carry,
    subtract,
    subtract_borrow,
    bit_and,
    bit_or,
    bit_xor,
    compare,
    test,
    exchange,
    exchange_add,
    compare_exchange,
    increment,
    decrement,
    negate,
    invert,
    bit_test,
    bit_test_set,
    bit_test_reset,
    bit_test_complement,
    move_to_control,  // destination.gpr is the control register
    load_status_word, // LMSW
    string_move,
    string_store,
    string_load,
    string_compare,
    string_scan,
    string_in,
    string_out,
};

enum class OperandKind : u8 { none, gpr, gpr_high, memory, immediate };

struct Operand {
    OperandKind kind = OperandKind::none;
    u8 gpr = 0; // number as in abi::Gpr; gpr_high is bits 15:8 of that register
    u8 bytes = 0;
};

enum class SegmentName : u8 { es, cs, ss, ds, fs, gs };

// Memory operand: segment:[base + index * scale + displacement].
struct MemoryOperand {
    static constexpr u8 no_gpr = 0xff;
    static constexpr u8 rip = 0xfe;
    SegmentName segment = SegmentName::ds;
    u8 base = no_gpr;
    u8 index = no_gpr;
    u8 scale = 1;
    i64 displacement = 0;
};

enum class Repeat : u8 { once, while_count, while_equal, while_not_equal };

struct Instruction {
    u8 length = 0;
    Operation operation = Operation::unsupported;
    u8 operand_bytes = 0; // element size of string instructions
    u8 address_bytes = 8;
    Repeat repeat = Repeat::once;
    bool locked = false;
    Operand destination{};
    Operand source{};
    MemoryOperand memory{};
    u64 immediate = 0;
};

// How the processor would read the bytes (APM vol. 1 §1.2).
enum class CodeSize : u8 { bits_16, bits_32, bits_64 };

inline constexpr unsigned max_instruction_bytes = 15;

// Decodes with Zydis. False: the bytes are no instruction (or too few). An instruction that the
// emulator cannot do has operation `unsupported` and a valid length.
bool decode(const u8* bytes, unsigned count, CodeSize size, Instruction& result);

} // namespace horos::vmm
