// A flat program as it stands in a bundle: abi::ProgramHeader in the first page, then segments.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tools/pack/page_image.hpp"

namespace horos::tools::pack {

struct ProgramImage {
    std::uint64_t entry = 0;
    std::vector<Run> segments;
};

std::vector<std::uint8_t> encode_program(const ProgramImage& image, const std::string& name);
// Checks everything that kernel and root task rely on; throws Fatal, naming `name`.
ProgramImage decode_program(std::span<const std::uint8_t> bytes, const std::string& name);

std::string rights_text(std::uint32_t rights); // "r-x"

} // namespace horos::tools::pack
