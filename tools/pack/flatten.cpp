#include "tools/pack/flatten.hpp"

#include <elf.h>
#include <horos/abi/bundle.hpp>
#include <map>
#include <set>

#include "tools/common/diagnostics.hpp"
#include "tools/common/text.hpp"

namespace horos::tools::pack {
namespace {

constexpr std::uint64_t round_up(std::uint64_t value) {
    return (value + page_size - 1) / page_size * page_size;
}

struct Placed {
    const ElfFile* elf;
    std::uint64_t bias; // added to every linked address
};

class Linker {
public:
    void place(const ElfFile& elf, std::uint64_t base);
    void relocate();
    ProgramImage image(std::uint64_t entry) const { return {entry, image_.runs()}; }
    [[nodiscard]] std::uint64_t next_base() const { return round_up(image_.end()) + page_size; }
    [[nodiscard]] std::uint64_t bias(std::size_t index) const { return placed_[index].bias; }

private:
    void export_symbols(const Placed& placed);
    void apply(const Placed& placed, const ElfRelocation& relocation);
    std::uint64_t value_of(const Placed& placed, const ElfRelocation& relocation);

    PageImage image_;
    std::vector<Placed> placed_;
    std::map<std::string, std::uint64_t> exported_; // first definition wins
    std::set<std::string> unresolved_;
};

void Linker::place(const ElfFile& elf, std::uint64_t base) {
    const Placed placed{&elf, elf.relocatable_base ? base : 0};
    for (const LoadSegment& segment : elf.segments) {
        image_.add(placed.bias + segment.address, segment.memory_size, segment.bytes,
                   segment.rights, elf.name);
    }
    placed_.push_back(placed);
    export_symbols(placed);
}

void Linker::export_symbols(const Placed& placed) {
    for (const ElfSymbol& symbol : placed.elf->symbols) {
        if (symbol.defined && !symbol.name.empty()) {
            exported_.emplace(symbol.name, placed.bias + symbol.value);
        }
    }
    if (placed_.size() == 1) { // the program
        for (const ElfSymbol& symbol : placed.elf->static_symbols) {
            exported_.emplace(symbol.name, placed.bias + symbol.value);
        }
    }
}

const char* refused_name(std::uint32_t type) {
    switch (type) {
    case R_X86_64_COPY:
        return "R_X86_64_COPY (compile the program with -fPIE)";
    case R_X86_64_IRELATIVE:
        return "R_X86_64_IRELATIVE (an IFUNC)";
    case R_X86_64_DTPMOD64:
    case R_X86_64_DTPOFF64:
    case R_X86_64_TPOFF64:
    case R_X86_64_TLSDESC:
        return "of thread-local storage";
    default:
        return "of an unknown kind";
    }
}

std::uint64_t Linker::value_of(const Placed& placed, const ElfRelocation& relocation) {
    const ElfSymbol& symbol = placed.elf->symbols[relocation.symbol];
    if (symbol.type == STT_TLS || symbol.type == STT_GNU_IFUNC) {
        throw Fatal(placed.elf->name + ": error: '" + symbol.name + "' is " +
                    (symbol.type == STT_TLS ? "thread-local" : "an IFUNC") +
                    "; flat programs cannot have that");
    }
    if (relocation.symbol == 0) {
        return placed.bias;
    }
    if (const auto found = exported_.find(symbol.name); found != exported_.end()) {
        return found->second;
    }
    if (symbol.defined) { // local
        return placed.bias + symbol.value;
    }
    if (!symbol.weak) {
        unresolved_.insert("'" + symbol.name + "' (needed by " + placed.elf->name + ")");
    }
    return 0;
}

void Linker::apply(const Placed& placed, const ElfRelocation& relocation) {
    const auto addend = static_cast<std::uint64_t>(relocation.addend);
    std::uint64_t value = 0;
    switch (relocation.type) {
    case R_X86_64_NONE:
        return;
    case R_X86_64_RELATIVE:
        value = placed.bias + addend;
        break;
    case R_X86_64_GLOB_DAT:
    case R_X86_64_JUMP_SLOT:
        value = value_of(placed, relocation);
        break;
    case R_X86_64_64:
        value = value_of(placed, relocation) + addend;
        break;
    default: {
        const std::string& name = placed.elf->symbols.empty()
                                      ? std::string()
                                      : placed.elf->symbols[relocation.symbol].name;
        throw Fatal(placed.elf->name + ": error: has a relocation " +
                    refused_name(relocation.type) + ", type " + std::to_string(relocation.type) +
                    (name.empty() ? "" : ", for '" + name + "'"));
    }
    }
    image_.write64(placed.bias + relocation.address, value, placed.elf->name);
}

void Linker::relocate() {
    for (const Placed& placed : placed_) {
        for (const ElfRelocation& relocation : placed.elf->relocations) {
            apply(placed, relocation);
        }
    }
    if (!unresolved_.empty()) {
        std::string list;
        for (const std::string& name : unresolved_) {
            list += "\n  " + name;
        }
        throw Fatal(placed_.front().elf->name + ": error: unresolved symbols:" + list);
    }
    // What only the dynamic linker had to write is read-only from now on. Its last page may hold
    // ordinary data as well.
    for (const Placed& placed : placed_) {
        image_.set_rights((placed.bias + placed.elf->relro_begin) / page_size * page_size,
                          (placed.bias + placed.elf->relro_end) / page_size * page_size,
                          abi::segment_right::read);
    }
}

} // namespace

ProgramImage flatten(const ElfFile& program, const std::vector<ElfFile>& libraries,
                     const FlattenOptions& options) {
    Linker linker;
    linker.place(program, options.base);
    for (const ElfFile& library : libraries) {
        if (!library.relocatable_base) {
            throw Fatal(library.name + ": error: is not a shared object");
        }
        // One entry is the compiler's own frame_dummy, which does nothing in a flat image.
        if (library.initialisers > 1) {
            throw Fatal(library.name + ": error: has " + std::to_string(library.initialisers) +
                        " initialisers that nobody would call");
        }
        linker.place(library, linker.next_base());
    }
    linker.relocate();
    return linker.image(linker.bias(0) + program.entry);
}

} // namespace horos::tools::pack
