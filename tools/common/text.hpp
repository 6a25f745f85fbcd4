// Small helpers for messages.
#pragma once
#include <cstdint>
#include <string>

namespace horos::tools {

std::string hex(std::uint64_t value); // "0x1f"

} // namespace horos::tools
