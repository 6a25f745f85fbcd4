// horos/abi/gen/bad_arguments.hpp: for each argument with limits, values just outside of them, and
// the error that must come back. The tests run these against decoder and booted kernel.
#include <set>

#include "tools/abigen/naming.hpp"
#include "tools/abigen/spec.hpp"

namespace horos::tools::abigen {
namespace {

std::set<std::uint64_t> bad_values(const Type& type) {
    std::set<std::uint64_t> candidates = {type.max + 1, type.min - 1, ~std::uint64_t{0},
                                          type.min | std::uint64_t{1} << 32,
                                          type.min | std::uint64_t{1} << 63};
    for (unsigned bit = 0; bit < 64; ++bit) {
        if ((type.mask >> bit & 1) == 0) {
            candidates.insert(type.min | std::uint64_t{1} << bit);
            break;
        }
    }
    for (std::uint64_t step = 1; step < type.align; step *= 2) {
        candidates.insert(type.min + step);
    }
    std::erase_if(candidates, [&](std::uint64_t value) { return type.accepts(value); });
    return candidates;
}

std::string row(const Spec& spec, const Call& call, std::size_t bad, std::uint64_t value) {
    std::string out = "    {Call::" + identifier(call.name) + ", " + std::to_string(bad) + ", {";
    for (std::size_t i = 0; i < max_arguments; ++i) {
        const std::uint64_t good =
            i < call.arguments.size() ? spec.type(call.arguments[i].type).min : 0;
        out += (i == 0 ? "" : ", ") + hex(i == bad ? value : good);
    }
    return out + "}, Error::" + identifier(spec.type(call.arguments[bad].type).error) + "},\n";
}

// The decoder of a call that is known only at run time.
std::string decode_any(const Spec& spec) {
    std::string out =
        "// What the decoder of this call says to these registers.\n"
        "[[nodiscard]] constexpr Error check_arguments(Call call, const RawArgs& raw) "
        "{\n    switch (call) {\n";
    for (const Call& call : spec.calls) {
        out += "    case Call::" + identifier(call.name) + ": {\n        " + camel_case(call.name) +
               "Args out{};\n        return decode(raw, out);\n    }\n";
    }
    return out + "    }\n    return Error::ok;\n}\n\n";
}

} // namespace

std::string emit_bad_arguments(const Spec& spec) {
    std::string rows;
    std::size_t count = 0;
    for (const Call& call : spec.calls) {
        for (std::size_t i = 0; i < call.arguments.size(); ++i) {
            for (const std::uint64_t value : bad_values(spec.type(call.arguments[i].type))) {
                rows += row(spec, call, i, value);
                ++count;
            }
        }
    }
    std::string out = generated_notice(spec.file, "//");
    out += "\n// Register values that no decoder may accept: one argument is outside of its type,\n"
           "// the others hold the least value of theirs.\n#pragma once\n#include <array>\n"
           "#include <cstdint>\n"
           "#include <horos/abi/gen/decode.hpp>\n\nnamespace horos::abi {\n\n"
           "struct BadArgument {\n    Call call;\n    std::uint32_t argument;\n"
           "    std::uint64_t registers[6]; // rdi rsi rdx r10 r8 r9\n    Error expected;\n};\n\n";
    out += "inline constexpr std::array<BadArgument, " + std::to_string(count) +
           "> bad_arguments{{\n" + rows + "}};\n\n" + decode_any(spec) +
           "} // namespace horos::abi\n";
    return out;
}

} // namespace horos::tools::abigen
