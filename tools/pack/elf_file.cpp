#include "tools/pack/elf_file.hpp"

#include <cstring>
#include <elf.h>
#include <horos/abi/bundle.hpp>
#include <map>

#include "tools/common/diagnostics.hpp"
#include "tools/common/files.hpp"

namespace horos::tools::pack {
namespace {

class Reader {
public:
    explicit Reader(ElfFile& elf) : elf_(elf) {}
    void read();

private:
    [[noreturn]] void fail(const std::string& what) const {
        throw Fatal(elf_.name + ": error: " + what);
    }
    template <class T>
    T at(std::uint64_t offset, const char* what) const;
    std::uint64_t file_offset(std::uint64_t address, std::uint64_t size, const char* what) const;
    std::string text_at(std::uint64_t offset, std::uint64_t end) const;

    Elf64_Shdr section_header(std::uint64_t index) const {
        return at<Elf64_Shdr>(header_.e_shoff + index * sizeof(Elf64_Shdr), "a section header");
    }

    void check_header();
    void read_segment(const Elf64_Phdr& segment);
    void read_dynamic(const Elf64_Phdr& segment);
    void read_symbols();
    std::uint64_t symbol_count() const;
    void read_relocations(std::uint64_t table, std::uint64_t size);
    void read_static_symbols();
    std::uint64_t dynamic(std::int64_t tag) const {
        const auto found = dynamic_.find(tag);
        return found == dynamic_.end() ? 0 : found->second;
    }

