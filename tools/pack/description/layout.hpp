// Where a Linux partition's memory is in its guest-physical address space.
#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include "tools/pack/description/source.hpp"

namespace horos::tools::pack {

// The PC's hole for devices below 4 GiB: RAM that would lie there goes above.
inline constexpr std::uint64_t device_hole = std::uint64_t{3} << 30;
inline constexpr std::uint64_t high_memory = std::uint64_t{4} << 30;

// The RAM that overlaps the range, as text; nothing when none does (or for a native partition).
std::optional<std::string> inside_guest_ram(const PartitionSource& partition, std::uint64_t address,
                                            std::uint64_t size);

} // namespace horos::tools::pack
