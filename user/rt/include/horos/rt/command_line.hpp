// Options in a program's command line: words of the form name=value, or just name.
#pragma once
#include <string_view>

#include <horos/abi/types.hpp>

namespace horos::rt {

// The value of the last `name=value`; `name` alone gives an empty value and sets `found`.
std::string_view text_option(std::string_view line, std::string_view name, bool& found);

bool has_option(std::string_view line, std::string_view name);

// Decimal; anything else gives the default.
abi::u64 number_option(std::string_view line, std::string_view name, abi::u64 otherwise);

} // namespace horos::rt
