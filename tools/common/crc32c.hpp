// CRC-32C (Castagnoli), as the bundle uses it: reflected polynomial 0x82f63b78, initial value and
// final XOR all ones.
#pragma once
#include <cstdint>
#include <span>

namespace horos::tools {

std::uint32_t crc32c(std::span<const std::uint8_t> bytes);

} // namespace horos::tools
