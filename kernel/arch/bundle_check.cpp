#include "bundle_check.hpp"
#include <horos/abi/boot_page.hpp>

namespace horos::arch {
namespace {

using abi::BundleEntry;
using abi::BundleHeader;
using abi::ProgramSegment;

Complaint check_header(const u8* bundle, u64 size, BundleHeader& header) {
    if (size < sizeof header)
        return "the boot bundle is cut short: it has no complete header";
    __builtin_memcpy(&header, bundle, sizeof header);
    if (header.magic != abi::bundle_magic)
        return "the boot bundle has a wrong magic number";
    if (header.version != abi::bundle_version)
        return "the boot bundle is of another version";
    const u32 expected = header.header_crc32c;
    header.header_crc32c = 0;
    if (crc32c(0, reinterpret_cast<const u8*>(&header), sizeof header) != expected)
        return "the boot bundle's header is damaged (checksum)";
    if (header.total_size > size)
        return "the boot bundle is cut short";
    if (header.entry_count == 0 || header.entry_count > abi::max_bundle_entries)
        return "the boot bundle has no entries, or too many";
    return nullptr;
}

Complaint check_entry(const BundleEntry& entry, u64 total) {
    if (entry.offset % abi::frame_size)
        return "a boot bundle entry does not start on a page";
    if (entry.offset > total || entry.size > total - entry.offset)
        return "a boot bundle entry lies outside the bundle";
    return nullptr;
}

bool overlap(const ProgramSegment& a, const ProgramSegment& b) {
    return a.address < b.address + b.memory_size && b.address < a.address + a.memory_size;
}

Complaint check_segment(const ProgramSegment& s, u64 program_size) {
    using namespace abi::segment_right;
    if ((s.address | s.offset | s.memory_size) % abi::frame_size)
        return "a segment of the root task does not lie on pages";
    if (s.address == 0 || s.address >= abi::boot_page_address ||
        s.memory_size > abi::boot_page_address - s.address)
        return "a segment of the root task lies outside the program's addresses";
    if (s.file_size > s.memory_size || s.offset > program_size ||
        s.file_size > program_size - s.offset)
        return "a segment of the root task lies outside its file";
    if ((s.rights & ~(read | write | exec)) || (s.rights & read) == 0)
        return "a segment of the root task has impossible rights";
    if ((s.rights & write) && (s.rights & exec))
        return "a segment of the root task is writable and executable";
    return nullptr;
}

Complaint check_program(u64 size, RootProgram& program) {
    if (size < sizeof program.header)
        return "the root task is cut short";
    __builtin_memcpy(&program.header, program.contents, sizeof program.header);
    const abi::ProgramHeader& header = program.header;
    if (header.magic != abi::program_magic)
        return "the root task has a wrong magic number";
    if (header.segment_count == 0 || header.segment_count > abi::max_program_segments)
        return "the root task has no segments, or too many";
    bool entry_is_code = false;
    for (u32 i = 0; i < header.segment_count; ++i) {
        const ProgramSegment& s = header.segments[i];
        if (Complaint wrong = check_segment(s, size))
            return wrong;
        for (u32 j = 0; j < i; ++j)
            if (overlap(s, header.segments[j]))
                return "two segments of the root task overlap";
        if (s.rights & abi::segment_right::exec && header.entry >= s.address &&
            header.entry - s.address < s.memory_size)
            entry_is_code = true;
        program.pages += s.memory_size / abi::frame_size;
    }
    return entry_is_code ? nullptr : "the root task's entry point is not in its code";
}

} // namespace

Complaint check_bundle(const u8* bundle, u64 size, RootProgram& out) {
    out = {};
    BundleHeader header;
    if (Complaint wrong = check_header(bundle, size, header))
        return wrong;
    for (u32 i = 0; i < header.entry_count; ++i)
        if (Complaint wrong = check_entry(header.entries[i], header.total_size))
            return wrong;
    const BundleEntry& root = header.entries[0];
    if (root.type != abi::BundleType::program)
        return "the boot bundle's first entry is not a program";
    out.contents = bundle + root.offset;
    if (crc32c(0, out.contents, root.size) != root.crc32c)
        return "the root task is damaged (checksum)";
    return check_program(root.size, out);
}

} // namespace horos::arch
