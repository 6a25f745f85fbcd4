#include "kernel/core/frames.hpp"
#include "spec/invariants.hpp"
#include "spec/page_entry.hpp"

namespace horos::spec {

static bool is_type(Frame f, ObjectType type) { return frame_exists(f) && frames[f].type == type; }

// What can be written is marked as written.
static bool needs_no_update(u64 entry) {
    return ((entry & pte::dirty) != 0) == ((entry & pte::writable) != 0);
}
// Without address, rights and size: what a mapping of memory, or of a device, has set besides.
static bool is_memory_form(u64 entry) {
    const u64 fixed = entry & ~(pte::address | pte::writable | pte::large);
    const bool nested = machine.guest_format == TableFormat::ept;
    return ((fixed & ~(pte::no_execute | pte::dirty)) ==
                (pte::present | pte::user | pte::accessed) &&
            needs_no_update(entry)) ||
           (nested && (fixed & ~ept::executable) == (pte::present | ept::write_back));
}
static bool is_device_form(u64 entry) {
    const u64 fixed = entry & ~(pte::address | pte::writable);
    const bool nested = machine.guest_format == TableFormat::ept;
    return ((fixed & ~pte::dirty) ==
                (pte::present | pte::user | pte::uncached | pte::write_through | pte::accessed |
                 pte::device | pte::no_execute) &&
            needs_no_update(entry)) ||
           (nested && fixed == (pte::present | pte::device | ept::uncached));
}
static bool is_table_form(u64 entry) {
    const u64 fixed = entry & ~pte::address;
    const bool nested = machine.guest_format == TableFormat::ept;
    return fixed == (pte::present | pte::writable | pte::user | pte::accessed) ||
           (nested && fixed == (pte::present | pte::writable | ept::executable));
}

bool inv_entry_form(Frame table, u32 i) {
    const u64 entry = page_tables[table].entries[i];
    switch (entry_kind(table, i)) {
    case EntryKind::empty:
        return entry == 0;
    case EntryKind::kernel:
        return true;
    case EntryKind::table:
        return is_table_form(entry);
    case EntryKind::frame:
        return is_memory_form(entry) && (entry & pte::large) == 0;
    case EntryKind::block:
        return is_memory_form(entry) && frames[table].level == 2;
    case EntryKind::device:
        return is_device_form(entry);
    }
    return false;
}

// The k-th page that no mapping may reach.
static bool is_kernel_device(u64 page, u32 k) {
    return k < machine.kernel_device_count && machine.kernel_devices[k] == page;
}

static bool is_device_page(u64 page) {
    for (u32 k = 0; k < max_kernel_devices; ++k) {
        if (is_kernel_device(page, k))
            return false;
    }
    if (page >= machine.frame_limit)
        return page >> (machine.physical_bits - frame_bits) == 0;
    const Frame f = static_cast<Frame>(page);
    return blocks[block_of(f)].state == BlockState::reserved ||
           frames[f].type == ObjectType::reserved;
}

bool inv_entry_target(Frame table, u32 i) {
    const u64 page = (page_tables[table].entries[i] & Format::address_mask) >> frame_bits;
    const Frame target = entry_target(table, i);
    switch (entry_kind(table, i)) {
    case EntryKind::empty:
    case EntryKind::kernel:
        return true;
    case EntryKind::table:
        return is_type(target, ObjectType::page_table) &&
               frames[target].level + 1 == frames[table].level;
    case EntryKind::frame:
        return page == target && is_type(target, ObjectType::ram) &&
               blocks[block_of(target)].state == BlockState::split;
    case EntryKind::block:
        return page == target && frame_exists(target) && target % frames_per_block == 0 &&
               blocks[block_of(target)].state == BlockState::whole;
    case EntryKind::device:
        return is_device_page(page);
    }
    return false;
}

bool inv_space(Frame f) {
    const Space& s = spaces[f];
    const bool host_is_plain =
        s.kind == SpaceKind::guest || (s.io_map == 0 && s.msr_map == 0 && s.flushes == 0);
    const bool io_map = s.io_map == 0 || (is_type(s.io_map, ObjectType::io_map) &&
                                          is_type(s.io_map + 1, ObjectType::io_map) &&
                                          is_type(s.io_map + 2, ObjectType::io_map));
    const bool msr_map = s.msr_map == 0 || (is_type(s.msr_map, ObjectType::msr_map) &&
                                            is_type(s.msr_map + 1, ObjectType::msr_map));
    return s.kind <= SpaceKind::guest && is_type(s.root, ObjectType::page_table) &&
           frames[s.root].level == 4 && host_is_plain && io_map && msr_map;
}

bool inv_space_root(Frame f, u32 i) {
    const u64 entry = page_tables[spaces[f].root].entries[i];
    if (spaces[f].kind == SpaceKind::guest)
        return entry_kind(spaces[f].root, i) != EntryKind::kernel;
    const u64 kernel = i == 256   ? machine.kernel_entries[0]
                       : i == 510 ? machine.kernel_tables_entry
                       : i == 511 ? machine.kernel_entries[1]
                                  : 0;
    return i < 256 || entry == kernel; // the upper half of a host space is the kernel's
}

bool inv_host_leaf(u64 entry) {
    return (entry & Format::writable) == 0 || (entry & Format::no_execute) != 0;
}

} // namespace horos::spec
