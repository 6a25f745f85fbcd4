// A number in JSON: unsigned, boolean, or a string such as "0x80050033".
#pragma once

#include "input.hpp"

#include <nlohmann/json.hpp>

namespace horos::explain {

inline uint64_t json_number(const nlohmann::json& value, const std::string& where) {
    if (value.is_number_unsigned()) {
        return value.get<uint64_t>();
    }
    if (value.is_boolean()) {
        return value.get<bool>() ? 1 : 0;
    }
    if (value.is_string()) {
        const auto& text = value.get_ref<const std::string&>();
        size_t used = 0;
        try {
            if (text.empty() || text[0] == '-') {
                throw std::invalid_argument("");
            }
            const uint64_t n = std::stoull(text, &used, 0);
            if (used == text.size()) {
                return n;
            }
        } catch (const std::exception&) {
        }
        throw InputError(where + ": '" + text +
                         "' is not a number (0x..., or decimal, at most 64 bits)");
    }
    throw InputError(where +
                     ": needs a number from 0, or a string with one such as \"0x80050033\"");
}

} // namespace horos::explain
