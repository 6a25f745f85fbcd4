#include <cpuid.h>

#include <horos/rt/crc32c.hpp>

namespace horos::rt {
namespace {

using abi::u32;
using abi::u64;
using abi::u8;

constexpr u32 polynomial = 0x82f6'3b78; // reflected

struct Table {
    u32 entries[256];
    constexpr Table() : entries{} {
        for (u32 i = 0; i < 256; ++i) {
            u32 value = i;
            for (u32 bit = 0; bit < 8; ++bit) {
                value = (value >> 1) ^ ((value & 1) != 0 ? polynomial : 0);
            }
            entries[i] = value;
        }
    }
};
constexpr Table table;

bool has_crc_instruction() {
    u32 a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_SSE4_2) != 0;
}

u32 by_table(const u8* bytes, u64 size, u32 crc) {
    for (u64 i = 0; i < size; ++i) {
        crc = (crc >> 8) ^ table.entries[(crc ^ bytes[i]) & 0xff];
    }
    return crc;
}

u32 by_instruction(const u8* bytes, u64 size, u32 crc) {
    u64 wide = crc;
    for (; size >= 8; size -= 8, bytes += 8) {
        u64 word;
        __builtin_memcpy(&word, bytes, 8);
        asm("crc32q %1, %0" : "+r"(wide) : "r"(word));
    }
    crc = static_cast<u32>(wide);
    for (; size != 0; --size, ++bytes) {
        asm("crc32b %1, %0" : "+r"(crc) : "q"(*bytes));
    }
    return crc;
}

} // namespace

u32 crc32c(const void* bytes, u64 size, u32 crc) {
    const auto* start = static_cast<const u8*>(bytes);
    return ~(has_crc_instruction() ? by_instruction(start, size, ~crc)
                                   : by_table(start, size, ~crc));
}

} // namespace horos::rt
