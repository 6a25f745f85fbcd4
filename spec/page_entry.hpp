// Page-table entries, as the kernel writes them. APM vol. 2 rev. 3.42 §5.3 (long-mode tables), and
// §15.25.5: nested tables have the same form, every nested access counts as a user access.
#pragma once
#include "spec/state.hpp"

namespace horos::spec {

namespace pte {
inline constexpr u64 present = 1, writable = 2, user = 4, write_through = 8, uncached = 16,
                     large = 128, no_execute = u64{1} << 63;
inline constexpr u64 device = u64{1} << 9; // available to software: memory that nobody counts
inline constexpr u64 address = 0x000f'ffff'ffff'f000;
} // namespace pte

// What a mapping with these rights looks like. Memory can always be read.
constexpr u64 memory_entry(Frame first, u8 rights, bool is_block) {
    return (u64{first} << frame_bits) | pte::present | pte::user | (is_block ? pte::large : 0) |
           ((rights & right::write) != 0 ? pte::writable : 0) |
           ((rights & right::exec) != 0 ? 0 : pte::no_execute);
}
// Device memory is uncached and never executable.
constexpr u64 device_entry(u64 page, u8 rights) {
    return (page << frame_bits) | pte::present | pte::user | pte::uncached | pte::write_through |
           pte::device | pte::no_execute | ((rights & right::write) != 0 ? pte::writable : 0);
}
// Tables restrict nothing; the last entry of a walk does.
constexpr u64 table_entry(Frame table) {
    return (u64{table} << frame_bits) | pte::present | pte::writable | pte::user;
}

constexpr Frame target_of(u64 entry) {
    return static_cast<Frame>((entry & pte::address) >> frame_bits);
}
constexpr bool is_present(u64 entry) { return (entry & pte::present) != 0; }
constexpr bool is_large(u64 entry) { return (entry & pte::large) != 0; }
constexpr bool is_device(u64 entry) { return (entry & pte::device) != 0; }

// A table of level l (1..4) has 512 entries that cover 4 KiB << 9 (l - 1) each.
constexpr u32 covered_bits(u32 level) { return frame_bits + 9 * (level - 1); }
constexpr u32 index_in(u64 address, u32 level) {
    return static_cast<u32>(address >> covered_bits(level)) % 512;
}

// ---- spaces.cpp
// Whether an entry of that level can begin at the address: in the space's range, aligned.
bool address_fits(Frame space, u64 address, u32 level);
// The table of `level` on the way to an address.
Error walk(Frame space, u64 address, u32 level, Frame& table);
// An entry of a top table that every host space has, for the kernel itself.
bool is_kernels_entry(Frame table, u32 index);
// Takes an entry away, with what it counted for.
void remove_entry(Frame table, u32 index);

} // namespace horos::spec
