#include "tools/abigen/constants.hpp"

#include <charconv>
#include <horos/abi/types.hpp>
#include <utility>

namespace horos::tools::abigen {
namespace {

constexpr std::pair<const char*, std::uint64_t> constants[] = {
    {"max_selector", abi::max_selector}, {"max_frames", abi::max_frames},
    {"max_blocks", abi::max_blocks},     {"max_cores", abi::max_cores},
    {"sc_slots", abi::sc_slots},         {"max_windows", abi::max_windows},
    {"max_gsi", abi::max_gsi},           {"max_msi", abi::max_msi},
    {"user_end", abi::user_end},         {"guest_end", abi::guest_end}};

std::optional<std::uint64_t> atom(const std::string& text) {
    for (const auto& [name, value] : constants) {
        if (text == name) {
            return value;
        }
    }
    const bool is_hex = text.starts_with("0x");
    const char* first = text.data() + (is_hex ? 2 : 0);
    const char* last = text.data() + text.size();
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(first, last, value, is_hex ? 16 : 10);
    return error == std::errc{} && end == last ? std::optional(value) : std::nullopt;
}

} // namespace

std::optional<std::uint64_t> constant_value(const std::string& text) {
    const std::string minus_one = " - 1";
    if (!text.ends_with(minus_one)) {
        return atom(text);
    }
    const auto value = atom(text.substr(0, text.size() - minus_one.size()));
    return value && *value != 0 ? std::optional(*value - 1) : std::nullopt;
}

std::string known_constants() {
    std::string out;
    for (const auto& [name, value] : constants) {
        out += (out.empty() ? "" : ", ") + std::string(name);
    }
    return out;
}

} // namespace horos::tools::abigen
