// Boot-time construction of the first state. Runs once, before any user code.
#include "kernel/core/caps.hpp"
#include "kernel/core/frames.hpp"
#include "kernel/core/page_tables.hpp"
#include "kernel/core/sched.hpp"
#include "kernel/core/shell.hpp"
#include <horos/abi/boot_page.hpp>

namespace horos::core {

Machine machine;
Core cores[max_cores];
u32 irq_of_vector[256];
Values results[max_cores];

static void set_types(Frame first, u32 count, ObjectType type) {
    for (u32 i = 0; i < count; ++i)
        frames[first + i].type = type;
}

// A block that is only partly RAM, or partly taken, is handled frame by frame.
static void split_block(Block b, ObjectType rest) {
    if (blocks[b].state == BlockState::reserved)
        set_types(b * frames_per_block, frames_per_block, rest);
    blocks[b].state = BlockState::split;
}

void core_add_ram(u32 first, u32 count) {
    u32 f = first;
    const u32 end = first + count;
    while (f < end) {
        const u32 next = (f / frames_per_block + 1) * frames_per_block;
        const bool whole = f % frames_per_block == 0 && next <= end;
        const u32 stop = next < end ? next : end;
        if (whole) {
            blocks[block_of(f)].state = BlockState::whole;
        } else {
            split_block(block_of(f), ObjectType::reserved);
            set_types(f, stop - f, ObjectType::ram);
        }
        f = stop;
    }
    if (first == 0)
        frames[0].type = ObjectType::reserved; // frame 0 means "none"
}

void core_split(u32 first, u32 count) {
    for (Block b = block_of(first); b <= block_of(first + count - 1); ++b)
        split_block(b, ObjectType::ram);
}

void core_reserve(u32 first, u32 count, ObjectType type) {
    if (count == 0)
        return;
    core_split(first, count);
    set_types(first, count, type);
}

void core_init_core(u32 number) {
    Core& core = cores[number];
    core.timer = no_deadline;
    core.tlb_era = 1;
    core.tlb_next = 1;
    core.slice_start = shell_now();
    core.reschedule = 1;
    core.online = 1;
}

static void make(Frame f, ObjectType type, Frame domain, u32 selector) {
    retype(f, type);
    put(domain, selector, full_cap(f, type));
}

static void own_everything(Frame domain) {
    u32 owned = 0;
    for (Block b = 0; b * frames_per_block < machine.frame_limit; ++b) {
        if (blocks[b].state != BlockState::reserved) {
            blocks[b].owner = domain;
            owned++;
        }
    }
    domains[domain].owned = owned;
}

static void make_cores(const RootTask& root) {
    for (u32 i = 0; i < machine.core_count; ++i) {
        make(root.first_core + i, ObjectType::core, root.domain, root_selector::first_core + i);
        core_objects[root.first_core + i].number = i;
    }
}

static void make_thread(const RootTask& root) {
    Thread& thread = threads[root.thread];
    thread.domain = root.domain;
    thread.space = root.space;
    thread.tables = u64{root.root_table} << frame_bits;
    thread.sc = root.sched_context;
    thread.running_on = root.sched_context;
    reference(root.domain);
    reference(root.space);
    reference(root.thread);
    SchedContext& sc = sched_contexts[root.sched_context];
    sc.thread = root.thread;
    sc.running = root.thread;
    sc.core = 0;
    sc.position = sc_slots - 1;
    cores[0].sc[sc.position & 15] = root.sched_context;
}

static void make_space(const RootTask& root) {
    retype(root.root_table, ObjectType::page_table);
    frames[root.root_table].level = 4;
    reference(root.root_table);
    spaces[root.space].root = root.root_table;
    spaces[root.space].kind = SpaceKind::host;
    page_tables[root.root_table].entries[256] = machine.kernel_entries[0];
    page_tables[root.root_table].entries[510] = machine.kernel_tables_entry;
    page_tables[root.root_table].entries[511] = machine.kernel_entries[1];
}

void core_init_root(Frame first, RootTask& r) {
    r = {first,     first + 1, first + 2, first + 3, first + 4,          first + 5,
         first + 6, first + 7, first + 8, first + 9, first + root_frames};
    retype(r.domain, ObjectType::domain);
    retype(r.cap_table, ObjectType::cap_table);
    domains[r.domain].tables[0] = r.cap_table;
    reference(r.cap_table);
    put(r.domain, root_selector::domain, full_cap(r.domain, ObjectType::domain));
    make(r.space, ObjectType::space, r.domain, root_selector::space);
    make(r.thread, ObjectType::thread, r.domain, root_selector::thread);
    make(r.sched_context, ObjectType::sched_context, r.domain, root_selector::sched_context);
    make(r.irq_control, ObjectType::irq_control, r.domain, root_selector::irq_control);
    make(r.platform, ObjectType::platform, r.domain, root_selector::platform);
    make(r.ports, ObjectType::ports, r.domain, root_selector::ports);
    make(r.mmio, ObjectType::mmio, r.domain, root_selector::mmio);
    port_ranges[r.ports].last = 0xffff;
    mmio_ranges[r.mmio].count = u64{1} << (machine.physical_bits - frame_bits);
    make_space(r);
    make_thread(r);
    make_cores(r);
    own_everything(r.domain);
}

u32 core_root_map(const RootTask& root, u64 address, Frame frame, u8 rights, Frame spare) {
    u32 used = 0;
    Frame table = root.root_table;
    for (u32 level = 4; level > 1; --level) {
        u64& entry = page_tables[table].entries[entry_index(address, level)];
        if (!Format::is_present(entry)) {
            const Frame made = spare + used++;
            retype(made, ObjectType::page_table);
            frames[made].level = static_cast<u8>(level - 1);
            reference(made);
            entry = Format::table(made);
            frames[table].live++;
        }
        table = Format::frame(entry);
    }
    page_tables[table].entries[entry_index(address, 1)] = Format::leaf(frame, 1, rights);
    frames[table].live++;
    frames[frame].mappings++;
    return used;
}

void core_root_start(const RootTask& root, u64 entry, u64 stack, u64 argument) {
    Thread& thread = threads[root.thread];
    thread.regs.gpr[7] = argument; // rdi
    thread.regs.gpr[4] = stack;    // rsp
    thread.regs.rip = entry;
    thread.regs.rflags = 0x202;
    thread.regs.full = 1;
    thread.state = ThreadState::runnable;
    cores[0].ready |= position_bit(sc_slots - 1);
    cores[0].reschedule = 1;
}

} // namespace horos::core
