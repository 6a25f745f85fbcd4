// horos/abi/gen/spec_calls.hpp: the function of spec/ that specifies each hypercall, the entry that
// the kernel's is compared with, and the errors that the manual names. A hypercall that nobody
// specifies does not link.
#include <set>

#include "tools/abigen/naming.hpp"
#include "tools/abigen/spec.hpp"

namespace horos::tools::abigen {
namespace {

constexpr const char* registers = "u64 rdi, u64 rsi, u64 rdx, u64 r10, u64 r8, u64 r9";

// What a selector that names nothing suitable can answer besides its type's own error.
constexpr const char* lookup_errors[] = {"no_table", "no_capability", "stale", "wrong_type",
                                         "no_right"};

std::uint64_t documented_errors(const Spec& spec, const Call& call) {
    std::set<std::string> names = {"ok"};
    names.insert(call.errors.begin(), call.errors.end());
    for (const Parameter& argument : call.arguments) {
        const Type& type = spec.type(argument.type);
        if (type.limited()) {
            names.insert(type.error);
        }
        if (type.name == "selector") {
            names.insert(std::begin(lookup_errors), std::end(lookup_errors));
        }
    }
    std::uint64_t mask = 0;
    for (const std::string& name : names) {
        if (const ErrorCode* error = spec.find_error(name); error != nullptr) {
            mask |= std::uint64_t{1} << error->number;
        }
    }
    return mask;
}

std::string entry(const Call& call) {
    return "[[gnu::used]] inline u64 spec_" + call.name + "(" + registers +
           ") {\n    return entry<" + camel_case(call.name) + "Args, " + identifier(call.name) +
           ">(" + (call.blocking ? "true" : "false") + ", " +
           (call.returns.empty() ? "false" : "true") + ", {rdi, rsi, rdx, r10, r8, r9});\n}\n";
}

} // namespace

std::string emit_spec(const Spec& spec) {
    std::string out = generated_notice(spec.file, "//");
    out += "\n// Which function of spec/ says what a hypercall must do.\n#pragma once\n"
           "#include \"spec/entry.hpp\"\n\nnamespace horos::spec {\n\n";
    for (const Call& call : spec.calls) {
        out += "// " + call.summary + "\nAnswer " + identifier(call.name) +
               "(const Caller&, const " + camel_case(call.name) + "Args&);\n";
    }
    out += "\n// The same registers in and the same result word out as the kernel's own entries.\n"
           "extern \"C\" {\n";
    for (const Call& call : spec.calls) {
        out += entry(call);
    }
    out += "}\n\nusing Entry = u64 (*)(u64, u64, u64, u64, u64, u64);\n"
           "inline constexpr Entry spec_table[] = {\n";
    for (const Call& call : spec.calls) {
        out += "    spec_" + call.name + ",\n";
    }
    out += "};\n\n// Bit n: the manual says that the call can answer the error with number n.\n"
           "inline constexpr u64 documented_errors[] = {\n";
    for (const Call& call : spec.calls) {
        out += "    " + hex(documented_errors(spec, call)) + ", // " + call.name + "\n";
    }
    return out + "};\n\n} // namespace horos::spec\n";
}

} // namespace horos::tools::abigen
