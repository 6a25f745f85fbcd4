// Turns a ring-3 program and the shared objects it needs into one flat, fully relocated image, so
// that neither kernel nor root task contains an ELF loader.
#pragma once
#include <string>
#include <vector>

#include "tools/pack/elf_file.hpp"
#include "tools/pack/program_image.hpp"

namespace horos::tools::pack {

struct FlattenOptions {
    std::uint64_t base = 0x40'0000; // of a position-independent program
};

// libraries: in the order in which symbols are looked up, after the program itself.
ProgramImage flatten(const ElfFile& program, const std::vector<ElfFile>& libraries,
                     const FlattenOptions& options = {});

} // namespace horos::tools::pack
