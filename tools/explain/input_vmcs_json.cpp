// A VMCS as JSON: { "profile": "...", "control": {...}, "guest": {...}, "host": {...},
// "machine": {...}, "memory": {...} }. Members are the names of docs/reference/vmx-fields.md.
#include "input_vmcs.hpp"

#include "json_number.hpp"

#include <fmt/core.h>

namespace horos::explain {

namespace {

using nlohmann::json;

const model::vmx::InputInfo* find_input(std::string_view name) {
    for (const model::vmx::InputInfo& input : model::vmx::rule_inputs()) {
        if (input.bits != 0 && input.name == name) {
            return &input;
        }
    }
    return nullptr;
}

void set(model::vmx::RuleState& state, const std::string& name, const json& value,
         const std::string& origin) {
    const std::string where = origin + ": " + name;
    const model::vmx::InputInfo* input = find_input(name);
    if (input == nullptr) {
        throw InputError(where + ": no VMCS field has this name (the names are those of "
                                 "docs/reference/vmx-fields.md)");
    }
    const uint64_t n = json_number(value, where);
    if (input->bits < 64 && n >> input->bits != 0) {
        throw InputError(
            fmt::format("{}: {:#x} does not fit the field's {} bits", where, n, input->bits));
    }
    state.value[input->input] = n;
}

void walk(model::vmx::RuleState& state, const std::string& prefix, const json& object,
          const std::string& origin) {
    for (const auto& [key, value] : object.items()) {
        const std::string name = prefix + "." + key;
        if (value.is_object()) {
            walk(state, name, value, origin);
        } else {
            set(state, name, value, origin);
        }
    }
}

} // namespace

bool looks_like_vmcs_json(std::string_view text) {
    const json document = json::parse(text, nullptr, false);
    return document.is_object() && (document.contains("guest") || document.contains("machine") ||
                                    document.contains("info"));
}

VmcsInput read_vmcs_json(const std::string& text, const std::string& name) {
    json document;
    try {
        document = json::parse(text);
    } catch (const json::exception& error) { // numbers that are too large are no parse error
        throw InputError(name + ": not JSON: " + error.what());
    }
    if (!document.is_object()) {
        throw InputError(name + ": the document must be an object");
    }
    VmcsInput input;
    assume_machine(input.state);
    input.state[model::vmx::Field::VMCS_LINK_POINTER] = horos::vmx::NO_LINK_POINTER;
    for (const auto& [key, value] : document.items()) {
        const bool area = key == "control" || key == "guest" || key == "host" || key == "info" ||
                          key == "machine" || key == "memory";
        if (key == "profile" && value.is_string()) {
            input.profile = value.get<std::string>();
        } else if (area && value.is_object()) {
            walk(input.state, key, value, name);
        } else {
            throw InputError(name + ": " + key +
                             ": unknown or of the wrong type; there are profile (a string), "
                             "control, guest, host, info, machine and memory (objects)");
        }
    }
    return input;
}

} // namespace horos::explain
