#include "transitions.hpp"
#include "kernel/core/frames.hpp"
#include "spec/contributions.hpp"
#include "violation.hpp"

#include <cstring>
#include <string>

namespace horos::test {

namespace {

struct {
    Core cores[max_cores];
    u32 irq_of_vector[256];
    Machine machine;
    Frame caller[max_cores];
} old;

// Answers after which something may have changed: progress was made, or the partner had gone.
bool may_change(Call call, Error error) {
    return error == Error::ok || (error == Error::again && call == Call::frame_reclaim) ||
           (error == Error::dead && call == Call::reply);
}

bool is_halted(ThreadState s) {
    return s == ThreadState::stopped || s == ThreadState::faulted || s == ThreadState::exited;
}

void check_unchanged(u32 core, const Outcome&) {
    for (const JournalPage* p : journal_pages()) {
        // The answer may go through the caller's saved registers.
        const bool is_caller = journal_frame(*p) == old.caller[core];
        const u32 skip = is_caller ? sizeof(Registers) : 0;
        if (std::memcmp(p->before + skip, p->page + skip, frame_size - skip) != 0)
            throw Violation("the call answered an error but changed page of frame " +
                            std::to_string(journal_frame(*p)) + " (0: frame or block table)");
    }
    if (std::memcmp(old.cores, cores, sizeof cores[0] * machine.core_count) != 0)
        throw Violation("the call answered an error but changed a core's state");
    if (std::memcmp(old.irq_of_vector, irq_of_vector, sizeof irq_of_vector) != 0)
        throw Violation("the call answered an error but changed the interrupt table");
}

void check_generations() {
    for (const JournalPage* p : journal_pages()) {
        if (journal_frame(*p) != 0 || p->page >= reinterpret_cast<const u8*>(blocks) - frame_size)
            continue;
        const Frame first =
            static_cast<Frame>((p->page - reinterpret_cast<const u8*>(frames)) / sizeof(FrameInfo));
        for (Frame f = first; f < first + frame_size / sizeof(FrameInfo); ++f) {
            const FrameInfo was = frame_before(f);
            if (frames[f].generation < was.generation)
                throw Violation("generation of frame " + std::to_string(f) + " went down");
            if (frames[f].type != was.type && frames[f].generation == was.generation &&
                frames[f].generation <= max_generation)
                throw Violation("frame " + std::to_string(f) +
                                " changed its type but not its generation");
        }
    }
    for (Block b = 0; b < machine_blocks; ++b) {
        const BlockInfo was = block_before(b);
        const bool changed = blocks[b].owner != was.owner || blocks[b].state != was.state;
        if (blocks[b].generation < was.generation ||
            (changed && blocks[b].generation == was.generation))
            throw Violation("block " + std::to_string(b) + " changed but not its generation");
    }
}

void check_thread(Frame f, bool may_start) {
    const auto* was = reinterpret_cast<const Thread*>(memory_before(f));
    if (is_halted(was->state) && !is_halted(threads[f].state) && !may_start)
        throw Violation("thread " + std::to_string(f) + " was halted and runs or waits again");
}

bool owns(Frame domain, Frame f) {
    const BlockInfo block = block_before(block_of(f));
    const FrameInfo info = frame_before(f);
    return (block.state == BlockState::split && info.owner != 0 ? info.owner : block.owner) ==
           domain;
}

// Whether a memory capability of the domain allows the mapping.
bool holds_capability(Frame domain, u64 object, ObjectType type, bool write, bool exec) {
    const u8 needed =
        static_cast<u8>(right::read | (write ? right::write : 0) | (exec ? right::exec : 0));
    for (u32 t = 0; t < tables_per_domain; ++t) {
        const Frame table = domains[domain].tables[t];
        for (u32 i = 0; table != 0 && i < slots_per_table; ++i) {
            const CapSlot& s = cap_tables[table].slots[i];
            const u32 generation = type == ObjectType::block
                                       ? block_before(s.object % machine_blocks).generation
                                       : frame_before(s.object % machine_frames).generation;
            if (s.rights != 0 && s.type == type && s.object == object &&
                s.generation == generation && (s.rights & needed) == needed)
                return true;
        }
    }
    return false;
}

void check_new_entry(Frame table, u32 i, Frame domain) {
    const u64 entry = page_tables[table].entries[i];
    const bool write = (entry & Format::writable) != 0;
    const bool exec = (entry & Format::no_execute) == 0;
    const Frame target = spec::entry_target(table, i);
    const spec::EntryKind kind = spec::entry_kind(table, i);
    bool allowed = true;
    if (kind == spec::EntryKind::frame)
        allowed =
            owns(domain, target) || holds_capability(domain, target, ObjectType::ram, write, exec);
    else if (kind == spec::EntryKind::block)
        allowed = owns(domain, target) ||
                  holds_capability(domain, block_of(target), ObjectType::block, write, exec);
    if (!allowed)
        throw Violation("frame " + std::to_string(target) +
                        " was mapped by a domain that neither owns it nor has such a capability");
}

void check_table(Frame f, Frame domain) {
    const auto* was = reinterpret_cast<const PageTable*>(memory_before(f));
    const bool fresh = frame_before(f).type != ObjectType::page_table;
    for (u32 i = 0; i < 512; ++i) {
        if (page_tables[f].entries[i] != 0 &&
            (fresh || was->entries[i] != page_tables[f].entries[i]))
            check_new_entry(f, i, domain);
    }
}

bool all_zero(const u8* page) {
    static const u8 zero[frame_size] = {};
    return std::memcmp(page, zero, frame_size) == 0;
}

void check_memory(const JournalPage& p, Frame f) {
    const FrameInfo was = frame_before(f);
    const ObjectType is = frames[f].type;
    const bool state_page = was.references != 0 || frames[f].references != 0;
    if (was.type == ObjectType::ram && is == ObjectType::ram && !state_page)
        throw Violation("memory of frame " + std::to_string(f) +
                        ", which is no object, was written");
    if (was.type != ObjectType::ram && is == ObjectType::ram && !all_zero(p.page))
        throw Violation("frame " + std::to_string(f) + " became ordinary memory uncleared");
    const bool host_state =
        f >= machine.host_frames && f < machine.host_frames + 2 * machine.core_count;
    if (is == ObjectType::reserved || (is == ObjectType::kernel && !host_state))
        throw Violation("memory of the kernel was written, frame " + std::to_string(f));
}

void check_pages(Call call, bool ok, Frame domain) {
    const bool may_start = ok && (call == Call::thread_start || call == Call::thread_resume);
    for (const JournalPage* p : journal_pages()) {
        const Frame f = journal_frame(*p);
        if (f == 0)
            continue;
        check_memory(*p, f);
        if (frames[f].type == ObjectType::thread && frame_before(f).type == ObjectType::thread)
            check_thread(f, may_start);
        if (frames[f].type == ObjectType::page_table && domain != 0)
            check_table(f, domain);
    }
}

} // namespace

void remember_state() {
    std::memcpy(old.cores, cores, sizeof cores[0] * machine.core_count);
    std::memcpy(old.irq_of_vector, irq_of_vector, sizeof irq_of_vector);
    old.machine = machine;
    for (u32 c = 0; c < machine.core_count; ++c)
        old.caller[c] = cores[c].thread;
}

void check_call(u32 core, Call call, const Registers6&, const Outcome& out) {
    if (std::memcmp(&old.machine, &machine, sizeof machine) != 0)
        throw Violation("a call changed the facts of the machine");
    if (out.known && static_cast<u32>(out.error) >= error_count)
        throw Violation("a call answered an error that does not exist");
    if (simulation->lock_was_free)
        return; // others had their turn: the journal is theirs
    if (out.known && !may_change(call, out.error))
        check_unchanged(core, out);
    check_generations();
    const Frame domain = threads[old.caller[core]].domain;
    check_pages(call, out.ok(), domain);
}

void check_event() {
    if (simulation->lock_was_free)
        return;
    check_generations();
    check_pages(Call::null, false, 0);
}

} // namespace horos::test
