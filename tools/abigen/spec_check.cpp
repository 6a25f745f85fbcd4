// What concerns entries together: names and numbers are unique, references exist, error 0 is "ok".
#include <algorithm>
#include <map>
#include <set>

#include "tools/abigen/spec.hpp"

namespace horos::tools::abigen {
namespace {

template <class Entry>
void check_unique(const std::vector<Entry>& entries, const char* kind, Diagnostics& out) {
    std::map<std::string, unsigned> names;
    std::map<std::uint32_t, const Entry*> numbers;
    for (const Entry& entry : entries) {
        if (const auto [at, added] = names.emplace(entry.name, entry.where.line); !added) {
            out.error(entry.where, std::string(kind) + ".name",
                      "'" + entry.name + "' is there already, in line " +
                          std::to_string(at->second));
        }
        if constexpr (requires { entry.number; }) {
            if (const auto [at, added] = numbers.emplace(entry.number, &entry); !added) {
                out.error(entry.where, std::string(kind) + ".number",
                          std::to_string(entry.number) + " is that of '" + at->second->name +
                              "' already, in line " + std::to_string(at->second->where.line));
            }
        }
    }
}

void check_parameters(const Spec& spec, const Call& call, const std::vector<Parameter>& list,
                      const char* key, Diagnostics& out) {
    std::set<std::string> names;
    for (const Parameter& parameter : list) {
        const std::string path = "call '" + call.name + "'." + key;
        if (!names.insert(parameter.name).second) {
            out.error(parameter.where, path, "'" + parameter.name + "' is there twice");
        }
        if (spec.find_type(parameter.type) == nullptr) {
            out.error(parameter.where, path,
                      "type '" + parameter.type + "' of '" + parameter.name +
                          "' is not declared by any [[type]]");
        }
    }
}

void add_error(Call& call, const std::string& error) {
    if (std::find(call.errors.begin(), call.errors.end(), error) == call.errors.end()) {
        call.errors.push_back(error);
    }
}

// What the types of its arguments can answer is an error of the call without being listed.
void add_type_errors(const Spec& spec, Call& call) {
    for (const Parameter& argument : call.arguments) {
        const Type* type = spec.find_type(argument.type);
        if (type == nullptr) {
            continue;
        }
        if (type->limited()) {
            add_error(call, type->error);
        }
        for (const std::string& error : type->also) {
            add_error(call, error);
        }
    }
}

void check_type(const Spec& spec, const Type& type, Diagnostics& out) {
    std::vector<std::string> errors = type.also;
    if (!type.error.empty()) {
        errors.push_back(type.error);
    }
    for (const std::string& error : errors) {
        if (spec.find_error(error) == nullptr) {
            out.error(type.where, "type '" + type.name + "'",
                      "error '" + error + "' is not declared by any [[error]]");
        }
    }
    if (!type.accepts(type.min)) {
        out.error(type.where, "type '" + type.name + "'",
                  "its least value " + std::to_string(type.min) +
                      " does not satisfy its own limits");
    }
}

void check_calls(Spec& spec, Diagnostics& out) {
    for (Call& call : spec.calls) {
        check_parameters(spec, call, call.arguments, "args", out);
        check_parameters(spec, call, call.returns, "returns", out);
        for (const std::string& error : call.errors) {
            if (spec.find_error(error) == nullptr) {
                out.error(call.where, "call '" + call.name + "'.errors",
                          "'" + error + "' is not declared by any [[error]]");
            }
        }
        add_type_errors(spec, call);
    }
}

} // namespace

const Type* Spec::find_type(const std::string& name) const {
    const auto found =
        std::find_if(types.begin(), types.end(), [&](const Type& t) { return t.name == name; });
    return found == types.end() ? nullptr : &*found;
}

const Type& Spec::type(const std::string& name) const {
    const Type* found = find_type(name);
    if (found == nullptr) {
        throw Fatal("type '" + name + "' went missing after it was checked");
    }
    return *found;
}

const ErrorCode* Spec::find_error(const std::string& name) const {
    const auto found = std::find_if(errors.begin(), errors.end(),
                                    [&](const ErrorCode& e) { return e.name == name; });
    return found == errors.end() ? nullptr : &*found;
}

void check_spec(Spec& spec, Diagnostics& out) {
    if (spec.find_type("u64") == nullptr) {
        Type word;
        word.name = word.cpp = "u64";
        word.text = "any 64-bit value";
        word.where = {spec.file, 0, 0};
        spec.types.push_back(word);
    }
    check_unique(spec.errors, "error", out);
    check_unique(spec.types, "type", out);
    check_unique(spec.calls, "call", out);
    const ErrorCode* ok = spec.find_error("ok");
    if (ok == nullptr || ok->number != 0) {
        out.error({spec.file, 0, 0}, "error", "one [[error]] must have the name 'ok' and number 0");
    }
    for (const Type& type : spec.types) {
        check_type(spec, type, out);
    }
    check_calls(spec, out);
    const auto by_number = [](const auto& a, const auto& b) { return a.number < b.number; };
    std::sort(spec.errors.begin(), spec.errors.end(), by_number);
    std::sort(spec.calls.begin(), spec.calls.end(), by_number);
}

} // namespace horos::tools::abigen
