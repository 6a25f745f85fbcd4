#include "spec/contributions.hpp"
#include "kernel/core/frames.hpp"

namespace horos::spec {

static Frame space_reference(const Space& s, u32 i) {
    if (i == 0)
        return s.root;
    if (i <= 3)
        return s.io_map != 0 ? s.io_map + i - 1 : 0;
    return s.msr_map != 0 ? s.msr_map + i - 4 : 0;
}

static Frame thread_reference(const Thread& t, u32 i) {
    const Frame references[object_references] = {t.domain, t.space, t.bound, t.monitor, 0, 0};
    return references[i];
}

static Frame vcpu_reference(const Vcpu& v, u32 i) {
    const Frame references[object_references] = {
        v.space,
        v.control,
        v.fpu,
        v.state,
        machine.vendor == core::Vendor::vmx ? v.vmx.apic_page : 0,
        0};
    return references[i];
}

Frame object_reference(Frame f, u32 i) {
    switch (frames[f].type) {
    case ObjectType::domain:
        return i < tables_per_domain ? domains[f].tables[i] : 0;
    case ObjectType::space:
        return space_reference(spaces[f], i);
    case ObjectType::thread:
        return thread_reference(threads[f], i);
    case ObjectType::sched_context:
        return i == 0 ? sched_contexts[f].thread : 0;
    case ObjectType::interrupt:
        return i == 0 ? interrupts[f].notification : 0;
    case ObjectType::vcpu:
        return vcpu_reference(vcpus[f], i);
    default:
        return 0;
    }
}

EntryKind entry_kind(Frame table, u32 i) {
    const u64 entry = page_tables[table].entries[i];
    const u8 level = frames[table].level;
    if (!Format::is_present(entry))
        return EntryKind::empty;
    if (level == 4 && is_kernel_entry(table, i))
        return EntryKind::kernel;
    if (level > 1)
        return Format::is_large(entry) ? EntryKind::block : EntryKind::table;
    return Format::is_device(entry) ? EntryKind::device : EntryKind::frame;
}

Frame entry_target(Frame table, u32 i) { return Format::frame(page_tables[table].entries[i]); }

bool entry_is_live(Frame table, u32 i) {
    const EntryKind kind = entry_kind(table, i);
    return kind != EntryKind::empty && kind != EntryKind::kernel;
}

bool object_refers(Frame object, u32 i, Frame f) {
    return f != 0 && i < object_references && object_reference(object, i) == f;
}

static bool is_table(Frame f) { return frames[f].type == ObjectType::page_table; }

bool entry_refers(Frame table, u32 i, Frame f) {
    return is_table(table) && entry_kind(table, i) == EntryKind::table &&
           entry_target(table, i) == f;
}
bool entry_maps(Frame table, u32 i, Frame f) {
    return is_table(table) && entry_kind(table, i) == EntryKind::frame &&
           entry_target(table, i) == f;
}
bool entry_maps_block(Frame table, u32 i, Block b) {
    return is_table(table) && entry_kind(table, i) == EntryKind::block &&
           block_of(entry_target(table, i)) == b;
}
bool entry_lives(Frame table, u32 i) { return is_table(table) && entry_is_live(table, i); }

static bool counted(Frame f) { return f == 0 || frames[f].references != 0; }

// Two terms of the sum, and so a count of two at least.
static bool counted_twice(Frame f, Frame again) {
    return f == 0 || f != again || frames[f].references >= 2;
}

bool ghost_domain(Frame domain, u32 i) {
    const Frame table = domains[domain].tables[i];
    bool twice = true;
    for (u32 j = 0; j < tables_per_domain; ++j)
        twice = twice && (j == i || counted_twice(table, domains[domain].tables[j]));
    return counted(table) && twice;
}
bool ghost_space(Frame f) {
    const Space& s = spaces[f];
    const bool io =
        s.io_map == 0 || (counted(s.io_map) && counted(s.io_map + 1) && counted(s.io_map + 2));
    return counted(s.root) && io &&
           (s.msr_map == 0 || (counted(s.msr_map) && counted(s.msr_map + 1)));
}
bool ghost_thread(Frame f) {
    const Thread& t = threads[f];
    return counted(t.domain) && counted(t.space) && counted(t.bound) && counted(t.monitor) &&
           counted_twice(t.bound, t.monitor);
}
bool ghost_roots(Frame a, Frame b) {
    const Frame root = spaces[a].root;
    return a == b || root != spaces[b].root || frames[root].references >= 2;
}
bool ghost_flushes(Frame f) { return spaces[f].flushes != ~u64{0}; }
bool ghost_sched_context(Frame f) { return counted(sched_contexts[f].thread); }
bool ghost_interrupt(Frame f) { return counted(interrupts[f].notification); }
bool ghost_vcpu(Frame f) {
    const Vcpu& v = vcpus[f];
    return counted(v.space) && counted(v.control) && counted(v.fpu) && counted(v.state) &&
           counted(vcpu_reference(v, 4));
}

bool ghost_entry(Frame table, u32 i) {
    const Frame target = entry_target(table, i);
    const u16 count = frames[table].live;
    const bool live = entry_is_live(table, i) ? count != 0 : count < 512;
    switch (entry_kind(table, i)) {
    case EntryKind::table:
        return live && frames[target].references != 0;
    case EntryKind::frame:
        return live && frames[target].mappings != 0;
    case EntryKind::block:
        return live && blocks[block_of(target)].mappings != 0;
    default:
        return live;
    }
}

// As many terms as entries of that kind have that target.
static bool target_counted(Frame table, u32 first, u32 i) {
    const EntryKind kind = entry_kind(table, i);
    const Frame target = entry_target(table, i);
    u32 terms = 0;
    for (u32 k = 0; k < entries_per_reclaim; ++k)
        terms += entry_kind(table, first + k) == kind && entry_target(table, first + k) == target;
    switch (kind) {
    case EntryKind::table:
        return frames[target].references >= terms;
    case EntryKind::frame:
        return frames[target].mappings >= terms;
    case EntryKind::block:
        return blocks[block_of(target)].mappings >= terms;
    default:
        return true;
    }
}

bool ghost_step(Frame table, u32 first, u32 other) {
    if (!frame_exists(table) || !is_table(table) || first > 512 - entries_per_reclaim)
        return true;
    const bool apart = other < 512 && (other < first || other >= first + entries_per_reclaim);
    u32 live = apart && entry_is_live(table, other % 512) ? 1 : 0;
    bool counted = true;
    for (u32 k = 0; k < entries_per_reclaim; ++k) {
        live += entry_is_live(table, first + k);
        counted = counted && target_counted(table, first, first + k);
    }
    return counted && frames[table].live >= live;
}

static bool is_entry(Frame table, u32 i) { return frame_exists(table) && i < 512; }

bool ghost_entries(Frame table, u32 i, Frame other, u32 j) {
    if (!is_entry(table, i) || !is_entry(other, j) || (table == other && i == j))
        return true;
    const Frame target = entry_target(table, i);
    return !entry_refers(table, i, target) || !entry_refers(other, j, target) ||
           frames[target].references >= 2;
}

bool ghost_frame_owner(Frame f) {
    return frames[f].owner == 0 || domains[frames[f].owner].owned != 0;
}
bool ghost_block_owner(Block b) {
    return blocks[b].owner == 0 || domains[blocks[b].owner].owned != 0;
}

Frame frame_counted_owner(Frame f) { return frames[f].owner; }
Frame block_counted_owner(Block b) { return blocks[b].owner; }

} // namespace horos::spec
