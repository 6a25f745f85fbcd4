#include "tools/common/table_reader.hpp"

#include <algorithm>
#include <charconv>
#include <utility>

namespace horos::tools {

TableReader::TableReader(const Value& table, std::string path, Diagnostics& diagnostics)
    : table_(table), path_(std::move(path)), diagnostics_(diagnostics) {}

const Value* TableReader::get(std::string_view key, bool required) {
    if (std::find(asked_.begin(), asked_.end(), key) == asked_.end()) {
        asked_.emplace_back(key);
    }
    const Member* member = table_.find(key);
    if (member == nullptr) {
        if (required) {
            error(key, "is missing");
        }
        return nullptr;
    }
    return &member->value;
}

const Value* TableReader::typed(std::string_view key, ValueKind kind, bool required) {
    const Value* value = get(key, required);
    if (value != nullptr && value->kind != kind) {
        error(key, std::string("must be ") + kind_name(kind) + ", not " + kind_name(value->kind));
        return nullptr;
    }
    return value;
}

std::string TableReader::string(std::string_view key) {
    const Value* value = typed(key, ValueKind::string, true);
    return value != nullptr ? value->string : std::string();
}

std::int64_t TableReader::checked(std::string_view key, const Value& value, Range range) {
    if (value.integer >= range.min && value.integer <= range.max) {
        return value.integer;
    }
    std::string allowed = "at least " + std::to_string(range.min);
    if (range.max != std::numeric_limits<std::int64_t>::max()) {
        allowed = std::to_string(range.min) + " to " + std::to_string(range.max);
    }
    error(key, std::to_string(value.integer) + " is out of range; allowed: " + allowed);
    return range.min;
}

std::int64_t TableReader::integer(std::string_view key, Range range) {
    const Value* value = typed(key, ValueKind::integer, true);
    return value != nullptr ? checked(key, *value, range) : range.min;
}

std::optional<std::string> TableReader::optional_string(std::string_view key) {
    const Value* value = typed(key, ValueKind::string, false);
    return value != nullptr ? std::optional(value->string) : std::nullopt;
}

std::optional<std::int64_t> TableReader::optional_integer(std::string_view key, Range range) {
    const Value* value = typed(key, ValueKind::integer, false);
    return value != nullptr ? std::optional(checked(key, *value, range)) : std::nullopt;
}

std::optional<bool> TableReader::optional_boolean(std::string_view key) {
    const Value* value = typed(key, ValueKind::boolean, false);
    return value != nullptr ? std::optional(value->boolean) : std::nullopt;
}

std::optional<std::size_t> TableReader::optional_choice(std::string_view key,
                                                        const std::vector<std::string>& names) {
    const Value* value = typed(key, ValueKind::string, false);
    if (value == nullptr) {
        return std::nullopt;
    }
    const auto found = std::find(names.begin(), names.end(), value->string);
    if (found == names.end()) {
        error(key, "'" + value->string + "' is not known; allowed: " + join(names, ", "));
        return std::nullopt;
    }
    return static_cast<std::size_t>(found - names.begin());
}

std::optional<std::uint64_t> TableReader::optional_size(std::string_view key) {
    const Value* value = get(key, false);
    if (value == nullptr) {
        return std::nullopt;
    }
    if (value->kind == ValueKind::integer && value->integer >= 0) {
        return static_cast<std::uint64_t>(value->integer);
    }
    if (value->kind == ValueKind::string) {
        if (const auto size = parse_size(value->string)) {
            return size;
        }
    }
    error(key, "must be a size in bytes, as in 4096, \"64 KiB\", \"256 MiB\" or \"1 GiB\"");
    return std::nullopt;
}

const Value* TableReader::optional_value(std::string_view key, ValueKind kind) {
    return typed(key, kind, false);
}

std::vector<const Value*> TableReader::elements(std::string_view key, ValueKind element_kind) {
    std::vector<const Value*> out;
    const Value* array = typed(key, ValueKind::array, false);
    if (array == nullptr) {
        return out;
    }
    for (const Value& element : array->elements) {
        if (element.kind != element_kind) {
            diagnostics_.error(element.where, path(key),
                               std::string("each element must be ") + kind_name(element_kind) +
                                   ", not " + kind_name(element.kind));
            continue;
        }
        out.push_back(&element);
    }
    return out;
}

Where TableReader::where(std::string_view key) const {
    const Member* member = table_.find(key);
    return member != nullptr ? member->value.where : table_.where;
}

void TableReader::error(std::string_view key, std::string message) {
    diagnostics_.error(where(key), path(key), std::move(message));
}

void TableReader::finish() {
    for (const Member& member : table_.members) {
        if (std::find(asked_.begin(), asked_.end(), member.key) == asked_.end()) {
            diagnostics_.error(member.where, path_ + member.key,
                               "is not a known key here; allowed: " + join(asked_, ", "));
        }
    }
}

std::optional<std::uint64_t> parse_size(std::string_view text) {
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc{}) {
        return std::nullopt;
    }
    std::string_view unit = text.substr(static_cast<std::size_t>(end - text.data()));
    while (!unit.empty() && unit.front() == ' ') {
        unit.remove_prefix(1);
    }
    constexpr std::pair<std::string_view, unsigned> units[] = {
        {"", 0}, {"B", 0}, {"KiB", 10}, {"MiB", 20}, {"GiB", 30}};
    for (const auto& [name, shift] : units) {
        if (unit == name && number <= (~std::uint64_t{0} >> shift)) {
            return number << shift;
        }
    }
    return std::nullopt;
}

std::string join(const std::vector<std::string>& words, std::string_view separator) {
    std::string out;
    for (const std::string& word : words) {
        out += (out.empty() ? "" : std::string(separator)) + word;
    }
    return out;
}

} // namespace horos::tools
