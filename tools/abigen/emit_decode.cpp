// horos/abi/gen/decode.hpp: six registers -> typed arguments, or the error of the first bad one.
#include "tools/abigen/naming.hpp"
#include "tools/abigen/spec.hpp"

namespace horos::tools::abigen {
namespace {

std::string literal(std::uint64_t value) { return hex(value) + "u"; }

// The condition under which the register holds no value of the type; empty when all are good.
std::string bad_condition(const Type& type, const std::string& value) {
    std::vector<std::string> parts;
    if (type.min != 0) {
        parts.push_back(value + " < " + literal(type.min));
    }
    if (type.max != ~std::uint64_t{0}) {
        parts.push_back(value + " > " + literal(type.max));
    }
    if (type.mask != ~std::uint64_t{0}) {
        parts.push_back("(" + value + " & " + literal(~type.mask) + ") != 0");
    }
    if (type.align != 1) {
        parts.push_back("(" + value + " & " + literal(type.align - 1) + ") != 0");
    }
    std::string out;
    for (const std::string& part : parts) {
        out += (out.empty() ? "" : " || ") + part;
    }
    return out;
}

std::string argument_struct(const Spec& spec, const Call& call) {
    std::string out = "struct " + camel_case(call.name) + "Args {\n";
    for (const Parameter& argument : call.arguments) {
        const std::string comment = argument.text.empty() ? "" : " // " + argument.text;
        out += "    " + spec.type(argument.type).cpp + " " + identifier(argument.name) + "{};" +
               comment + "\n";
    }
    return out + "};\n\n";
}

std::string decoder(const Spec& spec, const Call& call) {
    const bool used = !call.arguments.empty();
    std::string out = "// " + call.summary + "\n[[nodiscard]] constexpr Error decode(" +
                      (used ? "const RawArgs& raw, " : "const RawArgs&, ") + camel_case(call.name) +
                      (used ? "Args& out) {\n" : "Args&) {\n");
    for (std::size_t i = 0; i < call.arguments.size(); ++i) {
        const Type& type = spec.type(call.arguments[i].type);
        const std::string bad = bad_condition(type, std::string("raw.") + argument_registers[i]);
        if (!bad.empty()) {
            out += "    if (" + bad + ") {\n        return Error::" + identifier(type.error) +
                   ";\n    }\n";
        }
    }
    for (std::size_t i = 0; i < call.arguments.size(); ++i) {
        out += "    out." + identifier(call.arguments[i].name) + " = static_cast<" +
               spec.type(call.arguments[i].type).cpp + ">(raw." + argument_registers[i] + ");\n";
    }
    return out + "    return Error::ok;\n}\n\n";
}

} // namespace

std::string emit_decode(const Spec& spec) {
    std::string out = generated_notice(spec.file, "//");
    out += "\n// The one typed decoder of each hypercall.\n#pragma once\n"
           "#include <cstdint>\n#include <horos/abi/gen/calls.hpp>\n"
           "#include <horos/abi/types.hpp>\n";
    for (const std::string& header : spec.headers) {
        out += "#include <" + header + ">\n";
    }
    out += "\nnamespace horos::abi {\n\n// The argument registers as the caller left them.\n"
           "struct RawArgs {\n";
    for (const char* name : argument_registers) {
        out += std::string("    std::uint64_t ") + name + " = 0;\n";
    }
    out += "};\n\n";
    for (const Call& call : spec.calls) {
        out += argument_struct(spec, call) + decoder(spec, call);
    }
    return out + "} // namespace horos::abi\n";
}

} // namespace horos::tools::abigen
