// What the boot steps hand on to each other.
#pragma once
#include "acpi.hpp"
#include "boot_data.hpp"
#include "bundle_check.hpp"
#include "memory_plan.hpp"
#include "paging.hpp"

namespace horos::arch {

struct BootState {
    BootData data;
    AcpiInfo acpi;
    RangeList ram;  // all RAM but the first 64 KiB, the trampoline and the kernel image
    RangeList free; // what is left of it for the root task
    RootProgram root;
    FramePool pool; // kernel's page tables, stacks, maps
    Range pool_range, frame_table, block_table, image, bundle;
    FramePool root_pool; // objects and memory of the root task
    u8 trampoline_page;
};

void plan_memory(BootState& boot);        // fatal with too little of it
void build_kernel_space(BootState& boot); // sets kernel_cr3
void load_root(BootState& boot);          // makes the root task, ready to run

} // namespace horos::arch
