// What the architecture shell calls in the core. The kernel lock is held in all of them.
#pragma once
#include "kernel/core/state.hpp"

namespace horos::core {

// Hypercall entry points, indexed by number: six arguments in, result word out.
inline constexpr u64 result_error = 0xff;
inline constexpr u64 result_values = 0x100; // results[core] is valid
inline constexpr u64 result_switch = 0x200; // do not return to the caller: ask core_next
extern "C" u64 hypercall_unknown(u64, u64, u64, u64, u64, u64);
using HypercallEntry = u64 (*)(u64, u64, u64, u64, u64, u64);
extern "C" const HypercallEntry hypercall_table[]; // hypercall_count entries
extern "C" const u32 hypercall_count;

enum class Next : u8 { idle, user, guest };

// Decides what this core does now and sets its timer. For user and guest the thread is
// cores[core].thread; its space's root is in spaces[threads[t].space].root.
Next core_next(u32 core);

void core_interrupt(u32 core, u8 vector); // a device interrupt arrived on this vector
void core_timer(u32 core);                // the timer fired
void core_reschedule(u32 core);           // another core asked for it
void core_fault(u32 core, u64 vector, u64 error, u64 address); // regs of the thread are saved

// Boot.
struct InitialRange { // frames that become the root task's
    u32 first;
    u32 count;
};
void core_init_machine();            // marks every frame reserved; machine must be filled in
void core_add_ram(u32 first, u32 count);   // ordinary memory of nobody yet
void core_reserve(u32 first, u32 count, ObjectType type); // kernel image, tables, firmware
void core_init_core(u32 core);       // as each core comes up

// Makes the root task out of ordinary frames that `frames` supplies (all consecutive from `first`).
struct RootTask {
    u32 domain, cap_table, space, root_table, thread, sched_context, irq_control, platform, ports,
        mmio, first_core; // frames; cores follow each other
};
Frame core_init_root(u32 first_frame, u32 core_count, RootTask& out); // returns frames used
void core_own_all(Frame domain);     // all ordinary memory now belongs to the root task
// Maps a page for the root task at boot; takes page tables from `spare`, returns frames used, or
// ~0 when there is no room.
u32 core_root_map(const RootTask& root, u64 address, Frame frame, u8 rights, Frame spare);
void core_root_start(const RootTask& root, u64 entry, u64 stack, u64 argument);

} // namespace horos::core