    ElfFile& elf_;
    Elf64_Ehdr header_{};
    std::map<std::int64_t, std::uint64_t> dynamic_;
};

template <class T>
T Reader::at(std::uint64_t offset, const char* what) const {
    if (offset > elf_.contents.size() || elf_.contents.size() - offset < sizeof(T)) {
        fail(std::string("is cut short: ") + what + " lies beyond its end");
    }
    T out;
    std::memcpy(&out, elf_.contents.data() + offset, sizeof out);
    return out;
}

// Where the bytes of a linked address are in the file.
std::uint64_t Reader::file_offset(std::uint64_t address, std::uint64_t size,
                                  const char* what) const {
    for (const LoadSegment& segment : elf_.segments) {
        if (address >= segment.address && address - segment.address <= segment.bytes.size() &&
            segment.bytes.size() - (address - segment.address) >= size) {
            return static_cast<std::uint64_t>(segment.bytes.data() - elf_.contents.data()) +
                   (address - segment.address);
        }
    }
    fail(std::string(what) + " is not within a loaded segment");
}

std::string Reader::text_at(std::uint64_t offset, std::uint64_t end) const {
    std::string out;
    for (; offset < end; ++offset) {
        const char c = static_cast<char>(elf_.contents[offset]);
        if (c == 0) {
            return out;
        }
        out += c;
    }
    fail("a symbol's name has no end");
}

void Reader::check_header() {
    if (elf_.contents.size() < SELFMAG || std::memcmp(elf_.contents.data(), ELFMAG, SELFMAG) != 0) {
        fail("is not an ELF file");
    }
    header_ = at<Elf64_Ehdr>(0, "the ELF header");
    if (header_.e_ident[EI_CLASS] != ELFCLASS64 || header_.e_machine != EM_X86_64) {
        fail("is not a 64-bit x86 ELF file");
    }
    if (header_.e_type != ET_EXEC && header_.e_type != ET_DYN) {
        fail("is neither a program nor a shared object");
    }
    if (header_.e_phentsize != sizeof(Elf64_Phdr)) {
        fail("has program headers of an unknown size");
    }
    elf_.relocatable_base = header_.e_type == ET_DYN;
    elf_.entry = header_.e_entry;
}

void Reader::read_segment(const Elf64_Phdr& segment) {
    if (segment.p_offset > elf_.contents.size() ||
        elf_.contents.size() - segment.p_offset < segment.p_filesz) {
        fail("is cut short: a segment lies beyond its end");
    }
    if (segment.p_memsz < segment.p_filesz || segment.p_vaddr + segment.p_memsz < segment.p_vaddr ||
        segment.p_vaddr + segment.p_memsz > abi::user_end) {
        fail("has a segment with impossible sizes or addresses");
    }
    LoadSegment out;
    out.address = segment.p_vaddr;
    out.memory_size = segment.p_memsz;
    out.bytes = {elf_.contents.data() + segment.p_offset, segment.p_filesz};
    out.rights = abi::segment_right::read;
    out.rights |= (segment.p_flags & PF_W) != 0 ? abi::segment_right::write : 0;
    out.rights |= (segment.p_flags & PF_X) != 0 ? abi::segment_right::exec : 0;
    if ((segment.p_flags & PF_W) != 0 && (segment.p_flags & PF_X) != 0) {
        fail("has a segment that is writable and executable");
    }
    if (segment.p_memsz != 0) {
        elf_.segments.push_back(out);
    }
}

void Reader::read_dynamic(const Elf64_Phdr& segment) {
    for (std::uint64_t at_byte = 0; at_byte + sizeof(Elf64_Dyn) <= segment.p_filesz;
         at_byte += sizeof(Elf64_Dyn)) {
        const auto entry = at<Elf64_Dyn>(segment.p_offset + at_byte, "the dynamic section");
        if (entry.d_tag == DT_NULL) {
            break;
        }
        dynamic_.emplace(entry.d_tag, entry.d_un.d_val);
    }
    constexpr std::int64_t dt_relr = 36; // not in every <elf.h>
    if (dynamic_.contains(dt_relr) || dynamic_.contains(DT_REL)) {
        fail("has packed or REL relocations; link with -z nopack-relative-relocs");
    }
    elf_.initialisers = dynamic(DT_INIT_ARRAYSZ) / 8;
    read_symbols();
    read_relocations(dynamic(DT_RELA), dynamic(DT_RELASZ));
    read_relocations(dynamic(DT_JMPREL), dynamic(DT_PLTRELSZ));
}

// The number of dynamic symbols is written down only in the section headers and, less directly, in
// the hash tables. Relocations may name any of them.
std::uint64_t Reader::symbol_count() const {
    for (std::uint64_t i = 0; i < header_.e_shnum; ++i) {
        const auto section = section_header(i);
        if (section.sh_type == SHT_DYNSYM) {
            return section.sh_size / sizeof(Elf64_Sym);
        }
    }
    fail("has dynamic symbols but no section headers (was it stripped of them?)");
}

void Reader::read_symbols() {
    if (dynamic(DT_SYMTAB) == 0) {
        return;
    }
    const std::uint64_t strings =
        file_offset(dynamic(DT_STRTAB), dynamic(DT_STRSZ), "the string table");
    const std::uint64_t count = symbol_count();
    const std::uint64_t table =
        file_offset(dynamic(DT_SYMTAB), count * sizeof(Elf64_Sym), "the symbol table");
    for (std::uint64_t i = 0; i < count; ++i) {
        const auto raw = at<Elf64_Sym>(table + i * sizeof(Elf64_Sym), "a symbol");
        if (raw.st_name >= dynamic(DT_STRSZ)) {
            fail("has a symbol whose name lies outside of the string table");
        }
        ElfSymbol symbol;
        symbol.name = text_at(strings + raw.st_name, strings + dynamic(DT_STRSZ));
        symbol.value = raw.st_value;
        symbol.defined = raw.st_shndx != SHN_UNDEF;
        symbol.weak = ELF64_ST_BIND(raw.st_info) == STB_WEAK;
        symbol.type = ELF64_ST_TYPE(raw.st_info);
        elf_.symbols.push_back(std::move(symbol));
    }
}

void Reader::read_relocations(std::uint64_t table, std::uint64_t size) {
    if (size == 0) {
        return;
    }
    const std::uint64_t offset = file_offset(table, size, "the relocation table");
    for (std::uint64_t i = 0; i < size / sizeof(Elf64_Rela); ++i) {
        const auto raw = at<Elf64_Rela>(offset + i * sizeof(Elf64_Rela), "a relocation");
        const auto symbol = static_cast<std::uint32_t>(ELF64_R_SYM(raw.r_info));
        if (symbol != 0 && symbol >= elf_.symbols.size()) {
            fail("has a relocation for a symbol that does not exist");
        }
        elf_.relocations.push_back({raw.r_offset,
                                    static_cast<std::uint32_t>(ELF64_R_TYPE(raw.r_info)), symbol,
                                    raw.r_addend});
    }
}

// A program's own symbols serve the shared objects whether the linker exported them or not. And a
// static program keeps its IFUNC relocations where only its start-up code finds them.
void Reader::read_static_symbols() {
    for (std::uint64_t i = 0; i < header_.e_shnum; ++i) {
        const auto section = section_header(i);
        if (section.sh_type != SHT_SYMTAB) {
            continue;
        }
        const auto names = section_header(section.sh_link);
        const auto end =
            std::min<std::uint64_t>(names.sh_offset + names.sh_size, elf_.contents.size());
        for (std::uint64_t j = 0; j < section.sh_size / sizeof(Elf64_Sym); ++j) {
            const auto raw = at<Elf64_Sym>(section.sh_offset + j * sizeof(Elf64_Sym), "a symbol");
            const unsigned type = ELF64_ST_TYPE(raw.st_info);
            if (raw.st_shndx == SHN_UNDEF || ELF64_ST_BIND(raw.st_info) == STB_LOCAL) {
                continue;
            }
            ElfSymbol symbol{text_at(names.sh_offset + raw.st_name, end), raw.st_value, true,
                             ELF64_ST_BIND(raw.st_info) == STB_WEAK, type};
            if (type == STT_GNU_IFUNC) {
                fail("'" + symbol.name + "' is an IFUNC; flat programs cannot have these");
            }
            elf_.static_symbols.push_back(std::move(symbol));
        }
    }
}

void Reader::read() {
    check_header();
    std::vector<Elf64_Phdr> headers;
    headers.reserve(header_.e_phnum);
    for (std::uint64_t i = 0; i < header_.e_phnum; ++i) {
        headers.push_back(
            at<Elf64_Phdr>(header_.e_phoff + i * sizeof(Elf64_Phdr), "a program header"));
    }
    for (const Elf64_Phdr& segment : headers) {
        if (segment.p_type == PT_LOAD) {
            read_segment(segment);
        } else if (segment.p_type == PT_TLS) {
            fail("has thread-local storage; flat programs cannot have that");
        } else if (segment.p_type == PT_GNU_RELRO) {
            elf_.relro_begin = segment.p_vaddr;
            elf_.relro_end = segment.p_vaddr + segment.p_memsz;
        }
    }
    if (elf_.segments.empty()) {
        fail("has nothing to load");
    }
    for (const Elf64_Phdr& segment : headers) {
        if (segment.p_type == PT_DYNAMIC) {
            read_dynamic(segment);
        }
    }
    read_static_symbols();
}

} // namespace

ElfFile parse_elf(std::vector<std::uint8_t> contents, const std::string& name) {
    ElfFile elf;
    elf.name = name;
    elf.contents = std::move(contents);
    Reader(elf).read();
    return elf;
}

ElfFile read_elf(const std::string& file) { return parse_elf(read_bytes(file), file); }

} // namespace horos::tools::pack
