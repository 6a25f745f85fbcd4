// Page-table entries, as the kernel writes them. Two forms: host tables and AMD's nested tables are
// long-mode tables (APM vol. 2 rev. 3.42 §5.3, §15.25.5: every nested access counts as a user
// access), with accessed and dirty set from the start so that the processor does not write to them
// (§5.4.2); guests on Intel's processors have extended page tables (SDM vol. 3C §28.3.2). What both
// mean by present (EPT: readable), writable, large and the address is in the same bits.
#pragma once
#include "spec/state.hpp"

namespace horos::spec {

namespace pte {
inline constexpr u64 present = 1, writable = 2, large = 128;
inline constexpr u64 device = u64{1} << 9; // available to software: memory that nobody counts
inline constexpr u64 address = 0x000f'ffff'ffff'f000;
// long mode
inline constexpr u64 user = 4, write_through = 8, uncached = 16, accessed = 32, dirty = 64,
                     no_execute = u64{1} << 63;
} // namespace pte

namespace ept {
inline constexpr u64 executable = 4;
inline constexpr u64 write_back = 6 << 3, uncached = 0; // memory type
} // namespace ept

inline bool has_ept(Frame space) {
    return spaces[space].kind == SpaceKind::guest && machine.guest_format == TableFormat::ept;
}

// What a mapping with these rights looks like. Memory can always be read.
inline u64 memory_entry(Frame space, Frame first, u8 rights, bool is_block) {
    const bool exec = (rights & right::exec) != 0;
    const bool write = (rights & right::write) != 0;
    const u64 common = (u64{first} << frame_bits) | pte::present | (is_block ? pte::large : 0) |
                       (write ? pte::writable : 0);
    return common | (has_ept(space) ? ept::write_back | (exec ? ept::executable : 0)
                                    : pte::user | pte::accessed | (write ? pte::dirty : 0) |
                                          (exec ? 0 : pte::no_execute));
}
// Device memory is uncached and never executable.
inline u64 device_entry(Frame space, u64 page, u8 rights) {
    const bool write = (rights & right::write) != 0;
    const u64 common =
        (page << frame_bits) | pte::present | pte::device | (write ? pte::writable : 0);
    return common |
           (has_ept(space) ? ept::uncached
                           : pte::user | pte::uncached | pte::write_through | pte::accessed |
                                 (write ? pte::dirty : 0) | pte::no_execute);
}
// Tables restrict nothing; the last entry of a walk does.
inline u64 table_entry(Frame space, Frame table) {
    return (u64{table} << frame_bits) | pte::present | pte::writable |
           (has_ept(space) ? ept::executable : pte::user | pte::accessed);
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
