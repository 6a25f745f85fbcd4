// The page-table editor: one walk and one set of edits for every format. A format says how an entry
// is written; host tables, AMD's nested tables and Intel's EPT are here, the IOMMUs' join them.
#pragma once
#include "kernel/core/frames.hpp"

namespace horos::core {

// On which cores a space is loaded (host) or its guest may be running.
u64 cores_using(Frame space);

namespace map_right {
inline constexpr u8 any = right::read | right::write | right::exec;
} // namespace map_right

// What all formats share, so that reading an entry needs no format: every mapping can be read, and
// the bits below mean the same in each.
struct EntryFormat {
    static constexpr u64 present = 1, large = 128;
    // Ours: not counted RAM. Available to software; in EPT because EPTP's accessed and dirty flags
    // stay off.
    static constexpr u64 device = u64{1} << 9;
    static constexpr u64 address_mask = 0x000f'ffff'ffff'f000;

    static constexpr bool is_present(u64 entry) { return (entry & present) != 0; }
    static constexpr bool is_large(u64 entry) { return (entry & large) != 0; }
    static constexpr bool is_device(u64 entry) { return (entry & device) != 0; }
    static constexpr Frame frame(u64 entry) {
        return static_cast<Frame>((entry & address_mask) >> frame_bits);
    }
};

// Host tables and AMD's nested tables: APM vol. 2 §5.3 (long-mode page translation), §15.25.5
// (nested tables have the same form, and every nested access counts as a user access). Accessed and
// dirty are set from the start, where the processor could set them (§5.4.2): it never writes to a
// table then, and nobody but this core does.
struct LongModeFormat : EntryFormat {
    static constexpr u64 writable = 2, user = 4, write_through = 8, uncached = 16, accessed = 32,
                         dirty = 64, no_execute = u64{1} << 63;

    static constexpr u64 leaf(Frame frame, u32 level, u8 rights) {
        return (u64{frame} << frame_bits) | present | user | accessed |
               ((rights & right::write) != 0 ? writable | dirty : 0) |
               ((rights & right::exec) != 0 ? 0 : no_execute) | (level > 1 ? large : 0);
    }
    static constexpr u64 device_leaf(u64 page, u8 rights) {
        return (page << frame_bits) | present | user | uncached | write_through | accessed |
               device | no_execute | ((rights & right::write) != 0 ? writable | dirty : 0);
    }
    static constexpr u64 table(Frame frame) {
        return (u64{frame} << frame_bits) | present | writable | user | accessed;
    }
};

// Intel's extended page tables: SDM vol. 3C §28.3.2. `present` is the right to read.
struct EptFormat : EntryFormat {
    static constexpr u64 writable = 2, executable = 4;
    static constexpr u64 write_back = 6 << 3, uncached = 0; // memory type, bits 5:3

    static constexpr u64 leaf(Frame frame, u32 level, u8 rights) {
        return (u64{frame} << frame_bits) | present | write_back |
               ((rights & right::write) != 0 ? writable : 0) |
               ((rights & right::exec) != 0 ? executable : 0) | (level > 1 ? large : 0);
    }
    static constexpr u64 device_leaf(u64 page, u8 rights) {
        return (page << frame_bits) | present | uncached | device |
               ((rights & right::write) != 0 ? writable : 0);
    }
    static constexpr u64 table(Frame frame) {
        return (u64{frame} << frame_bits) | present | writable | executable;
    }
};

using Format = LongModeFormat; // of host tables; for reading, of all

constexpr u32 entry_index(u64 address, u32 level) {
    return static_cast<u32>(address >> (frame_bits + 9 * (level - 1))) & 511;
}
constexpr u64 entry_span(u32 level) { return u64{1} << (frame_bits + 9 * (level - 1)); }

// Whether `address` lies in the space's range and is a multiple of what an entry of that level
// covers.
bool address_fits(const Space& space, u64 address, u32 level);

// The table of `level` (1..4) on the way to `address`. table_missing where a parent is absent,
// already_mapped where a large mapping is in the way.
Error find_table(const Space& space, u64 address, u32 level, Frame& table);

// Clears one entry of a table, and counts its target down. Gives back whether there was one.
bool clear_entry(Frame table, u32 index);

// Whether an entry of a top table is one that every host space has.
bool is_kernel_entry(Frame root, u32 index);

Error table_map(const Caller&, const TableMapArgs&);
Error table_unmap(const Caller&, const TableUnmapArgs&);
Error map_frame(const Caller&, const MapFrameArgs&);
Error map_block(const Caller&, const MapBlockArgs&);
Error map_shared(const Caller&, const MapSharedArgs&);
Error map_mmio(const Caller&, const MapMmioArgs&);
Error unmap(const Caller&, const UnmapArgs&);
Error space_create(const Caller&, const SpaceCreateArgs&);

} // namespace horos::core
