// A partition as the root task keeps it (the console server too): what it is made of, and how it
// fares. Built, torn down and built again from the same memory.
#pragma once
#include <horos/abi/console_page.hpp>
#include <horos/abi/start_page.hpp>
#include <horos/abi/system.hpp>

#include "layout.hpp"
#include "space_editor.hpp"

namespace horos::root {

enum class InstanceState : u8 {
    absent, // not in this system
    built,
    running,
    ended, // of its own will
    failed // stays down
};

struct ThreadPlace {
    u32 core = 0;
    u8 slot = 0;
    u64 budget = 0; // TSC ticks in each major frame, 0 = no limit
};

struct Instance {
    static constexpr u32 max_extents = 32;

    const abi::Partition* partition = nullptr;
    u32 index = 0;
    InstanceState state = InstanceState::absent;
    u32 thread_count = 0;
    ThreadPlace threads[abi::max_program_threads];
    FramePool pool;             // objects, page tables, program pages
    Extent memory[max_extents]; // guest RAM, or a native program's own memory
    u32 extent_count = 0;
    u32 apic_frame = 0;   // guests on VMX: given to the monitor; 0 = none
    u32 split_blocks = 0; // native: bit n: block n of the memory was split by the program
    u32 incarnation = 0;
    u32 faults = 0; // that led to a restart
    u64 started_at = 0;
    u64 last_heartbeat = 0;
    u64 watchdog_due = abi::no_deadline;

    bool is_guest() const { return partition->kind == abi::PartitionKind::linux_guest; }
    bool is_console() const { return index == console_index; }
    std::string_view name() const { return rt::field_text(partition->name); }
    abi::ReportPage& report() const {
        return *reinterpret_cast<abi::ReportPage*>(address::reports + index * abi::frame_size);
    }
};

// What all parts of the root task look at.
struct Machine {
    const abi::BootPage* boot = nullptr;
    const void* bundle = nullptr;
    const abi::System* system = nullptr;
    u32 console_program = 0; // bundle entry
    u64 wall_clock_seconds = 0;
    u64 wall_clock_tsc = 0;
    u32 report_frames[max_instances] = {};
    u32 console_frames[max_instances] = {}; // the last: the root task's own lines
    u32 console_table_frame = 0;
    u32 channel_frames[abi::max_channels] = {};
    Instance instances[max_instances];

    u64 tsc_khz() const { return boot->tsc_khz; }
    u32 bundle_frame(u32 entry) const; // first frame of an entry's contents
};

Machine& machine();

// Console page of instance i; at console_index it is the root task's own.
inline abi::ConsolePage& console_page(u32 i) {
    return *reinterpret_cast<abi::ConsolePage*>(address::console_pages + i * abi::frame_size);
}

// Builds everything up to the first instruction.
Outcome build(Instance& instance);
// Lets thread 0 run.
Outcome start(Instance& instance);
// Takes everything back that build() made; the instance can be built again.
Outcome tear_down(Instance& instance);

// Parts of build().
Outcome load_program(Instance& instance, u32 entry, SpaceEditor& space);
Outcome build_threads(Instance& instance, SpaceEditor& space);
Outcome build_guest(Instance& instance, SpaceEditor& space);
Outcome give_devices(Instance& instance, SpaceEditor& space);
Outcome give_memory(Instance& instance);
Outcome connect_channels(Instance& instance, SpaceEditor& space);
Outcome connect_console(Instance& instance, SpaceEditor& space);
Outcome fill_start_page(Instance& instance, SpaceEditor& space);

// The calling thread waits; bits of the monitor's notification stay where they are.
void sleep_ms(u64 ms);

// Gives a capability in selector::scratch to the instance and empties the slot.
Outcome hand_over(const Instance& instance, u32 slot, u8 rights, u32 badge = 0);
// Gives a copy of a capability that the root task keeps.
Outcome give(const Instance& instance, u32 source, u32 slot, u8 rights, u32 badge = 0);
// Takes `count` frames in a row from the instance's pool.
Outcome take(Instance& instance, u32& frame, u32 count = 1);

// Runs a step that gives an Outcome; the caller returns its failure.
template <class... Steps>
Outcome in_order(Steps&&... steps) {
    Outcome outcome;
    (void)((outcome = steps(), outcome.ok()) && ...);
    return outcome;
}

inline constexpr u8 read_only = abi::right::read;
inline constexpr u8 read_write = abi::right::read | abi::right::write;

} // namespace horos::root
