// The arithmetic that emulated instructions do, with the flags it leaves.
#pragma once

#include <bit>

#include "base.hpp"
#include "horos/defs/x86.hpp"

namespace horos::vmm::alu {

struct Result {
    u64 value;
    u64 flags; // the six status flags
};

inline constexpr u64 status_flags = x86::rflags::CF | x86::rflags::PF | x86::rflags::AF |
                                    x86::rflags::ZF | x86::rflags::SF | x86::rflags::OF;

// SF, ZF and PF of a result.
constexpr u64 result_flags(u64 value, unsigned bytes) {
    u64 flags = 0;
    if (value == 0)
        flags |= x86::rflags::ZF;
    if ((value >> (bytes * 8 - 1)) & 1)
        flags |= x86::rflags::SF;
    if ((std::popcount(value & 0xff) & 1) == 0)
        flags |= x86::rflags::PF;
    return flags;
}

constexpr Result add(u64 a, u64 b, bool carry, unsigned bytes) {
    const u64 mask = byte_mask(bytes);
    const u64 value = (a + b + (carry ? 1 : 0)) & mask;
    u64 flags = result_flags(value, bytes);
    // Carry out of bit n is the majority of both operands and the inverted sum there.
    const u64 carries = (a & b) | ((a | b) & ~value);
    const unsigned top = bytes * 8 - 1;
    if ((carries >> top) & 1)
        flags |= x86::rflags::CF;
    if ((carries >> 3) & 1)
        flags |= x86::rflags::AF;
    if ((((a ^ value) & (b ^ value)) >> top) & 1)
        flags |= x86::rflags::OF;
    return {value, flags};
}

constexpr Result subtract(u64 a, u64 b, bool borrow, unsigned bytes) {
    const u64 mask = byte_mask(bytes);
    const u64 value = (a - b - (borrow ? 1 : 0)) & mask;
    u64 flags = result_flags(value, bytes);
    const u64 borrows = (~a & b) | ((~a | b) & value);
    const unsigned top = bytes * 8 - 1;
    if ((borrows >> top) & 1)
        flags |= x86::rflags::CF;
    if ((borrows >> 3) & 1)
        flags |= x86::rflags::AF;
    if ((((a ^ b) & (a ^ value)) >> top) & 1)
        flags |= x86::rflags::OF;
    return {value, flags};
}

// AND, OR, XOR and TEST: carry and overflow are cleared; AF is undefined and cleared here.
constexpr Result logic(u64 value, unsigned bytes) {
    const u64 kept = value & byte_mask(bytes);
    return {kept, result_flags(kept, bytes)};
}

} // namespace horos::vmm::alu
