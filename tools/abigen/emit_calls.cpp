// horos/abi/gen/calls.hpp: numbers and names, for kernel, user programs and host tools alike.
#include "tools/abigen/naming.hpp"
#include "tools/abigen/spec.hpp"

namespace horos::tools::abigen {
namespace {

std::string error_enum(const Spec& spec) {
    std::string out = "enum class Error : std::uint32_t {\n";
    for (const ErrorCode& error : spec.errors) {
        out += "    " + identifier(error.name) + " = " + std::to_string(error.number) + ", // " +
               error.text + "\n";
    }
    return out + "};\n\n";
}

std::string call_enum(const Spec& spec) {
    std::string out = "enum class Call : std::uint32_t {\n";
    for (const Call& call : spec.calls) {
        out += "    " + identifier(call.name) + " = " + std::to_string(call.number) + ", // " +
               call.summary + "\n";
    }
    return out + "};\n\n";
}

std::string tables(const Spec& spec) {
    std::string out = R"(struct CallInfo {
    Call call;
    const char* name;
    std::uint32_t arguments;
    std::uint32_t returns;
    bool blocking;
};

inline constexpr CallInfo call_table[] = {
)";
    for (const Call& call : spec.calls) {
        out += "    {Call::" + identifier(call.name) + ", " + quoted(call.name) + ", " +
               std::to_string(call.arguments.size()) + ", " + std::to_string(call.returns.size()) +
               ", " + (call.blocking ? "true" : "false") + "},\n";
    }
    out += "};\n\nstruct ErrorInfo {\n    Error error;\n    const char* name;\n"
           "    const char* text;\n};\n\ninline constexpr ErrorInfo error_table[] = {\n";
    for (const ErrorCode& error : spec.errors) {
        out += "    {Error::" + identifier(error.name) + ", " + quoted(error.name) + ", " +
               quoted(error.text) + "},\n";
    }
    return out + "};\n\n";
}

} // namespace

std::string emit_calls(const Spec& spec) {
    std::uint32_t greatest = 0;
    for (const Call& call : spec.calls) {
        greatest = std::max(greatest, call.number);
    }
    std::string out = generated_notice(spec.file, "//") +
                      "\n// The hypercalls and their errors: numbers, names, argument counts.\n"
                      "#pragma once\n#include <cstdint>\n\nnamespace horos::abi {\n\n";
    out += error_enum(spec) + call_enum(spec);
    out += "inline constexpr std::uint32_t call_count = " + std::to_string(spec.calls.size()) +
           ";\ninline constexpr std::uint32_t greatest_call = " + std::to_string(greatest) +
           ";\ninline constexpr std::uint32_t error_count = " + std::to_string(spec.errors.size()) +
           ";\n\n";
    out += tables(spec);
    out += R"(constexpr const char* name_of(Call call) {
    for (const CallInfo& info : call_table) {
        if (info.call == call) {
            return info.name;
        }
    }
    return "unknown call";
}

constexpr const char* name_of(Error error) {
    for (const ErrorInfo& info : error_table) {
        if (info.error == error) {
            return info.name;
        }
    }
    return "unknown error";
}

} // namespace horos::abi
)";
    return out;
}

} // namespace horos::tools::abigen
