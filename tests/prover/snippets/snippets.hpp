// The state that the snippets work on.
#pragma once
#include <cstdint>

namespace snippets {

using u8 = std::uint8_t;
using u16 = std::uint16_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;

inline constexpr u32 row_count = 8;
struct Row {
    u64 wide;
    u32 half;
    u32 kind;
    u8 bytes[8];
};

using Function = u64 (*)(u64, u64, u64);
using Predicate = bool (*)(u64, u64, u64);

} // namespace snippets
