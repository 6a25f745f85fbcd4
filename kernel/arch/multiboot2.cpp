// The Multiboot2 boot information (Multiboot2 specification, section 3.6): a list of tags.
#include "boot_data.hpp"

namespace horos::arch {
namespace {

struct Header {
    u32 total_size;
    u32 reserved;
};
struct Tag {
    u32 type;
    u32 size; // with this header; the next tag starts at the next multiple of 8
};
struct ModuleTag {
    Tag tag;
    u32 start, end; // a zero-terminated string follows
};
struct MapTag {
    Tag tag;
    u32 entry_size, entry_version;
};
struct MemoryMapEntry {
    u64 base, size;
    u32 type, reserved;
};

constexpr u32 tag_end = 0, tag_command_line = 1, tag_module = 3, tag_map = 6, tag_rsdp_old = 14,
              tag_rsdp_new = 15;
constexpr u32 max_information = 1u << 20;

Complaint parse_map(const PhysMemory& memory, u64 at, u32 size, BootData& out) {
    MapTag map;
    if (size < sizeof map || !memory.read(at, map))
        return "the Multiboot2 memory map is cut short";
    if (map.entry_size < sizeof(MemoryMapEntry))
        return "the Multiboot2 memory map entries are too small";
    for (u64 offset = sizeof map; size - offset >= map.entry_size; offset += map.entry_size) {
        MemoryMapEntry entry;
        if (!memory.read(at + offset, entry))
            return "the Multiboot2 memory map is cut short";
        if (Complaint wrong = add_map_entry(out, entry.base, entry.size, entry.type == 1))
            return wrong;
    }
    return nullptr;
}

Complaint parse_module(const PhysMemory& memory, u64 at, u32 size, BootData& out) {
    ModuleTag module;
    if (size < sizeof module || !memory.read(at, module))
        return "a Multiboot2 module tag is cut short";
    if (module.end < module.start)
        return "a Multiboot2 module ends before it starts";
    if (out.module_count++ == 0) {
        out.module_base = module.start;
        out.module_size = module.end - module.start;
    }
    return nullptr;
}

Complaint parse_tag(const PhysMemory& memory, u64 at, const Tag& tag, BootData& out) {
    switch (tag.type) {
    case tag_command_line:
        return copy_command_line(memory, at + sizeof tag, tag.size - sizeof tag, out);
    case tag_module:
        return parse_module(memory, at, tag.size, out);
    case tag_map:
        return parse_map(memory, at, tag.size, out);
    case tag_rsdp_old: // the tag holds a copy of the table
        if (out.rsdp == 0)
            out.rsdp = at + sizeof tag;
        return nullptr;
    case tag_rsdp_new:
        out.rsdp = at + sizeof tag;
        return nullptr;
    default:
        return nullptr;
    }
}

} // namespace

Complaint parse_multiboot2(const PhysMemory& memory, u64 information, BootData& out) {
    out = {};
    Header header;
    if (!memory.read(information, header))
        return "the Multiboot2 information lies outside memory";
    if (header.total_size < sizeof header || header.total_size > max_information)
        return "the Multiboot2 information has an impossible size";
    const u64 end = information + header.total_size;
    u64 at = information + sizeof header;
    while (true) {
        Tag tag;
        if (at > end || end - at < sizeof tag || !memory.read(at, tag))
            return "the Multiboot2 information has no end tag";
        if (tag.type == tag_end)
            return nullptr;
        if (tag.size < sizeof tag || tag.size > end - at)
            return "a Multiboot2 tag has an impossible size";
        if (Complaint wrong = parse_tag(memory, at, tag, out))
            return wrong;
        at += align_up(tag.size, 8);
    }
}

} // namespace horos::arch
