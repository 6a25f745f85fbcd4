// A TOML document as a plain tree that remembers where each value stands. The TOML parser is an
// expensive header; only document.cpp includes it.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tools/common/diagnostics.hpp"

namespace horos::tools {

enum class ValueKind { string, integer, real, boolean, array, table, date };

struct Member;

struct Value {
    ValueKind kind = ValueKind::table;
    Where where;
    std::string string;
    std::int64_t integer = 0;
    double real = 0;
    bool boolean = false;
    std::vector<Value> elements; // array
    std::vector<Member> members; // table

    [[nodiscard]] const Member* find(std::string_view key) const;
};

struct Member {
    std::string key;
    Where where; // of the key
    Value value;
};

[[nodiscard]] const char* kind_name(ValueKind kind); // "an integer", "a table", …

// Syntax errors become one diagnostic and an empty result.
std::optional<Value> parse_toml(std::string_view text, const std::string& file, Diagnostics& out);
// Throws Fatal when the file cannot be read.
std::optional<Value> load_toml(const std::string& file, Diagnostics& out);

} // namespace horos::tools
