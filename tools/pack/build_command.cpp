#include <cstdio>
#include <cstring>
#include <memory>

#include "tools/common/files.hpp"
#include "tools/pack/bundle.hpp"
#include "tools/pack/commands.hpp"
#include "tools/pack/description/compile.hpp"

namespace horos::tools::pack {
namespace {

struct Options {
    CompileOptions compile;
    std::string programs;
    std::string output;
};

std::vector<BundleItem> load(const CompiledSystem& compiled) {
    std::vector<BundleItem> items;
    for (const BundleFile& file : compiled.files) {
        BundleItem item;
        item.name = file.name;
        item.type = file.type;
        if (file.type == abi::BundleType::system) {
            item.bytes.resize(sizeof compiled.system);
            std::memcpy(item.bytes.data(), &compiled.system, sizeof compiled.system);
        } else {
            item.bytes = read_bytes(file.path);
        }
        items.push_back(std::move(item));
    }
    return items;
}

void run(Options options) {
    options.compile.program_directory = options.programs;
    Diagnostics diagnostics;
    const auto compiled = compile_description(options.compile, diagnostics);
    if (!compiled) {
        std::fputs(diagnostics.text().c_str(), stderr);
        throw CLI::RuntimeError(1);
    }
    const auto bytes = encode_bundle(load(*compiled));
    write_file(options.output, bytes);
    std::printf("%s: %zu entries, %zu KiB\n", options.output.c_str(), compiled->files.size(),
                bytes.size() / 1024);
}

} // namespace

void add_build(CLI::App& app) {
    auto* command = app.add_subcommand("build", "Check a description and pack the boot bundle.");
    auto options = std::make_shared<Options>();
    command->add_option("description", options->compile.file, "system description (TOML)")
        ->required();
    command->add_option("--files", options->compile.file_directories,
                        "directory to look for kernels and initramfs images in; repeat for more");
    command->add_option("--programs", options->programs, "directory of flat programs (NAME.prog)")
        ->required();
    command->add_option("-o,--output", options->output, "bundle to write")->required();
    command->callback([options] { run(*options); });
}

} // namespace horos::tools::pack
