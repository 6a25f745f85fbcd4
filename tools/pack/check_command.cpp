#include <cstdio>
#include <memory>

#include "tools/pack/commands.hpp"
#include "tools/pack/description/compile.hpp"
#include "tools/pack/report.hpp"

namespace horos::tools::pack {
namespace {

struct Options {
    CompileOptions compile;
    std::string programs;
};

void run(Options options) {
    if (!options.programs.empty()) {
        options.compile.program_directory = options.programs;
    }
    Diagnostics diagnostics;
    const auto compiled = compile_description(options.compile, diagnostics);
    if (!compiled) {
        std::fputs(diagnostics.text().c_str(), stderr);
        throw CLI::RuntimeError(1);
    }
    std::fputs(system_text(compiled->system).c_str(), stdout);
    std::printf("%s: good\n", options.compile.file.c_str());
}

} // namespace

void add_check(CLI::App& app) {
    auto* command =
        app.add_subcommand("check", "Check a system description and say what it means.");
    auto options = std::make_shared<Options>();
    command->add_option("description", options->compile.file, "system description (TOML)")
        ->required();
    command->add_option("--files", options->compile.file_directories,
                        "directory to look for kernels and initramfs images in; repeat for more");
    command->add_option("--programs", options->programs,
                        "directory of flat programs (NAME.prog); their presence is checked too");
    command->callback([options] { run(*options); });
}

} // namespace horos::tools::pack
