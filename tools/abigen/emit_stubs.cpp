// horos/user/stubs.hpp: the hypercalls as inline functions for ring 3.
#include <algorithm>

#include "tools/abigen/naming.hpp"
#include "tools/abigen/spec.hpp"

namespace horos::tools::abigen {
namespace {

constexpr const char* preamble = R"(
// The hypercalls as functions. A call gives back its error and its values; the values mean
// something only when the error is Error::ok.
#pragma once
#include <cstdint>
#include <type_traits>
#include <horos/abi/gen/calls.hpp>
#include <horos/abi/types.hpp>
)";

constexpr const char* helpers = R"(
namespace horos::user {

namespace detail {

// Strong types travel as plain numbers.
template <class T> constexpr std::uint64_t raw(T value) {
    if constexpr (std::is_enum_v<T>) {
        return static_cast<std::uint64_t>(static_cast<std::underlying_type_t<T>>(value));
    } else if constexpr (requires { value.value; }) {
        return static_cast<std::uint64_t>(value.value);
    } else {
        return static_cast<std::uint64_t>(value);
    }
}

} // namespace detail

)";

// The constraint letters of the registers that have one; the others need a bound variable.
std::string constraint(const std::string& reg) {
    if (reg == "rdi") {
        return "D";
    }
    if (reg == "rsi") {
        return "S";
    }
    return reg == "rdx" ? "d" : "r";
}

std::string qualified(const std::string& cpp) {
    const bool builtin = cpp == "bool" || cpp.find("::") != std::string::npos;
    return builtin ? cpp : "abi::" + cpp;
}

std::string result_struct(const Spec& spec, const Call& call) {
    std::string out = "struct " + camel_case(call.name) + "Result {\n    abi::Error error;\n";
    for (const Parameter& value : call.returns) {
        const std::string comment = value.text.empty() ? "" : " // " + value.text;
        out += "    " + qualified(spec.type(value.type).cpp) + " " + identifier(value.name) + ";" +
               comment + "\n";
    }
    return out + "    constexpr bool ok() const { return error == abi::Error::ok; }\n};\n\n";
}

std::string signature(const Spec& spec, const Call& call) {
    std::string out =
        "[[nodiscard]] inline " + camel_case(call.name) + "Result " + identifier(call.name) + "(";
    for (std::size_t i = 0; i < call.arguments.size(); ++i) {
        out += (i == 0 ? "" : ", ") + qualified(spec.type(call.arguments[i].type).cpp) + " " +
               identifier(call.arguments[i].name);
    }
    return out + ") {\n";
}

std::string body(const Spec& spec, const Call& call) {
    std::string out = "    std::uint64_t rax_ = " + std::to_string(call.number) + ";\n";
    std::string operands = "\"+a\"(rax_)";
    for (std::size_t i = 0; i < max_arguments; ++i) {
        const std::string reg = argument_registers[i];
        const bool bound = constraint(reg) == "r";
        const bool input = i < call.arguments.size();
        out += std::string("    ") + (bound ? "register " : "") + "std::uint64_t " + reg + "_" +
               (bound ? " asm(\"" + reg + "\")" : "") +
               (input ? " = detail::raw(" + identifier(call.arguments[i].name) + ")" : "") + ";\n";
        operands +=
            std::string(", \"") + (input ? "+" : "=") + constraint(reg) + "\"(" + reg + "_)";
    }
    out += "    asm volatile(\"syscall\"\n                 : " + operands +
           "\n                 :\n                 : \"rcx\", \"r11\", \"cc\", \"memory\");\n";
    out += "    return {static_cast<abi::Error>(rax_)";
    for (std::size_t i = 0; i < call.returns.size(); ++i) {
        out += ", static_cast<" + qualified(spec.type(call.returns[i].type).cpp) + ">(" +
               return_registers[i] + "_)";
    }
    return out + "};\n}\n\n";
}

} // namespace

std::string emit_stubs(const Spec& spec) {
    std::string out = generated_notice(spec.file, "//") + preamble;
    for (const std::string& header : spec.headers) {
        out += "#include <" + header + ">\n";
    }
    out += helpers;
    for (const Call& call : spec.calls) {
        out += result_struct(spec, call);
        out += "// " + call.summary + (call.blocking ? " May block." : "") + "\n";
        out += signature(spec, call) + body(spec, call);
    }
    return out + "} // namespace horos::user\n";
}

} // namespace horos::tools::abigen
