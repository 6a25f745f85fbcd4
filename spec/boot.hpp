// What is true while the kernel starts. From the zeroed tables on until the root task is made these
// statements stand for the invariants, of which the steps of kernel/core/init.cpp make use; with
// the root task all invariants hold. That is proved (proofs/theorems/init.cpp).
#pragma once
#include "spec/state.hpp"

namespace horos::spec {

bool boot_frame(Frame f); // no object, nobody's; of its own only in a split block
bool boot_block(Block b);
bool boot_core(u32 core); // idle; also one that the machine does not have
bool boot_position(u32 core, u32 position);
bool boot_vector(u32 vector);

// ---- from the root task on, until it runs
bool boot_core_tags(u32 core); // a core that is not up has used no tag
bool boot_root(Frame domain, Frame table, Frame thread);
// Of an entry that core_root_map comes to: of a table of that level, and for the root task.
bool boot_table(Frame table, u32 level, u32 index);

} // namespace horos::spec
