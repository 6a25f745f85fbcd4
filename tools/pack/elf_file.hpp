// An x86-64 ELF file, as far as loading it needs: segments, dynamic symbols, relocations. Nothing
// in the file is believed: every offset is checked against its size. Errors throw Fatal.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace horos::tools::pack {

struct LoadSegment {
    std::uint64_t address = 0; // as linked
    std::uint64_t memory_size = 0;
    std::uint32_t rights = 0; // abi::segment_right
    std::span<const std::uint8_t> bytes;
};

struct ElfSymbol {
    std::string name;
    std::uint64_t value = 0; // as linked
    bool defined = false;
    bool weak = false;
    unsigned type = 0; // STT_*
};

struct ElfRelocation {
    std::uint64_t address = 0; // as linked
    std::uint32_t type = 0;    // R_X86_64_*
    std::uint32_t symbol = 0;  // index into symbols
    std::int64_t addend = 0;
};

struct ElfFile {
    std::string name; // of the file, for messages
    std::vector<std::uint8_t> contents;
    bool relocatable_base = false; // ET_DYN
    std::uint64_t entry = 0;
    std::vector<LoadSegment> segments;
    std::uint64_t relro_begin = 0; // read-only once relocated; empty when equal
    std::uint64_t relro_end = 0;
    std::vector<ElfSymbol> symbols;        // dynamic ones
    std::vector<ElfSymbol> static_symbols; // global, defined; empty when stripped
    std::vector<ElfRelocation> relocations;
    std::uint64_t initialisers = 0; // entries of DT_INIT_ARRAY
};

// Reads, checks, and refuses what no flat image can have: thread-local storage, IFUNCs, packed
// relocations, segments that are writable and executable.
ElfFile read_elf(const std::string& file);
ElfFile parse_elf(std::vector<std::uint8_t> contents, const std::string& name);

} // namespace horos::tools::pack
