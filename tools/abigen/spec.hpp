// The hypercall interface as abigen holds it in memory: what defs/abi/hypercalls.toml says,
// checked.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tools/common/diagnostics.hpp"

namespace horos::tools::abigen {

inline constexpr std::size_t max_arguments = 6;
inline constexpr std::size_t max_returns = 6;
inline constexpr const char* argument_registers[] = {"rdi", "rsi", "rdx", "r10", "r8", "r9"};
inline constexpr const char* return_registers[] = {"rdx", "rdi", "rsi", "r8", "r9", "r10"};

struct ErrorCode {
    std::uint32_t number = 0;
    std::string name;
    std::string text;
    Where where;
};

// How a 64-bit register becomes a typed argument: everything outside the set is `error`.
struct Type {
    std::string name;
    std::string cpp; // looked up in namespace horos::abi
    std::string text;
    std::uint64_t min = 0;
    std::uint64_t max = ~std::uint64_t{0};
    std::uint64_t mask = ~std::uint64_t{0}; // bits that may be set
    std::uint64_t align = 1;
    std::string error;             // of a bad value; empty: every value is good
    std::vector<std::string> also; // errors that every call with such an argument can answer
    Where where;

    [[nodiscard]] bool limited() const {
        return max != ~std::uint64_t{0} || mask != ~std::uint64_t{0} || min != 0 || align != 1;
    }
    [[nodiscard]] bool accepts(std::uint64_t value) const {
        return value >= min && value <= max && (value & ~mask) == 0 && value % align == 0;
    }
};

struct Parameter {
    std::string name;
    std::string type;
    std::string text;
    Where where;
};

struct Call {
    std::uint32_t number = 0;
    std::string name;
    std::string summary;
    std::string text;
    bool blocking = false;
    std::vector<Parameter> arguments;
    std::vector<Parameter> returns;
    std::vector<std::string> errors; // in the order of the file, those of the types included
    Where where;
};

struct Spec {
    std::string file;
    std::vector<std::string> headers; // that declare the C++ types
    std::vector<ErrorCode> errors;    // sorted by number
    std::vector<Type> types;
    std::vector<Call> calls; // sorted by number

    [[nodiscard]] const Type& type(const std::string& name) const;
    [[nodiscard]] const Type* find_type(const std::string& name) const;
    [[nodiscard]] const ErrorCode* find_error(const std::string& name) const;
};

// Reads and checks; nothing when there was an error.
std::optional<Spec> read_spec(const std::string& file, Diagnostics& out);
std::optional<Spec> parse_spec(std::string_view text, const std::string& file, Diagnostics& out);
void check_spec(Spec& spec, Diagnostics& out);

std::string emit_calls(const Spec& spec);
std::string emit_decode(const Spec& spec);
std::string emit_bad_arguments(const Spec& spec);
std::string emit_spec(const Spec& spec);
std::string emit_stubs(const Spec& spec);
std::string emit_docs(const Spec& spec);

} // namespace horos::tools::abigen
