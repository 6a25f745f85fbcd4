// Limits may be written in terms of the named constants of abi/types.hpp.
#pragma once
#include <cstdint>
#include <optional>
#include <string>

namespace horos::tools::abigen {

// "255", "0xff", "max_frames", "max_frames - 1": nothing when it is none of these.
std::optional<std::uint64_t> constant_value(const std::string& text);
std::string known_constants(); // for messages

} // namespace horos::tools::abigen
