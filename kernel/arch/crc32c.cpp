// CRC-32C (Castagnoli): the SSE 4.2 instruction where there is one, else a table.
#include "bundle_check.hpp"

#ifdef HOROS_FREESTANDING
#include "cpu.hpp"
#endif

namespace horos::arch {
namespace {

struct Table {
    u32 entry[256];
};

constexpr Table make_table() {
    Table table{};
    for (u32 i = 0; i < 256; ++i) {
        u32 value = i;
        for (int bit = 0; bit < 8; ++bit)
            value = value >> 1 ^ (value & 1 ? 0x82f6'3b78u : 0);
        table.entry[i] = value;
    }
    return table;
}
constexpr Table table = make_table();

u32 by_table(u32 crc, const u8* data, u64 size) {
    for (u64 i = 0; i < size; ++i)
        crc = crc >> 8 ^ table.entry[(crc ^ data[i]) & 0xff];
    return crc;
}

#ifdef HOROS_FREESTANDING
u32 by_instruction(u32 crc, const u8* data, u64 size) {
    u64 value = crc;
    u64 at = 0;
    for (; size - at >= 8; at += 8)
        asm("crc32q %1, %0" : "+r"(value) : "m"(*reinterpret_cast<const u64*>(data + at)));
    return by_table(static_cast<u32>(value), data + at, size - at);
}
#endif

} // namespace

u32 crc32c(u32 crc, const u8* data, u64 size) {
#ifdef HOROS_FREESTANDING
    if (features.crc32)
        return ~by_instruction(~crc, data, size);
#endif
    return ~by_table(~crc, data, size);
}

} // namespace horos::arch
