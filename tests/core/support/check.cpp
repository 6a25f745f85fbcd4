#include "check.hpp"
#include "fake_shell.hpp"
#include "kernel/core/frames.hpp"
#include "spec/invariants.hpp"
#include "state_memory.hpp"
#include "violation.hpp"

#include <algorithm>
#include <array>
#include <sstream>
#include <vector>

namespace horos::test {

namespace {

template <class Function, class... Index>
void hold(const char* name, Function inv, Index... index) {
    if (inv(index...))
        return;
    std::ostringstream text;
    text << name << '(';
    const char* separator = "";
    ((text << separator << index, separator = ", "), ...);
    text << ") does not hold";
    throw Violation(text.str());
}
#define HOLD(inv, ...) hold(#inv, spec::inv __VA_OPT__(, ) __VA_ARGS__)

void check_frame(Frame f) {
    HOLD(inv_frame_type, f);
    HOLD(inv_frame_in_block, f);
    HOLD(inv_frame_owner, f);
    HOLD(inv_frame_level, f);
    HOLD(inv_frame_mappings, f);
    HOLD(inv_frame_references, f);
    HOLD(inv_frame_generation, f);
}

void check_table(Frame f) {
    for (u32 i = 0; i < 512; ++i) {
        if (page_tables[f].entries[i] == 0)
            continue;
        HOLD(inv_entry_form, f, i);
        HOLD(inv_entry_target, f, i);
        HOLD(ghost_entry, f, i);
        HOLD(ghost_step, f, i - i % entries_per_reclaim, (i + entries_per_reclaim) % 512);
    }
}

void check_slots(Frame f) {
    for (u32 i = 0; i < slots_per_table; ++i) {
        HOLD(inv_slot_form, f, i);
        HOLD(inv_slot_object, f, i);
        HOLD(inv_slot_alive, f, i);
    }
}

void check_host_leaves(Frame table) {
    for (u32 i = 0; i < 512; ++i) {
        if (page_tables[table].entries[i] == 0)
            continue;
        const spec::EntryKind kind = spec::entry_kind(table, i);
        if (kind == spec::EntryKind::table)
            check_host_leaves(spec::entry_target(table, i));
        else if (kind != spec::EntryKind::kernel && kind != spec::EntryKind::empty)
            HOLD(inv_host_leaf, page_tables[table].entries[i]);
    }
}

void check_space(Frame f) {
    HOLD(inv_space, f);
    for (u32 i = 0; i < 512; ++i)
        HOLD(inv_space_root, f, i);
    if (spaces[f].kind == SpaceKind::host)
        check_host_leaves(spaces[f].root);
}

void check_thread(Frame f) {
    HOLD(inv_thread_links, f);
    HOLD(inv_thread_context, f);
    HOLD(inv_thread_waiting, f);
    HOLD(inv_thread_serving, f);
    HOLD(inv_thread_vcpu, f);
    HOLD(ghost_thread, f);
}

void check_vcpu(Frame f) {
    HOLD(inv_vcpu_links, f);
    HOLD(inv_vcpu_thread, f);
    HOLD(inv_vmcb_intercepts, f);
    HOLD(inv_vmcb_paging, f);
    HOLD(inv_vmcb_maps, f);
    HOLD(inv_vmcb_current, f);
    HOLD(inv_vmcb_tag, f);
    HOLD(inv_tag, f);
    for (Frame g = 1; g < machine_frames; ++g) {
        if (frames[g].type == ObjectType::vcpu)
            HOLD(inv_tags_differ, f, g);
    }
    HOLD(inv_vmcb_host_owned, f);
    HOLD(inv_vmcb_state, f);
    HOLD(inv_vmcb_event, f);
    HOLD(inv_vmx_vcpu, f);
}

void check_endpoint(Frame f) {
    HOLD(inv_endpoint, f);
    for (u32 p = 0; p < sc_slots; ++p)
        HOLD(inv_endpoint_caller, f, p);
}

void check_interrupt(Frame f) {
    HOLD(inv_interrupt, f);
    const Interrupt& i = interrupts[f];
    if (i.is_message == 0 && shell.line_masked[i.gsi] != (i.masked != 0))
        throw Violation("interrupt line " + std::to_string(i.gsi) +
                        " is not masked as its object says");
}

void check_object(Frame f) {
    switch (frames[f].type) {
    case ObjectType::domain:
        for (u32 i = 0; i < tables_per_domain; ++i) {
            HOLD(inv_domain_table, f, i);
            HOLD(ghost_domain, f, i);
        }
        break;
    case ObjectType::cap_table:
        check_slots(f);
        break;
    case ObjectType::space:
        check_space(f);
        break;
    case ObjectType::page_table:
        check_table(f);
        break;
    case ObjectType::thread:
        check_thread(f);
        break;
    case ObjectType::sched_context:
        HOLD(inv_sched_context, f);
        break;
    case ObjectType::endpoint:
        check_endpoint(f);
        break;
    case ObjectType::notification:
        HOLD(inv_notification, f);
        break;
    case ObjectType::interrupt:
        check_interrupt(f);
        break;
    case ObjectType::ports:
        HOLD(inv_ports, f);
        break;
    case ObjectType::mmio:
        HOLD(inv_mmio, f);
        break;
    case ObjectType::vcpu:
        check_vcpu(f);
        break;
    case ObjectType::core:
        HOLD(inv_core_object, f);
        break;
    default:
        break;
    }
}

void check_core(u32 c) {
    HOLD(inv_core_objects, c);
    HOLD(inv_core_holds, c);
    HOLD(inv_core_current, c);
    HOLD(inv_core_windows, c);
    HOLD(inv_core_tags, c);
    HOLD(inv_vmx_core, c);
    for (u32 p = 0; p < sc_slots; ++p) {
        HOLD(inv_position, c, p);
        HOLD(inv_ready, c, p);
        HOLD(inv_timed, c, p);
        HOLD(inv_window, c, p);
    }
}

void check_machine() {
    HOLD(inv_machine);
    HOLD(inv_svm_limits);
    HOLD(inv_vmx_limits);
    HOLD(inv_frame_zero);
    for (u32 i = 0; i < 3; ++i)
        HOLD(inv_machine_io_map, i);
    for (u32 i = 0; i < 2; ++i)
        HOLD(inv_machine_msr_map, i);
    for (u32 i = 0; i < 2 * max_cores; ++i)
        HOLD(inv_machine_host_frames, i);
    for (u32 c = 0; c < max_cores; ++c)
        HOLD(inv_core_absent, c);
}

struct Counts {
    std::array<u32, machine_frames> references, mappings, live, owned;
    std::array<u32, machine_blocks> block_mappings;
};

void count_entries(Counts& n, Frame table) {
    for (u32 i = 0; i < 512; ++i) {
        if (page_tables[table].entries[i] == 0)
            continue;
        const Frame target = spec::entry_target(table, i);
        n.live[table] += spec::entry_is_live(table, i);
        switch (spec::entry_kind(table, i)) {
        case spec::EntryKind::table:
            n.references[target]++;
            break;
        case spec::EntryKind::frame:
            n.mappings[target]++;
            break;
        case spec::EntryKind::block:
            n.block_mappings[block_of(target)]++;
            break;
        default:
            break;
        }
    }
}

void count(Counts& n) {
    n = {};
    for (Frame f = 1; f < machine_frames; ++f) {
        if (frames[f].owner != 0)
            n.owned[spec::frame_counted_owner(f)]++;
        if (frames[f].type == ObjectType::ram)
            continue;
        for (u32 i = 0; i < spec::object_references; ++i) {
            if (const Frame target = spec::object_reference(f, i); target != 0)
                n.references[target]++;
        }
        if (frames[f].type == ObjectType::page_table)
            count_entries(n, f);
    }
    for (Block b = 0; b < machine_blocks; ++b) {
        if (blocks[b].owner != 0)
            n.owned[spec::block_counted_owner(b)]++;
    }
}

// Of every two entries that name one table.
void check_entry_pairs() {
    struct Entry {
        Frame table;
        u32 index;
    };
    std::array<Entry, machine_frames> names{};
    for (Frame f = 1; f < machine_frames; ++f) {
        if (frames[f].type != ObjectType::page_table)
            continue;
        for (u32 i = 0; i < 512; ++i) {
            if (spec::entry_kind(f, i) != spec::EntryKind::table)
                continue;
            Entry& first = names[spec::entry_target(f, i)];
            if (first.table != 0)
                HOLD(ghost_entries, first.table, first.index, f, i);
            else
                first = {f, i};
        }
    }
}

void equal(const char* what, u32 index, u32 stored, u32 real) {
    if (stored != real)
        throw Violation(std::string(what) + "(" + std::to_string(index) + ") is stored as " +
                        std::to_string(stored) + " but really " + std::to_string(real));
}

void check_counts() {
    static Counts n;
    count(n);
    for (Frame f = 1; f < machine_frames; ++f) {
        equal("references", f, frames[f].references, n.references[f]);
        equal("mappings", f, frames[f].mappings, n.mappings[f]);
        equal("live", f, frames[f].live, n.live[f]);
        if (frames[f].type == ObjectType::domain)
            equal("owned", f, domains[f].owned, n.owned[f]);
    }
    for (Block b = 0; b < machine_blocks; ++b)
        equal("block mappings", b, blocks[b].mappings, n.block_mappings[b]);
}

} // namespace

void check_invariants() {
    check_machine();
    for (Frame f = 0; f < machine_frames; ++f) {
        check_frame(f);
        if (frames[f].type != ObjectType::ram)
            check_object(f);
    }
    for (Block b = 0; b < machine_blocks; ++b)
        HOLD(inv_block, b);
    for (u32 c = 0; c < machine.core_count; ++c)
        check_core(c);
    for (u32 v = 0; v < 256; ++v)
        HOLD(inv_vector, v);
    check_entry_pairs();
    check_counts();
}

} // namespace horos::test
