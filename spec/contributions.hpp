// What each object and each page-table entry refers to. The counts in the frame table are sums of
// these over all indices; a sum is left to whoever checks it (the tests add up, the prover argues
// about differences).
#pragma once
#include "kernel/core/page_tables.hpp"
#include "kernel/core/state.hpp"

namespace horos::spec {

using namespace horos::core;

// The i-th frame that an object refers to, 0 = none.
inline constexpr u32 object_references = 6;
Frame object_reference(Frame object, u32 i);

// What a page-table entry stands for.
enum class EntryKind : u8 { empty, kernel, table, frame, block, device };
EntryKind entry_kind(Frame table, u32 i);
// The frame that an entry of kind table, frame or block names.
Frame entry_target(Frame table, u32 i);
// Whether the entry counts as live in its table.
bool entry_is_live(Frame table, u32 i);

// ---- the terms of the sums, one by one
bool object_refers(Frame object, u32 i, Frame f);   // a term of frames[f].references
bool entry_refers(Frame table, u32 i, Frame f);     // likewise
bool entry_maps(Frame table, u32 i, Frame f);       // of frames[f].mappings
bool entry_maps_block(Frame table, u32 i, Block b); // of blocks[b].mappings
bool entry_lives(Frame table, u32 i);               // of frames[table].live

// ---- what follows from the sums at one index: a count with a term is not 0. These are not
// invariants by themselves; that the sums are kept is (proofs/theorems/counts.cpp).
bool ghost_domain(Frame domain, u32 i);
bool ghost_space(Frame space);
bool ghost_roots(Frame a, Frame b);
bool ghost_flushes(Frame space); // no sum: 2^64 changes of a space do not pass
bool ghost_thread(Frame thread);
bool ghost_sched_context(Frame sc);
bool ghost_interrupt(Frame interrupt);
bool ghost_vcpu(Frame vcpu);
bool ghost_entry(Frame table, u32 i);
// All at once: of the entries that a step of frame_reclaim empties, and any other one.
bool ghost_step(Frame table, u32 first, u32 other);
// Two entries that name one table are two terms of its references.
bool ghost_entries(Frame table, u32 i, Frame other, u32 j);
bool ghost_frame_owner(Frame f);
bool ghost_block_owner(Block b);

// Whose count `owned` a frame or block is in; 0 = nobody's.
Frame frame_counted_owner(Frame f);
Frame block_counted_owner(Block b);

} // namespace horos::spec
