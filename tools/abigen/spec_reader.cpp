// hypercalls.toml -> Spec. What concerns one entry alone is checked here, the rest in check_spec.
#include "tools/abigen/constants.hpp"
#include "tools/abigen/naming.hpp"
#include "tools/abigen/spec.hpp"
#include "tools/common/files.hpp"
#include "tools/common/table_reader.hpp"

namespace horos::tools::abigen {
namespace {

constexpr Range range32{0, 0xffff'ffff};

std::string snake_name(TableReader& reader) {
    std::string name = reader.string("name");
    if (!name.empty() && !is_snake_case(name)) {
        reader.error("name", "'" + name + "' must be lower case letters, digits and '_'");
    }
    return name;
}

ErrorCode read_error(const Value& value, const std::string& path, Diagnostics& out) {
    TableReader reader(value, path, out);
    ErrorCode error;
    error.where = value.where;
    error.number = static_cast<std::uint32_t>(reader.integer("number", range32));
    error.name = snake_name(reader);
    error.text = reader.string("text");
    reader.finish();
    return error;
}

// A limit is a number, or a string with one of the constants of abi/types.hpp.
std::optional<std::uint64_t> read_limit(TableReader& reader, const char* key) {
    const Value* value = reader.optional_value(key);
    if (value == nullptr) {
        return std::nullopt;
    }
    if (value->kind == ValueKind::integer && value->integer >= 0) {
        return static_cast<std::uint64_t>(value->integer);
    }
    if (value->kind == ValueKind::string) {
        if (const auto number = constant_value(value->string)) {
            return number;
        }
    }
    reader.error(key, "must be a number, or a string with a number or one of: " +
                          known_constants() + ", optionally followed by ' - 1'");
    return std::nullopt;
}

Type read_type(const Value& value, const std::string& path, Diagnostics& out) {
    TableReader reader(value, path, out);
    Type type;
    type.where = value.where;
    type.name = reader.string("name");
    type.cpp = reader.string("cpp");
    type.text = reader.optional_string("text").value_or("");
    type.error = reader.optional_string("error").value_or("");
    const auto bits = reader.optional_integer("bits", {1, 64});
    const auto max = read_limit(reader, "max");
    if (bits && max) {
        reader.error("max", "give either 'bits' or 'max', not both");
    }
    if (bits) {
        type.max = *bits == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << *bits) - 1;
    } else if (max) {
        type.max = *max;
    }
    type.min = read_limit(reader, "min").value_or(0);
    type.mask = read_limit(reader, "mask").value_or(type.mask);
    type.align = static_cast<std::uint64_t>(reader.optional_integer("align", {1}).value_or(1));
    if ((type.align & (type.align - 1)) != 0) {
        reader.error("align", std::to_string(type.align) + " is not a power of two");
        type.align = 1;
    }
    if (type.limited() && type.error.empty()) {
        reader.error("error", "is missing: a type with limits must name the error of a bad value");
    }
    if (type.min > type.max) {
        reader.error("min", "is greater than the greatest value " + std::to_string(type.max));
    }
    for (const Value* error : reader.elements("also", ValueKind::string)) {
        type.also.push_back(error->string);
    }
    reader.finish();
    return type;
}

std::vector<Parameter> read_parameters(TableReader& call, const char* key, std::size_t most,
                                       const std::string& path, Diagnostics& out) {
    std::vector<Parameter> list;
    for (const Value* value : call.elements(key, ValueKind::table)) {
        TableReader reader(*value, path + key + "[" + std::to_string(list.size()) + "].", out);
        Parameter parameter;
        parameter.where = value->where;
        parameter.name = snake_name(reader);
        parameter.type = reader.string("type");
        parameter.text = reader.optional_string("text").value_or("");
        reader.finish();
        list.push_back(std::move(parameter));
    }
    if (list.size() > most) {
        call.error(key, "has " + std::to_string(list.size()) +
                            " entries; there are registers for " + std::to_string(most));
    }
    return list;
}

Call read_call(const Value& value, const std::string& path, Diagnostics& out) {
    TableReader reader(value, path, out);
    Call call;
    call.where = value.where;
    call.number = static_cast<std::uint32_t>(reader.integer("number", range32));
    call.name = snake_name(reader);
    call.summary = reader.string("summary");
    call.text = reader.optional_string("text").value_or("");
    call.blocking = reader.optional_boolean("blocking").value_or(false);
    call.arguments = read_parameters(reader, "args", max_arguments, path, out);
    call.returns = read_parameters(reader, "returns", max_returns, path, out);
    for (const Value* error : reader.elements("errors", ValueKind::string)) {
        call.errors.push_back(error->string);
    }
    reader.finish();
    return call;
}

std::string indexed(const char* key, std::size_t index) {
    return std::string(key) + "[" + std::to_string(index) + "].";
}

} // namespace

std::optional<Spec> parse_spec(std::string_view text, const std::string& file, Diagnostics& out) {
    const auto document = parse_toml(text, file, out);
    if (!document) {
        return std::nullopt;
    }
    Spec spec;
    spec.file = file;
    TableReader reader(*document, "", out);
    for (const Value* header : reader.elements("headers", ValueKind::string)) {
        spec.headers.push_back(header->string);
    }
    for (const Value* value : reader.elements("error", ValueKind::table)) {
        spec.errors.push_back(read_error(*value, indexed("error", spec.errors.size()), out));
    }
    for (const Value* value : reader.elements("type", ValueKind::table)) {
        spec.types.push_back(read_type(*value, indexed("type", spec.types.size()), out));
    }
    for (const Value* value : reader.elements("call", ValueKind::table)) {
        spec.calls.push_back(read_call(*value, indexed("call", spec.calls.size()), out));
    }
    reader.finish();
    if (spec.calls.empty()) {
        reader.error("call", "is missing: there is not one hypercall");
    }
    check_spec(spec, out);
    return out.ok() ? std::optional(std::move(spec)) : std::nullopt;
}

std::optional<Spec> read_spec(const std::string& file, Diagnostics& out) {
    return parse_spec(read_text(file), file, out);
}

} // namespace horos::tools::abigen
