// Parts that both boot protocols share.
#include "boot_data.hpp"

namespace horos::arch {

Complaint add_map_entry(BootData& data, u64 base, u64 size, bool ram) {
    if (size == 0)
        return nullptr;
    if (base + size < base)
        return "a memory map entry wraps around";
    if (data.map_count == BootData::max_map)
        return "the memory map has more than 256 entries";
    data.map[data.map_count++] = {base, size, ram};
    return nullptr;
}

Complaint copy_command_line(const PhysMemory& memory, u64 address, u64 max, BootData& out) {
    for (u64 i = 0; i < BootData::max_command_line; ++i) {
        u8 byte = 0;
        if (i >= max || !memory.read(address + i, byte))
            return "the command line has no end";
        out.command_line[i] = static_cast<char>(byte);
        if (byte == 0)
            return nullptr;
    }
    out.command_line[0] = 0;
    return "the command line is longer than 511 characters";
}

namespace {

// Where the value of the word "key=..." begins, or null.
const char* find_option(const char* line, const char* key) {
    for (const char* word = line; *word; ++word) {
        if (word != line && word[-1] != ' ')
            continue;
        const char* at = word;
        const char* want = key;
        while (*want && *at == *want)
            ++at, ++want;
        if (!*want && *at == '=')
            return at + 1;
    }
    return nullptr;
}

} // namespace

bool option_is(const char* line, const char* key, const char* value) {
    const char* at = find_option(line, key);
    if (!at)
        return false;
    while (*value && *at == *value)
        ++at, ++value;
    return !*value && (*at == 0 || *at == ' ');
}

bool has_option(const char* line, const char* key) { return find_option(line, key) != nullptr; }

} // namespace horos::arch
