// The boot bundle (abi/bundle.hpp): writing, reading and checking it.
#pragma once
#include <cstdint>
#include <horos/abi/bundle.hpp>
#include <span>
#include <string>
#include <vector>

namespace horos::tools::pack {

struct BundleItem {
    std::string name;
    abi::BundleType type = abi::BundleType::none;
    std::vector<std::uint8_t> bytes;
    // What a reader found in the entry; written ones are computed.
    std::uint64_t offset = 0;
    std::uint32_t crc32c = 0;
};

const char* type_name(abi::BundleType type);

// Throws Fatal for names that are too long or there twice, and for too many items.
std::vector<std::uint8_t> encode_bundle(const std::vector<BundleItem>& items);
// Checks everything, checksums included; throws Fatal, naming `file` and the entry.
std::vector<BundleItem> decode_bundle(std::span<const std::uint8_t> bytes, const std::string& file);

} // namespace horos::tools::pack
