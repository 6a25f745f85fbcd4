#include "tools/common/crc32c.hpp"

#include <array>

namespace horos::tools {
namespace {

constexpr std::array<std::uint32_t, 256> make_table() {
    std::array<std::uint32_t, 256> table{};
    for (std::uint32_t byte = 0; byte < 256; ++byte) {
        std::uint32_t value = byte;
        for (int bit = 0; bit < 8; ++bit) {
            value = (value & 1) != 0 ? (value >> 1) ^ 0x82f63b78u : value >> 1;
        }
        table[byte] = value;
    }
    return table;
}

constexpr std::array<std::uint32_t, 256> table = make_table();

} // namespace

std::uint32_t crc32c(std::span<const std::uint8_t> bytes) {
    std::uint32_t value = ~0u;
    for (const std::uint8_t byte : bytes) {
        value = table[(value ^ byte) & 0xff] ^ (value >> 8);
    }
    return ~value;
}

} // namespace horos::tools
