// Address spaces: what is mapped where, for threads (host) and virtual machines (guest).
#include "kernel/core/shell.hpp"
#include "spec/calls.hpp"
#include "spec/page_entry.hpp"
#include "spec/translate.hpp"

namespace horos::spec {

bool address_fits(Frame space, u64 address, u32 level) {
    const u64 end = spaces[space].kind == SpaceKind::host ? user_end : guest_end;
    return address < end && address % bit(covered_bits(level)) == 0;
}

Error walk(Frame space, u64 address, u32 level, Frame& table) {
    table = spaces[space].root;
    for (u32 l = 4; l > 1; --l) {
        if (l == level)
            break;
        const u64 entry = page_tables[table].entries[index_in(address, l)];
        if (!is_present(entry))
            return Error::table_missing;
        if (is_large(entry))
            return Error::already_mapped;
        table = target_of(entry);
    }
    return Error::ok;
}

static u64 entry_at(Frame table, u64 address, u32 level) {
    return page_tables[table].entries[index_in(address, level)];
}

// Whether an entry of that level can be made at the address, and in which table.
static Error place_for(Frame space, u64 address, u32 level, Frame& table) {
    Refusal refuse;
    if (refuse(!address_fits(space, address, level), Error::bad_address) ||
        refuse(walk(space, address, level, table)) ||
        refuse(is_present(entry_at(table, address, level)), Error::already_mapped))
        return refuse.reason;
    return Error::ok;
}

static void add_entry(Frame table, u64 address, u32 level, u64 entry) {
    page_tables[table].entries[index_in(address, level)] = entry;
    frames[table].live += 1;
}

void remove_entry(Frame table, u32 index) {
    const u64 entry = page_tables[table].entries[index];
    if (!is_present(entry))
        return;
    const Frame target = target_of(entry);
    const bool leaf = frames[table].level == 1;
    if (!leaf && !is_large(entry))
        unrefer(target);
    if (!leaf && is_large(entry))
        blocks[block_of(target)].mappings -= 1;
    if (leaf && !is_device(entry))
        frames[target].mappings -= 1;
    page_tables[table].entries[index] = 0;
    frames[table].live -= 1;
}

// A function of its own in the bitcode: the prover knows what a call of it gives back.
[[gnu::noinline]] u64 cores_using(Frame space) {
    u64 mask = 0;
    for (u32 c = 0; c < max_cores; ++c) {
        const Frame thread = cores[c].thread;
        const bool in_guest =
            thread != 0 && threads[thread].vcpu != 0 && vcpus[threads[thread].vcpu].space == space;
        if (cores[c].space == space || in_guest)
            mask |= bit(c);
    }
    return mask;
}

bool says_cores_using(u64 users, Frame space, u32 core) {
    if (core >= max_cores)
        return true;
    const Frame thread = cores[core].thread;
    const Frame vcpu = thread != 0 ? threads[thread].vcpu : 0;
    const bool uses = cores[core].space == space || (vcpu != 0 && vcpus[vcpu].space == space);
    return ((users & bit(core)) != 0) == uses;
}

// What was unmapped is used by no core when the call returns: processors that have the space loaded
// flush now, guests get a new TLB tag at their next entry.
static void forget_translations(Frame space) {
    if (spaces[space].kind == SpaceKind::guest)
        spaces[space].flushes += 1;
    if (const u64 users = cores_using(space); users != 0)
        shell_flush_tlb(users);
}

static Error find_space(const Caller& me, u32 selector, Cap& out) {
    return find(me.domain, selector, ObjectType::space, right::write, out);
}

// A mapping can be read at least, has no more rights than its source, and in a host space is never
// writable and executable together.
static bool mappable(Frame space, u8 rights, u8 source_rights) {
    constexpr u8 both = right::write | right::exec;
    return (rights & right::read) != 0 && (rights & ~source_rights) == 0 &&
           (spaces[space].kind == SpaceKind::guest || (rights & both) != both);
}

static constexpr u8 memory_rights = right::read | right::write | right::exec;

Answer space_create(const Caller& me, const SpaceCreateArgs& a) {
    Refusal refuse;
    if (refuse(a.kind > static_cast<u8>(SpaceKind::guest), Error::bad_argument) ||
        refuse(vacant(me.domain, a.slot)) || //
        refuse(raw_memory_of(me.domain, a.frame)) || refuse(raw_memory_of(me.domain, a.root)) ||
        refuse(a.frame == a.root, Error::frame_in_use))
        return refuse.reason;
    make(a.frame, ObjectType::space);
    make(a.root, ObjectType::page_table);
    frames[a.root].level = 4;
    refer(a.root);
    spaces[a.frame].root = a.root;
    spaces[a.frame].kind = static_cast<SpaceKind>(a.kind);
    if (spaces[a.frame].kind == SpaceKind::host) {
        page_tables[a.root].entries[256] = machine.kernel_entries[0];
        page_tables[a.root].entries[510] = machine.kernel_tables_entry;
        page_tables[a.root].entries[511] = machine.kernel_entries[1];
    }
    put(me.domain, a.slot, full(a.frame));
    return Error::ok;
}

bool is_kernels_entry(Frame table, u32 index) {
    const u64 entry = page_tables[table].entries[index];
    return (index == 256 && entry == machine.kernel_entries[0]) ||
           (index == 510 && entry == machine.kernel_tables_entry) ||
           (index == 511 && entry == machine.kernel_entries[1]);
}

Answer table_map(const Caller& me, const TableMapArgs& a) {
    Cap space;
    Frame parent = 0;
    Refusal refuse;
    if (refuse(find_space(me, a.space, space)) ||
        refuse(a.level < 1 || a.level > 3, Error::bad_level) ||
        refuse(place_for(space.object, a.address, a.level + 1, parent)) ||
        refuse(raw_memory_of(me.domain, a.frame)))
        return refuse.reason;
    make(a.frame, ObjectType::page_table);
    frames[a.frame].level = a.level;
    refer(a.frame);
    add_entry(parent, a.address, a.level + 1, table_entry(space.object, a.frame));
    return Error::ok;
}

Answer table_unmap(const Caller& me, const TableUnmapArgs& a) {
    Cap space;
    Frame parent = 0;
    Refusal refuse;
    if (refuse(find_space(me, a.space, space)) ||
        refuse(a.level < 1 || a.level > 3, Error::bad_level) ||
        refuse(!address_fits(space.object, a.address, a.level + 1), Error::bad_address) ||
        refuse(walk(space.object, a.address, a.level + 1, parent)))
        return refuse.reason;
    const u64 entry = entry_at(parent, a.address, a.level + 1);
    const Frame table = target_of(entry);
    if (refuse(!is_present(entry) || is_large(entry), Error::not_mapped) ||
        refuse(frames[table].live != 0, Error::table_in_use))
        return refuse.reason;
    remove_entry(parent, index_in(a.address, a.level + 1));
    forget_translations(space.object);
    unmake(table);
    return Error::ok;
}

static Error map_counted_frame(Frame space, u64 address, Frame frame, u8 rights) {
    Frame table = 0;
    Refusal refuse;
    if (refuse(place_for(space, address, 1, table)) ||
        refuse(frames[frame].mappings == 0xffff, Error::limit))
        return refuse.reason;
    frames[frame].mappings += 1;
    add_entry(table, address, 1, memory_entry(space, frame, rights, false));
    return Error::ok;
}

static Error map_counted_block(Frame space, u64 address, Block block, u8 rights) {
    Frame table = 0;
    Refusal refuse;
    if (refuse(place_for(space, address, 2, table)) ||
        refuse(blocks[block].mappings == 0xffff'ffff, Error::limit))
        return refuse.reason;
    blocks[block].mappings += 1;
    add_entry(table, address, 2, memory_entry(space, block * frames_per_block, rights, true));
    return Error::ok;
}

Answer map_frame(const Caller& me, const MapFrameArgs& a) {
    Cap space;
    Refusal refuse;
    if (refuse(find_space(me, a.space, space)) ||
        refuse(!mappable(space.object, a.rights, memory_rights), Error::bad_rights) ||
        refuse(memory_of(me.domain, a.frame)))
        return refuse.reason;
    return map_counted_frame(space.object, a.address, a.frame, a.rights);
}

Answer map_block(const Caller& me, const MapBlockArgs& a) {
    Cap space;
    Refusal refuse;
    if (refuse(find_space(me, a.space, space)) ||
        refuse(!mappable(space.object, a.rights, memory_rights), Error::bad_rights) ||
        refuse(whole_block_of(me.domain, a.block)))
        return refuse.reason;
    return map_counted_block(space.object, a.address, a.block, a.rights);
}

// An alive capability names memory that still is what it was: becoming an object, being split and
// being given away all raise the generation.
Answer map_shared(const Caller& me, const MapSharedArgs& a) {
    Cap space;
    Cap memory;
    Refusal refuse;
    if (refuse(find_space(me, a.space, space)) || //
        refuse(find(me.domain, a.memory, memory)) ||
        refuse(memory.type != ObjectType::ram && memory.type != ObjectType::block,
               Error::wrong_type) ||
        refuse(!mappable(space.object, a.rights, memory.rights & memory_rights), Error::bad_rights))
        return refuse.reason;
    return memory.type == ObjectType::block
               ? map_counted_block(space.object, a.address, memory.object, a.rights)
               : map_counted_frame(space.object, a.address, memory.object, a.rights);
}

bool is_free_device(u64 page) {
    for (u32 i = 0; i < max_kernel_devices; ++i) {
        if (i < machine.kernel_device_count && machine.kernel_devices[i] == page)
            return false;
    }
    if (page >= machine.frame_limit)
        return true;
    const Frame f = static_cast<Frame>(page);
    return blocks[block_of(f)].state == BlockState::reserved ||
           frames[f].type == ObjectType::reserved;
}

Answer map_mmio(const Caller& me, const MapMmioArgs& a) {
    Cap space;
    Cap device;
    Frame table = 0;
    Refusal refuse;
    if (refuse(find_space(me, a.space, space)) || //
        refuse(find(me.domain, a.mmio, device)) ||
        refuse(device.type != ObjectType::mmio, Error::wrong_type) ||
        refuse(!mappable(space.object, a.rights, device.rights & (right::read | right::write)),
               Error::bad_rights))
        return refuse.reason;
    const Mmio& range = mmio_ranges[device.object];
    if (refuse(a.page >= range.count || !is_free_device(range.first + a.page),
               Error::bad_argument) ||
        refuse(place_for(space.object, a.address, 1, table)))
        return refuse.reason;
    add_entry(table, a.address, 1, device_entry(space.object, range.first + a.page, a.rights));
    return Error::ok;
}

Answer unmap(const Caller& me, const UnmapArgs& a) {
    Cap space;
    Frame table = 0;
    Refusal refuse;
    if (refuse(find_space(me, a.space, space)) ||
        refuse(a.level < 1 || a.level > 2, Error::bad_level) ||
        refuse(!address_fits(space.object, a.address, a.level), Error::bad_address))
        return refuse.reason;
    const Error way = walk(space.object, a.address, a.level, table);
    if (refuse(way == Error::already_mapped, Error::not_mapped) || // by a larger mapping
        refuse(way))
        return refuse.reason;
    const u64 entry = entry_at(table, a.address, a.level);
    if (refuse(!is_present(entry) || (a.level == 2 && !is_large(entry)), Error::not_mapped))
        return refuse.reason;
    remove_entry(table, index_in(a.address, a.level));
    forget_translations(space.object);
    return Error::ok;
}

} // namespace horos::spec
