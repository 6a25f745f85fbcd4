// What the architecture shell calls in the core. The kernel lock is held in all of them.
#pragma once
#include "kernel/core/state.hpp"

namespace horos::core {

// Hypercall entry points, indexed by number: six arguments in, result word out.
inline constexpr u64 result_error = 0xff;
inline constexpr u64 result_values = 0x100; // results[core] is valid; else bits 63:32 are the first
inline constexpr u32 result_value_shift = 32; // value, and the others are 0
inline constexpr u64 result_switch = 0x200;   // do not return to the caller: ask core_next
// With result_switch: the thread in bits 63:32 runs now in ring 3, in place of the caller and on
// the same scheduling context; nothing else has changed.
inline constexpr u64 result_direct = 0x400;
extern "C" u64 hypercall_unknown(u64, u64, u64, u64, u64, u64);
using HypercallEntry = u64 (*)(u64, u64, u64, u64, u64, u64);
extern "C" const HypercallEntry hypercall_table[]; // hypercall_count entries
extern "C" const u32 hypercall_count;

// Entries of the two calls whose cost is that of all work split between programs. entry.S has put
// all of the caller's registers into its Thread before, so they need not keep any: preserve_none
// passes the core in r12 and r13, then (after two registers that mean nothing) the call's words,
// and the running thread in r9. They end in entry_switch when another thread runs now in ring 3, in
// place of the caller and on the same scheduling context, and otherwise with a result word.
// The sanitizers of the host tests cannot do with so few registers kept.
#if HOROS_FREESTANDING
#define HOROS_FAST_ENTRY extern "C" [[clang::preserve_none]]
#else
#define HOROS_FAST_ENTRY extern "C"
#endif
HOROS_FAST_ENTRY u64 core_call_fast(Core& core, u64 number, u64, u64, u64 endpoint, u64 w0, u64 w1,
                                    u64 w2, u64 w3, Thread& self);
HOROS_FAST_ENTRY u64 core_reply_receive_fast(Core& core, u64 number, u64, u64, u64 endpoint, u64 w0,
                                             u64 w1, u64 w2, u64 w3, Thread& self);
// entry.S: runs the thread, whose call returns with Error::ok and zero in r10.
HOROS_FAST_ENTRY u64 entry_switch(Thread& thread);

enum class Next : u8 { idle, user, guest, again };

// Decides what this core does now and sets its timer. For user and guest the thread is
// cores[core].thread; its space's root is in spaces[threads[t].space].root. `again`: it did
// something that comes before (a window, a deadline), and is to be called once more.
Next core_next(u32 core);

void core_interrupt(u32 core, u8 vector); // a device interrupt arrived on this vector
void core_timer(u32 core);                // the timer fired
void core_reschedule(u32 core);           // another core asked for it
void core_fault(u32 core, u64 vector, u64 error, u64 address); // regs of the thread are saved

// Boot. All tables are zero before. What does not fit together (memory that is handed over twice, a
// frame that is no memory) stops the kernel. The loops go over memory; their steps, which are all
// that writes, have names of their own so that the prover can speak of them.
void init_type(Frame f, ObjectType type);
void init_whole(Block b);
bool init_split(Block b); // whether it was reserved
void init_owner(Frame domain, Block b);
void init_core_object(Frame domain, Frame f, u32 number);
Frame init_table(Frame table, u32 index, Frame spare);
void init_leaf(Frame domain, Frame table, u32 index, Frame frame, u8 rights);
void core_add_ram(u32 first, u32 count); // ordinary memory, nobody's yet
// Takes frames out of it: kernel image, tables, firmware.
void core_reserve(u32 first, u32 count, ObjectType type);
// Splits the blocks of a range, so that its frames can be mapped one by one.
void core_split(u32 first, u32 count);
void core_init_core(u32 core); // as each core comes up, the boot core first

// The root task's first objects.
struct RootTask {
    Frame domain, cap_table, space, root_table, thread, sched_context, irq_control, platform, ports,
        mmio;
    Frame first_core; // one CoreObject for each core follows
};
inline constexpr u32 root_frames = 10; // and one for each core

// Makes the root task out of the ordinary frames from `first` on, root_frames + core_count of
// them. All ordinary memory is its own afterwards.
void core_init_root(Frame first, RootTask& out);
void init_root(Frame first, RootTask& out); // its part that is no loop
// Maps a frame for the root task. Page tables come from `spare` on; gives back how many were
// needed (0..3).
u32 core_root_map(const RootTask& root, u64 address, Frame frame, u8 rights, Frame spare);
void core_root_start(const RootTask& root, u64 entry, u64 stack, u64 argument);

} // namespace horos::core
