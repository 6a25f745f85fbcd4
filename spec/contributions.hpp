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

// Whose count `owned` a frame or block is in; 0 = nobody's.
Frame frame_counted_owner(Frame f);
Frame block_counted_owner(Block b);

} // namespace horos::spec
