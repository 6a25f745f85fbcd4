// Boot-time construction of the first state. Runs once, before any user code.
#include "kernel/core/caps.hpp"
#include "kernel/core/entry.hpp"
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

// A mistake of the boot code's about memory must not become a state that nothing is proved of.
[[noreturn, gnu::noinline]] static void stop_boot() {
    shell_stop("the boot code's plan of memory");
}
[[gnu::always_inline]] inline void require(bool holds) {
    if (!holds)
        stop_boot();
}

// ---- The steps of the loops. Only these write; proofs/theorems/init.cpp is about them.

[[gnu::noinline]] void init_type(Frame f, ObjectType type) {
    require(f < machine.frame_limit && blocks[block_of(f)].state == BlockState::split &&
            type <= ObjectType::kernel);
    frames[f].type = f == 0 ? ObjectType::reserved : type; // frame 0 means "none"
}

static bool init_block(Block b, BlockState state) {
    require(b < machine.frame_limit / frames_per_block);
    const bool is_new = blocks[b].state == BlockState::reserved;
    blocks[b].state = state;
    return is_new;
}

[[gnu::noinline]] void init_whole(Block b) { require(init_block(b, BlockState::whole)); }

[[gnu::noinline]] bool init_split(Block b) { return init_block(b, BlockState::split); }

// ----

[[gnu::noinline]] static void set_types(Frame first, u32 count, ObjectType type) {
    for (u32 i = 0; i < count; ++i)
        init_type(first + i, type);
}

// A block that is only partly RAM, or partly taken, is handled frame by frame.
[[gnu::noinline]] static void split_block(Block b, ObjectType rest) {
    if (init_split(b))
        set_types(b * frames_per_block, frames_per_block, rest);
}

void core_add_ram(u32 first, u32 count) {
    u32 f = first;
    const u32 end = first + count;
    while (f < end) {
        const u32 next = (f / frames_per_block + 1) * frames_per_block;
        const bool whole = f != 0 && f % frames_per_block == 0 && next <= end;
        const u32 stop = next < end ? next : end;
        if (whole) {
            init_whole(block_of(f));
        } else {
            split_block(block_of(f), ObjectType::reserved);
            set_types(f, stop - f, ObjectType::ram);
        }
        f = stop;
    }
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
    require(number < machine.core_count && cores[number].online == 0);
    Core& core = cores[number];
    core.timer = no_deadline;
    core.tlb_era = 1;
    core.tlb_next = 1;
    core.slice_start = shell_now();
    core.reschedule = 1;
    core.online = 1;
}

// A frame that is memory and in no use becomes an object.
[[gnu::noinline]] static void take(Frame f, ObjectType type) {
    require(frame_exists(f) && blocks[block_of(f)].state == BlockState::split &&
            check_retype(frame_owner(f), f) == Error::ok);
    retype(f, type);
}

[[gnu::noinline]] static void make_table(Frame f, u32 level) {
    take(f, ObjectType::page_table);
    frames[f].level = static_cast<u8>(level);
    reference(f);
}

[[gnu::noinline]] static void make(Frame f, ObjectType type, Frame domain, u32 selector) {
    take(f, type);
    put(domain, selector, full_cap(f, type));
}

// ---- Steps of loops, as above.

[[gnu::noinline]] void init_owner(Frame domain, Block b) {
    require(b < machine.frame_limit / frames_per_block);
    if (blocks[b].state == BlockState::reserved)
        return;
    require(blocks[b].owner == 0);
    blocks[b].owner = domain;
    domains[domain].owned++;
}

[[gnu::noinline]] void init_core_object(Frame domain, Frame f, u32 number) {
    require(number < machine.core_count);
    make(f, ObjectType::core, domain, root_selector::first_core + number);
    core_objects[f].number = number;
}

// ----

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
    make_table(root.root_table, 4);
    spaces[root.space].root = root.root_table;
    spaces[root.space].kind = SpaceKind::host;
    page_tables[root.root_table].entries[256] = machine.kernel_entries[0];
    page_tables[root.root_table].entries[510] = machine.kernel_tables_entry;
    page_tables[root.root_table].entries[511] = machine.kernel_entries[1];
}

// From the thread on, in the order of RootTask and of root_selector.
static constexpr ObjectType plain_objects[] = {ObjectType::thread,      ObjectType::sched_context,
                                               ObjectType::irq_control, ObjectType::platform,
                                               ObjectType::ports,       ObjectType::mmio};
static_assert(offsetof(RootTask, mmio) - offsetof(RootTask, thread) == 5 * sizeof(Frame) &&
              root_selector::mmio - root_selector::thread == 5);

// All of the root task's objects but its cores, out of frames that are nobody's.
[[gnu::noinline]] void init_root(Frame first, RootTask& out) {
    const RootTask r = {first,     first + 1, first + 2, first + 3, first + 4,          first + 5,
                        first + 6, first + 7, first + 8, first + 9, first + root_frames};
    out = r;
    take(r.domain, ObjectType::domain);
    take(r.cap_table, ObjectType::cap_table);
    domains[r.domain].tables[0] = r.cap_table;
    reference(r.cap_table);
    put(r.domain, root_selector::domain, full_cap(r.domain, ObjectType::domain));
    make(r.space, ObjectType::space, r.domain, root_selector::space);
    for (u32 i = 0; i < sizeof plain_objects; ++i)
        make(r.thread + i, plain_objects[i], r.domain, root_selector::thread + i);
    port_ranges[r.ports].last = 0xffff;
    mmio_ranges[r.mmio].count = u64{1} << (machine.physical_bits - frame_bits);
    make_space(r);
    make_thread(r);
}

void core_init_root(Frame first, RootTask& r) {
    split_block(0, ObjectType::reserved); // frame 0 means "none", whatever is there
    init_type(0, ObjectType::reserved);
    init_root(first, r);
    for (Block b = 0; b < machine.frame_limit / frames_per_block; ++b)
        init_owner(r.domain, b);
    for (u32 i = 0; i < machine.core_count; ++i)
        init_core_object(r.domain, r.first_core + i, i);
}

// ---- Steps of the next function.

// The table that an entry of a table leads to. `spare` becomes one where there is none.
[[gnu::noinline]] Frame init_table(Frame table, u32 index, Frame spare) {
    u64& entry = page_tables[table].entries[index];
    if (!Format::is_present(entry)) {
        make_table(spare, frames[table].level - 1u);
        entry = Format::table(spare);
        frames[table].live++;
    }
    require(!Format::is_large(entry));
    return Format::frame(entry);
}

[[gnu::noinline]] void init_leaf(Frame domain, Frame table, u32 index, Frame frame, u8 rights) {
    u64& entry = page_tables[table].entries[index];
    require(!Format::is_present(entry) && check_ram(domain, frame) == Error::ok &&
            frames[frame].mappings < max_count);
    entry = Format::leaf(frame, 1, rights);
    frames[table].live++;
    frames[frame].mappings++;
}

// ----

u32 core_root_map(const RootTask& root, u64 address, Frame frame, u8 rights, Frame spare) {
    u32 used = 0;
    Frame table = root.root_table;
    require(address < user_end);
    for (u32 level = 4; level > 1; --level) {
        table = init_table(table, entry_index(address, level), spare + used);
        used += table == spare + used;
    }
    init_leaf(root.domain, table, entry_index(address, 1), frame, rights);
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
