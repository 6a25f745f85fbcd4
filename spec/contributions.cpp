#include "spec/contributions.hpp"

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
    const Frame references[object_references] = {v.space, v.control, v.fpu, v.state, 0, 0};
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

Frame frame_counted_owner(Frame f) { return frames[f].owner; }
Frame block_counted_owner(Block b) { return blocks[b].owner; }

} // namespace horos::spec
