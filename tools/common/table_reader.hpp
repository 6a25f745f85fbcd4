// Checked reading of one TOML table: each getter names its key, so that what was never asked for
// is known at the end to be a mistake, and can be answered with what would have been allowed.
#pragma once
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tools/common/document.hpp"

namespace horos::tools {

struct Range {
    std::int64_t min = 0;
    std::int64_t max = std::numeric_limits<std::int64_t>::max();
};

class TableReader {
public:
    // `path` is put before the keys in messages: "partition[1].".
    TableReader(const Value& table, std::string path, Diagnostics& diagnostics);

    // The required ones report a missing key and return a harmless value.
    std::string string(std::string_view key);
    std::int64_t integer(std::string_view key, Range range = {});
    std::optional<std::string> optional_string(std::string_view key);
    std::optional<std::int64_t> optional_integer(std::string_view key, Range range = {});
    std::optional<bool> optional_boolean(std::string_view key);
    // One of the names; its index. Missing: nothing.
    std::optional<std::size_t> optional_choice(std::string_view key,
                                               const std::vector<std::string>& names);
    std::optional<std::uint64_t> optional_size(std::string_view key); // 4096 or "64 MiB"
    const Value* optional_value(std::string_view key) { return get(key, false); }
    const Value* optional_value(std::string_view key, ValueKind kind);
    // Elements of an array of tables (or of an inline array); empty when missing.
    std::vector<const Value*> elements(std::string_view key, ValueKind element_kind);

    [[nodiscard]] bool has(std::string_view key) const { return table_.find(key) != nullptr; }
    // Where to point for a message about this key: the value, or the table when it is missing.
    [[nodiscard]] Where where(std::string_view key) const;
    [[nodiscard]] std::string path(std::string_view key) const { return path_ + std::string(key); }
    void error(std::string_view key, std::string message);
    void finish(); // reports the keys that nobody asked for

private:
    const Value* get(std::string_view key, bool required);
    const Value* typed(std::string_view key, ValueKind kind, bool required);
    std::int64_t checked(std::string_view key, const Value& value, Range range);

    const Value& table_;
    std::string path_;
    Diagnostics& diagnostics_;
    std::vector<std::string> asked_;
};

// "64 MiB", "1GiB", "4 KiB", "4096": nothing when it is not a size.
std::optional<std::uint64_t> parse_size(std::string_view text);
std::string join(const std::vector<std::string>& words, std::string_view separator);

} // namespace horos::tools
