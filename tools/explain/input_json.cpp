// A VMCB as JSON: { "profile": "...", "control": {...}, "save": {...}, "host": {...} }. Members are
// the field names of the model's table; what is left out is zero.
#include "input.hpp"
#include "json_number.hpp"

#include "horos/model/svm/fields.hpp"

#include <cstring>
#include <fmt/core.h>

namespace horos::explain {

namespace {

using model::svm::FieldInfo;
using nlohmann::json;

void set_field(svm::Vmcb& vmcb, const std::string& name, const json& value,
               const std::string& where) {
    const FieldInfo* field = model::svm::find_field(name);
    if (field == nullptr) {
        throw InputError(where + ": no VMCB field has this name (the names are those of "
                                 "docs/reference/svm-fields.md)");
    }
    if (field->bytes > 8) {
        throw InputError(where + ": this field is an array of bytes; use a raw VMCB to set it");
    }
    const uint64_t n = json_number(value, where);
    if (field->bytes < 8 && (n >> (8 * field->bytes)) != 0) {
        throw InputError(
            fmt::format("{}: {:#x} does not fit the field's {} bytes", where, n, field->bytes));
    }
    model::svm::write_field(vmcb, *field, n);
}

// Nested objects join their names with dots.
void walk(svm::Vmcb& vmcb, const std::string& prefix, const json& object,
          const std::string& origin) {
    for (const auto& [key, value] : object.items()) {
        const std::string name = prefix + "." + key;
        if (value.is_object()) {
            walk(vmcb, name, value, origin);
        } else {
            set_field(vmcb, name, value, origin + ": " + name);
        }
    }
}

void read_host(model::svm::HostState& host, const json& object, const std::string& origin) {
    const struct {
        const char* name;
        uint64_t* to;
    } rows[] = {{"cr0", &host.cr0},       {"cr4", &host.cr4},    {"efer", &host.efer},
                {"rflags", &host.rflags}, {"rax", &host.rax},    {"vm_hsave_pa", &host.vm_hsave_pa},
                {"vm_cr", &host.vm_cr},   {"hwcr", &host.hwcr},  {"syscfg", &host.syscfg},
                {"pat", &host.pat},       {"u_cet", &host.u_cet}};
    for (const auto& [key, value] : object.items()) {
        const std::string where = origin + ": host." + key;
        if (key == "cpl") {
            const uint64_t n = json_number(value, where);
            if (n > 3) {
                throw InputError(where + ": a privilege level is 0 to 3");
            }
            host.cpl = static_cast<uint8_t>(n);
            continue;
        }
        bool known = false;
        for (const auto& row : rows) {
            if (key == row.name) {
                *row.to = json_number(value, where);
                known = true;
            }
        }
        if (!known) {
            throw InputError(where + ": unknown; there are cpl, cr0, cr4, efer, rflags, rax, "
                                     "vm_hsave_pa, vm_cr, hwcr, syscfg, pat, u_cet");
        }
    }
}

} // namespace

Input read_json(const std::string& text, const std::string& name) {
    json document;
    try {
        document = json::parse(text);
    } catch (const json::exception& error) { // numbers that are too large are no parse error
        throw InputError(name + ": not JSON: " + error.what());
    }
    if (!document.is_object()) {
        throw InputError(name + ": the document must be an object");
    }
    Input input;
    input.vmcb = std::make_unique<svm::Vmcb>();
    input.format = Format::JSON;
    for (const auto& [key, value] : document.items()) {
        if (key == "profile" && value.is_string()) {
            input.profile = value.get<std::string>();
        } else if ((key == "control" || key == "save") && value.is_object()) {
            walk(*input.vmcb, key, value, name);
        } else if (key == "host" && value.is_object()) {
            read_host(input.host, value, name);
        } else {
            throw InputError(name + ": " + key +
                             ": unknown or of the wrong type; there are profile (a string), "
                             "control, save and host (objects)");
        }
    }
    return input;
}

} // namespace horos::explain
