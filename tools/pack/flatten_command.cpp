#include <cstdio>
#include <memory>

#include "tools/common/files.hpp"
#include "tools/common/text.hpp"
#include "tools/pack/commands.hpp"
#include "tools/pack/flatten.hpp"

namespace horos::tools::pack {
namespace {

struct Options {
    std::string program;
    std::vector<std::string> libraries;
    std::string output;
    std::uint64_t base = FlattenOptions{}.base;
    bool quiet = false;
};

void run(const Options& options) {
    std::vector<ElfFile> libraries;
    for (const std::string& file : options.libraries) {
        libraries.push_back(read_elf(file));
    }
    const ProgramImage image = flatten(read_elf(options.program), libraries, {options.base});
    write_file(options.output, encode_program(image, options.program));
    if (options.quiet) {
        return;
    }
    std::printf("%s: entry %s\n", options.output.c_str(), hex(image.entry).c_str());
    for (const Run& segment : image.segments) {
        std::printf("  %s  %-12s %8zu bytes in the file, %8llu in memory\n",
                    rights_text(segment.rights).c_str(), hex(segment.address).c_str(),
                    segment.bytes.size(), static_cast<unsigned long long>(segment.memory_size));
    }
}

} // namespace

void add_flatten(CLI::App& app) {
    auto* command = app.add_subcommand(
        "flatten", "Turn an ELF program and its shared objects into one flat image.");
    auto options = std::make_shared<Options>();
    command->add_option("program", options->program, "static or dynamic ELF64 program")->required();
    command->add_option("--library", options->libraries,
                        "shared object to merge; repeat in the order of look-up");
    command->add_option("-o,--output", options->output, "flat image to write")->required();
    command->add_option("--base", options->base, "load address of a position-independent program");
    command->add_flag("-q,--quiet", options->quiet, "print nothing");
    command->callback([options] { run(*options); });
}

} // namespace horos::tools::pack
