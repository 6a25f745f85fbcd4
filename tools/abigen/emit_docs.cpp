// docs/hypercalls.md: the reference page.
#include "tools/abigen/naming.hpp"
#include "tools/abigen/spec.hpp"

namespace horos::tools::abigen {
namespace {

// A '|' would end the table cell.
std::string cell(const std::string& text) {
    std::string out;
    for (const char c : text) {
        out += c == '|' ? "\\|" : c == '\n' ? " " : std::string(1, c);
    }
    return out;
}

std::string values(const Type& type) {
    std::vector<std::string> parts;
    if (type.max != ~std::uint64_t{0}) {
        parts.push_back((type.max < 4096 ? std::to_string(type.min) : hex(type.min)) + " … " +
                        (type.max < 4096 ? std::to_string(type.max) : hex(type.max)));
    } else if (type.min != 0) {
        parts.push_back("at least " + std::to_string(type.min));
    }
    if (type.mask != ~std::uint64_t{0}) {
        parts.push_back("bits of " + hex(type.mask));
    }
    if (type.align != 1) {
        parts.push_back("a multiple of " + std::to_string(type.align));
    }
    std::string out;
    for (const std::string& part : parts) {
        out += (out.empty() ? "" : ", ") + part;
    }
    return out.empty() ? "any" : out;
}

std::string parameters(const Spec& spec, const std::vector<Parameter>& list,
                       const char* const* registers, const char* title) {
    if (list.empty()) {
        return "";
    }
    std::string out = std::string("\n| ") + title + " | register | type | values | meaning |\n" +
                      "| --- | --- | --- | --- | --- |\n";
    for (std::size_t i = 0; i < list.size(); ++i) {
        out += "| `" + list[i].name + "` | " + registers[i] + " | `" + list[i].type + "` | " +
               values(spec.type(list[i].type)) + " | " + cell(list[i].text) + " |\n";
    }
    return out;
}

std::string call_section(const Spec& spec, const Call& call) {
    std::string out = "\n### " + std::to_string(call.number) + " `" + call.name + "`\n\n" +
                      call.summary + (call.blocking ? " *May block.*" : "") + "\n";
    if (!call.text.empty()) {
        out += "\n" + call.text + (call.text.ends_with('\n') ? "" : "\n");
    }
    out += parameters(spec, call.arguments, argument_registers, "argument");
    out += parameters(spec, call.returns, return_registers, "result");
    if (!call.errors.empty()) {
        out += "\nErrors:";
        for (std::size_t i = 0; i < call.errors.size(); ++i) {
            out += (i == 0 ? " `" : ", `") + call.errors[i] + "`";
        }
        out += ".\n";
    }
    return out;
}

} // namespace

std::string emit_docs(const Spec& spec) {
    std::string out = "<!-- " + generated_notice(spec.file, "") + " -->\n# Hypercalls\n\n";
    out += "A ring-3 program calls the kernel with `syscall`: the number in rax, arguments in rdi, "
           "rsi, rdx, r10,\nr8, r9. The error comes back in rax (0 is `ok`), values in rdx, rdi, "
           "rsi, r8, r9, r10. rcx and r11 are\nlost, every other caller-saved general register "
           "comes back zero, callee-saved registers are kept. A call that\nfails has changed "
           "nothing. Arguments are checked from the first to the last; an argument outside of its\n"
           "type's values is answered with the error of the type.\n\n## Errors\n\n"
           "| number | name | meaning |\n| --- | --- | --- |\n";
    for (const ErrorCode& error : spec.errors) {
        out += "| " + std::to_string(error.number) + " | `" + error.name + "` | " +
               cell(error.text) + " |\n";
    }
    out += "\n## Types\n\n| type | values | error otherwise | meaning |\n"
           "| --- | --- | --- | --- |\n";
    for (const Type& type : spec.types) {
        out += "| `" + type.name + "` | " + values(type) + " | " +
               (type.limited() ? "`" + type.error + "`" : "") + " | " + cell(type.text) + " |\n";
    }
    out += "\n## Calls\n";
    for (const Call& call : spec.calls) {
        out += call_section(spec, call);
    }
    return out;
}

} // namespace horos::tools::abigen
