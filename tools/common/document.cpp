#include "tools/common/document.hpp"

#define TOML_EXCEPTIONS 0
#define TOML_ENABLE_FORMATTERS 0
#include <algorithm>
#include <toml++/toml.h>

#include "tools/common/files.hpp"

namespace horos::tools {
namespace {

Where where_of(const toml::source_region& region, const std::string& file) {
    return {file, region.begin.line, region.begin.column};
}

Value convert(const toml::node& node, const std::string& file);

void convert_table(const toml::table& table, const std::string& file, Value& out) {
    out.kind = ValueKind::table;
    for (const auto& [key, node] : table) {
        out.members.push_back(
            {std::string(key.str()), where_of(key.source(), file), convert(node, file)});
    }
    // toml++ sorts by name; the order in the file is the order of messages.
    std::sort(out.members.begin(), out.members.end(), [](const Member& a, const Member& b) {
        return std::pair(a.where.line, a.where.column) < std::pair(b.where.line, b.where.column);
    });
}

Value convert(const toml::node& node, const std::string& file) {
    Value out;
    out.where = where_of(node.source(), file);
    if (const auto* table = node.as_table()) {
        convert_table(*table, file, out);
    } else if (const auto* array = node.as_array()) {
        out.kind = ValueKind::array;
        for (const toml::node& element : *array) {
            out.elements.push_back(convert(element, file));
        }
    } else if (const auto* string = node.as_string()) {
        out.kind = ValueKind::string;
        out.string = string->get();
    } else if (const auto* integer = node.as_integer()) {
        out.kind = ValueKind::integer;
        out.integer = integer->get();
    } else if (const auto* real = node.as_floating_point()) {
        out.kind = ValueKind::real;
        out.real = real->get();
    } else if (const auto* boolean = node.as_boolean()) {
        out.kind = ValueKind::boolean;
        out.boolean = boolean->get();
    } else {
        out.kind = ValueKind::date;
    }
    return out;
}

} // namespace

const Member* Value::find(std::string_view key) const {
    for (const Member& member : members) {
        if (member.key == key) {
            return &member;
        }
    }
    return nullptr;
}

const char* kind_name(ValueKind kind) {
    switch (kind) {
    case ValueKind::string:
        return "a string";
    case ValueKind::integer:
        return "an integer";
    case ValueKind::real:
        return "a real number";
    case ValueKind::boolean:
        return "true or false";
    case ValueKind::array:
        return "an array";
    case ValueKind::table:
        return "a table";
    case ValueKind::date:
        return "a date or time";
    }
    return "?";
}

std::optional<Value> parse_toml(std::string_view text, const std::string& file, Diagnostics& out) {
    const toml::parse_result result = toml::parse(text, file);
    if (!result) {
        out.error(where_of(result.error().source(), file), "",
                  std::string(result.error().description()));
        return std::nullopt;
    }
    Value root;
    root.where = {file, 1, 1};
    convert_table(result.table(), file, root);
    return root;
}

std::optional<Value> load_toml(const std::string& file, Diagnostics& out) {
    return parse_toml(read_text(file), file, out);
}

} // namespace horos::tools
