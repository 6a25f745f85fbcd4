#include "kernel/core/page_tables.hpp"
#include "kernel/core/caps.hpp"
#include "kernel/core/shell.hpp"

namespace horos::core {

bool address_fits(const Space& space, u64 address, u32 level) {
    const u64 end = space.kind == SpaceKind::host ? user_end : guest_end;
    return address < end && (address & (entry_span(level) - 1)) == 0;
}

Error find_table(const Space& space, u64 address, u32 level, Frame& table) {
    Frame current = space.root;
    for (u32 l = 4; l > 1; --l) {
        if (l == level)
            break;
        const u64 entry = page_tables[current].entries[entry_index(address, l)];
        if (!Format::is_present(entry))
            return Error::table_missing;
        if (Format::is_large(entry))
            return Error::already_mapped;
        current = Format::frame(entry);
    }
    table = current;
    return Error::ok;
}

// Where a new entry goes: the table of `level`, with an empty entry at `address`.
static Error find_empty(Frame space, u64 address, u32 level, Frame& table) {
    if (!address_fits(spaces[space], address, level))
        return Error::bad_address;
    if (const Error e = find_table(spaces[space], address, level, table); e != Error::ok)
        return e;
    const u64 entry = page_tables[table].entries[entry_index(address, level)];
    return Format::is_present(entry) ? Error::already_mapped : Error::ok;
}

static bool is_ept(Frame space) {
    return spaces[space].kind == SpaceKind::guest && machine.guest_format == TableFormat::ept;
}
static u64 leaf(Frame space, Frame frame, u32 level, u8 rights) {
    return is_ept(space) ? EptFormat::leaf(frame, level, rights)
                         : LongModeFormat::leaf(frame, level, rights);
}
static u64 device_leaf(Frame space, u64 page, u8 rights) {
    return is_ept(space) ? EptFormat::device_leaf(page, rights)
                         : LongModeFormat::device_leaf(page, rights);
}
static u64 table_entry(Frame space, Frame table) {
    return is_ept(space) ? EptFormat::table(table) : LongModeFormat::table(table);
}

static void set_entry(Frame table, u32 index, u64 entry) {
    page_tables[table].entries[index] = entry;
    frames[table].live++;
}

bool clear_entry(Frame table, u32 index) {
    const u64 entry = page_tables[table].entries[index];
    if (!Format::is_present(entry))
        return false;
    const u8 level = frames[table].level;
    const Frame target = Format::frame(entry);
    if (level > 1 && !Format::is_large(entry))
        dereference(target);
    else if (!Format::is_device(entry) && level > 1)
        blocks[block_of(target)].mappings--;
    else if (!Format::is_device(entry))
        frames[target].mappings--;
    page_tables[table].entries[index] = 0;
    frames[table].live--;
    return true;
}

u64 cores_using(Frame space) {
    u64 mask = 0;
    for (u32 i = 0; i < max_cores; ++i) {
        const Core& core = cores[i];
        const Frame vcpu = core.thread != 0 ? threads[core.thread].vcpu : 0;
        if (core.space == space || (vcpu != 0 && vcpus[vcpu].space == space))
            mask |= bit(i);
    }
    return mask;
}

// After an entry went away: no core may go on using it.
static void forget_translations(Frame space) {
    if (spaces[space].kind == SpaceKind::guest)
        spaces[space].flushes++;
    if (const u64 users = cores_using(space); users != 0)
        shell_flush_tlb(users);
}

static Error find_space(const Caller& me, u32 selector, Frame& space) {
    CapSlot cap;
    const Error e = lookup(me.domain, selector, ObjectType::space, right::write, cap);
    space = cap.object;
    return e;
}

// Which rights a mapping may have: something, readable, and in a host space not writable and
// executable together.
static Error check_rights(Frame space, u8 rights, u8 most) {
    if ((rights & right::read) == 0 || (rights & ~most) != 0)
        return Error::bad_rights;
    const bool both = (rights & right::write) != 0 && (rights & right::exec) != 0;
    return both && spaces[space].kind == SpaceKind::host ? Error::bad_rights : Error::ok;
}

Error table_map(const Caller& me, const TableMapArgs& a) {
    Frame space;
    Frame parent;
    if (const Error e = find_space(me, a.space, space); e != Error::ok)
        return e;
    if (a.level < 1 || a.level > 3)
        return Error::bad_level;
    if (!address_fits(spaces[space], a.address, a.level + 1))
        return Error::bad_address;
    if (const Error e = find_empty(space, a.address, a.level + 1, parent); e != Error::ok)
        return e;
    if (const Error e = check_retype(me.domain, a.frame); e != Error::ok)
        return e;
    retype(a.frame, ObjectType::page_table);
    frames[a.frame].level = a.level;
    reference(a.frame);
    set_entry(parent, entry_index(a.address, a.level + 1), table_entry(space, a.frame));
    return Error::ok;
}

Error table_unmap(const Caller& me, const TableUnmapArgs& a) {
    Frame space;
    Frame parent;
    if (const Error e = find_space(me, a.space, space); e != Error::ok)
        return e;
    if (a.level < 1 || a.level > 3)
        return Error::bad_level;
    if (!address_fits(spaces[space], a.address, a.level + 1))
        return Error::bad_address;
    if (const Error e = find_table(spaces[space], a.address, a.level + 1, parent); e != Error::ok)
        return e;
    const u32 index = entry_index(a.address, a.level + 1);
    const u64 entry = page_tables[parent].entries[index];
    if (!Format::is_present(entry) || Format::is_large(entry))
        return Error::not_mapped;
    const Frame table = Format::frame(entry);
    if (frames[table].live != 0)
        return Error::table_in_use;
    clear_entry(parent, index);
    forget_translations(space);
    unmake(table);
    return Error::ok;
}

static Error map_counted_frame(Frame space, u64 address, Frame frame, u8 rights) {
    Frame table;
    if (const Error e = find_empty(space, address, 1, table); e != Error::ok)
        return e;
    if (frames[frame].mappings == max_count)
        return Error::limit;
    frames[frame].mappings++;
    set_entry(table, entry_index(address, 1), leaf(space, frame, 1, rights));
    return Error::ok;
}

static Error map_counted_block(Frame space, u64 address, Block block, u8 rights) {
    Frame table;
    if (const Error e = find_empty(space, address, 2, table); e != Error::ok)
        return e;
    if (blocks[block].mappings == ~u32{0})
        return Error::limit;
    blocks[block].mappings++;
    set_entry(table, entry_index(address, 2), leaf(space, block * frames_per_block, 2, rights));
    return Error::ok;
}

Error map_frame(const Caller& me, const MapFrameArgs& a) {
    Frame space;
    if (const Error e = find_space(me, a.space, space); e != Error::ok)
        return e;
    if (const Error e = check_rights(space, a.rights, map_right::any); e != Error::ok)
        return e;
    if (const Error e = check_ram(me.domain, a.frame); e != Error::ok)
        return e;
    return map_counted_frame(space, a.address, a.frame, a.rights);
}

Error map_block(const Caller& me, const MapBlockArgs& a) {
    Frame space;
    if (const Error e = find_space(me, a.space, space); e != Error::ok)
        return e;
    if (const Error e = check_rights(space, a.rights, map_right::any); e != Error::ok)
        return e;
    if (const Error e = check_block(me.domain, a.block); e != Error::ok)
        return e;
    return map_counted_block(space, a.address, a.block, a.rights);
}

Error map_shared(const Caller& me, const MapSharedArgs& a) {
    Frame space;
    CapSlot memory;
    if (const Error e = find_space(me, a.space, space); e != Error::ok)
        return e;
    if (const Error e = lookup_any(me.domain, a.memory, memory); e != Error::ok)
        return e;
    if (memory.type != ObjectType::ram && memory.type != ObjectType::block)
        return Error::wrong_type;
    if (const Error e = check_rights(space, a.rights, memory.rights & map_right::any);
        e != Error::ok)
        return e;
    // An alive capability names memory that is still of this kind: retype, split and gift all
    // raise the generation.
    return memory.type == ObjectType::ram
               ? map_counted_frame(space, a.address, memory.object, a.rights)
               : map_counted_block(space, a.address, memory.object, a.rights);
}

// Device memory is what is neither RAM nor a device of the kernel's own.
static bool is_free_device_page(u64 page) {
    for (u32 i = 0; i < max_kernel_devices; ++i) {
        if (i < machine.kernel_device_count && machine.kernel_devices[i] == page)
            return false;
    }
    if (page >= machine.frame_limit)
        return true;
    const Frame frame = static_cast<Frame>(page);
    return blocks[block_of(frame)].state == BlockState::reserved ||
           frames[frame].type == ObjectType::reserved;
}

Error map_mmio(const Caller& me, const MapMmioArgs& a) {
    Frame space;
    Frame table;
    CapSlot cap;
    if (const Error e = find_space(me, a.space, space); e != Error::ok)
        return e;
    if (const Error e = lookup_any(me.domain, a.mmio, cap); e != Error::ok)
        return e;
    if (cap.type != ObjectType::mmio)
        return Error::wrong_type;
    if (const Error e = check_rights(space, a.rights, cap.rights & (right::read | right::write));
        e != Error::ok)
        return e;
    const Mmio& range = mmio_ranges[cap.object];
    if (a.page >= range.count || !is_free_device_page(range.first + a.page))
        return Error::bad_argument;
    if (const Error e = find_empty(space, a.address, 1, table); e != Error::ok)
        return e;
    set_entry(table, entry_index(a.address, 1), device_leaf(space, range.first + a.page, a.rights));
    return Error::ok;
}

Error unmap(const Caller& me, const UnmapArgs& a) {
    Frame space;
    Frame table;
    if (const Error e = find_space(me, a.space, space); e != Error::ok)
        return e;
    if (a.level < 1 || a.level > 2)
        return Error::bad_level;
    if (!address_fits(spaces[space], a.address, a.level))
        return Error::bad_address;
    const Error e = find_table(spaces[space], a.address, a.level, table);
    if (e == Error::already_mapped)
        return Error::not_mapped; // a larger mapping covers the address
    if (e != Error::ok)
        return e;
    const u32 index = entry_index(a.address, a.level);
    const u64 entry = page_tables[table].entries[index];
    if (!Format::is_present(entry) || (a.level == 2 && !Format::is_large(entry)))
        return Error::not_mapped;
    clear_entry(table, index);
    forget_translations(space);
    return Error::ok;
}

// Every host space has the kernel in its upper half.
static void add_kernel_half(Frame root) {
    page_tables[root].entries[256] = machine.kernel_entries[0];
    page_tables[root].entries[510] = machine.kernel_tables_entry;
    page_tables[root].entries[511] = machine.kernel_entries[1];
}

bool is_kernel_entry(Frame root, u32 index) {
    const u64 entry = page_tables[root].entries[index];
    return (index == 256 && entry == machine.kernel_entries[0]) ||
           (index == 510 && entry == machine.kernel_tables_entry) ||
           (index == 511 && entry == machine.kernel_entries[1]);
}

Error space_create(const Caller& me, const SpaceCreateArgs& a) {
    if (a.kind > static_cast<u8>(SpaceKind::guest))
        return Error::bad_argument;
    if (const Error e = check_empty(me.domain, a.slot); e != Error::ok)
        return e;
    if (const Error e = check_retype(me.domain, a.frame); e != Error::ok)
        return e;
    if (const Error e = check_retype(me.domain, a.root); e != Error::ok)
        return e;
    if (a.frame == a.root)
        return Error::frame_in_use;
    retype(a.frame, ObjectType::space);
    retype(a.root, ObjectType::page_table);
    frames[a.root].level = 4;
    reference(a.root);
    spaces[a.frame].root = a.root;
    spaces[a.frame].kind = static_cast<SpaceKind>(a.kind);
    if (spaces[a.frame].kind == SpaceKind::host)
        add_kernel_half(a.root);
    put(me.domain, a.slot, full_cap(a.frame, ObjectType::space));
    return Error::ok;
}

} // namespace horos::core
