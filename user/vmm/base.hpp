// Integer names and small helpers used by every part of the VMM.
#pragma once

#include <cstddef>
#include <cstdint>

namespace horos::vmm {

using u8 = std::uint8_t;
using u16 = std::uint16_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;
using i8 = std::int8_t;
using i16 = std::int16_t;
using i32 = std::int32_t;
using i64 = std::int64_t;
using u128 = unsigned __int128;

// A moment in host TSC ticks, and "no moment".
using Ticks = u64;
inline constexpr Ticks never = ~Ticks{0};

constexpr u64 bit(unsigned n) { return u64{1} << n; }
constexpr u32 bit32(unsigned n) { return u32{1} << n; }

// All ones in the low `bytes` bytes.
constexpr u64 byte_mask(unsigned bytes) {
    return bytes >= 8 ? ~u64{0} : (u64{1} << (bytes * 8)) - 1;
}

constexpr u64 sign_extend(u64 value, unsigned bytes) {
    const unsigned shift = 64 - bytes * 8;
    return static_cast<u64>(static_cast<i64>(value << shift) >> shift);
}

} // namespace horos::vmm
