// horos-explain: which rules does this VMCB or VMCS break, and what is the smallest change that
// mends it? Exit status: 0 valid, 1 rules are broken, 2 bad input.
#include "report.hpp"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <fmt/core.h>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <sstream>

namespace {

using namespace horos;

constexpr const char* DEFAULT_PROFILE = "amd-zen3-milan";
constexpr const char* DEFAULT_VMX_PROFILE = "intel-skylake-6700k";

struct Options {
    std::string file;
    std::string profile;
    std::string format = "auto";
    bool json = false;
    bool no_repair = false;
    bool list_profiles = false;
};

std::string read_all(const std::string& name) {
    std::ostringstream bytes;
    if (name == "-") {
        bytes << std::cin.rdbuf();
        return bytes.str();
    }
    if (std::filesystem::is_directory(name)) {
        throw explain::InputError(name + ": is a folder");
    }
    std::ifstream in(name, std::ios::binary);
    if (!in) {
        throw explain::InputError(name + ": cannot be opened");
    }
    bytes << in.rdbuf();
    if (in.bad() || (bytes.fail() && in.peek() != std::ifstream::traits_type::eof())) {
        throw explain::InputError(name + ": cannot be read");
    }
    return bytes.str();
}

int list_profiles() {
    for (const model::svm::Profile& p : model::svm::builtin_profiles()) {
        fmt::print("{:20} AMD    {}\n", p.name, p.description);
    }
    for (const model::vmx::Profile& p : model::vmx::builtin_profiles()) {
        fmt::print("{:20} Intel  {}\n", p.name, p.description);
    }
    return 0;
}

std::string choose(const std::string& option, const std::string& input, const char* fallback) {
    return !option.empty() ? option : !input.empty() ? input : fallback;
}

explain::Explanation explain_bytes(const std::string& bytes, const std::string& name,
                                   const Options& options) {
    using explain::Format;
    const Format format = explain::parse_format(options.format);
    const bool text = format == Format::KVM || format == Format::AUTO;
    const bool json = format == Format::JSON || format == Format::AUTO;
    if ((text && explain::looks_like_vmcs_dump(bytes)) ||
        (json && explain::looks_like_vmcs_json(bytes))) {
        const explain::VmcsInput input = explain::looks_like_vmcs_json(bytes)
                                             ? explain::read_vmcs_json(bytes, name)
                                             : explain::read_vmcs_dump(bytes, name);
        const auto profile =
            model::vmx::find_profile(choose(options.profile, input.profile, DEFAULT_VMX_PROFILE));
        return explain::explain(input, profile, !options.no_repair);
    }
    const explain::Input input = explain::read_input(bytes, name, format);
    const auto profile =
        model::svm::find_profile(choose(options.profile, input.profile, DEFAULT_PROFILE));
    return explain::explain(input, profile, !options.no_repair);
}

int run(const Options& options) {
    if (options.list_profiles) {
        return list_profiles();
    }
    if (options.file.empty()) {
        throw explain::InputError("no file given ('-' reads standard input; see --help)");
    }
    const explain::Explanation e = explain_bytes(
        read_all(options.file), options.file == "-" ? "<stdin>" : options.file, options);
    if (options.json) {
        fmt::print("{}\n", explain::to_json(e).dump(2));
    } else {
        fmt::print("{}", explain::to_text(e));
    }
    return e.valid() ? 0 : 1;
}

} // namespace

int main(int argc, char** argv) {
    CLI::App app{
        "Explain a VMCB or a VMCS: the entry rules that it breaks, with the section of the "
        "manual, and the smallest repair."};
    app.name("horos-explain");
    Options options;
    app.add_option(
        "file", options.file,
        "raw VMCB (4096 bytes), JSON, or a KVM log with dump_vmcb or dump_vmcs; '-': standard "
        "input");
    app.add_option("--profile", options.profile,
                   "processor profile: a built-in name or a file (default: the input's, else " +
                       std::string(DEFAULT_PROFILE) + " or " + DEFAULT_VMX_PROFILE + ")");
    app.add_option("--format", options.format, "auto, raw, json or kvm");
    app.add_flag("--json", options.json, "print JSON");
    app.add_flag("--no-repair", options.no_repair, "do not look for the smallest repair");
    app.add_flag("--list-profiles", options.list_profiles, "list the built-in profiles");
    app.footer("Exit status: 0 valid, 1 rules are broken (or left open), 2 bad input.");
    try {
        app.parse(argc, argv);
        const int status = run(options);
        if (std::fflush(stdout) != 0) {
            throw std::runtime_error("the output cannot be written");
        }
        return status;
    } catch (const CLI::ParseError& error) {
        const int status = app.exit(error);
        return status == 0 ? 0 : 2;
    } catch (const std::exception& error) {
        fmt::print(stderr, "horos-explain: error: {}\n", error.what());
        return 2;
    }
}
