// What the boot loader told us, in one form for both protocols. Filled by pvh.cpp or
// multiboot2.cpp from untrusted data, so bounded and checked.
#pragma once
#include "types.hpp"

namespace horos::arch {

struct MapEntry {
    u64 base;
    u64 size;
    bool ram; // usable memory; everything else only takes space away
};

struct BootData {
    static constexpr u32 max_map = 256;
    static constexpr u32 max_command_line = 512;

    MapEntry map[max_map];
    u32 map_count;
    u32 module_count;
    u64 module_base; // module 0: the boot bundle
    u64 module_size;
    u64 rsdp; // physical address, 0 = not told
    char command_line[max_command_line];
};

Complaint parse_pvh(const PhysMemory& memory, u64 start_info, BootData& out);
Complaint parse_multiboot2(const PhysMemory& memory, u64 information, BootData& out);

// Adds an entry; complains when the table is full or the entry wraps around.
Complaint add_map_entry(BootData& data, u64 base, u64 size, bool ram);
// Copies a zero-terminated command line; complains when it has no end or is too long.
Complaint copy_command_line(const PhysMemory& memory, u64 address, u64 max, BootData& out);

// Looks for "key=value" among the words of the command line; true if its value is `value`.
bool option_is(const char* command_line, const char* key, const char* value);
// True if the command line has a word that begins with "key=".
bool has_option(const char* command_line, const char* key);

} // namespace horos::arch
