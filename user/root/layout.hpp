// Where the root task maps what it needs, and which of its selectors stand for what.
#pragma once
#include <horos/abi/boot_page.hpp>
#include <horos/abi/system.hpp>

namespace horos::root {

using abi::u32;
using abi::u64;

// The console server is built like a partition; it comes after the last one.
inline constexpr u32 console_index = abi::max_partitions;
inline constexpr u32 max_instances = abi::max_partitions + 1;

namespace address {
inline constexpr u64 scratch = 0x50'0000'0000;       // one page, now this frame, now that
inline constexpr u64 reports = 0x50'0010'0000;       // report page of instance i
inline constexpr u64 console_pages = 0x50'0020'0000; // console page of instance i; the last: ours
inline constexpr u64 monitor_stack = 0x50'0030'0000;
inline constexpr u64 tables = 0x50'4000'0000; // ACPI tables
} // namespace address

inline constexpr u64 monitor_stack_size = 32 * 1024;

// The kernel fills the selectors below root_selector::first_free. The rest of the first
// capability table is the root task's own; the others hold 32 for each instance.
namespace selector {
inline constexpr u32 scratch = abi::root_selector::first_free; // for what is kept nowhere
inline constexpr u32 monitor_notification = scratch + 1;
inline constexpr u32 monitor_thread = scratch + 2;
inline constexpr u32 sleep_notification = scratch + 3; // never signalled
inline constexpr u32 log_signal = scratch + 4;         // wakes the console server
inline constexpr u32 first_instance = abi::slots_per_table;
inline constexpr u32 per_instance = 32;

constexpr u32 base(u32 instance) { return first_instance + instance * per_instance; }
constexpr u32 domain(u32 instance) { return base(instance); }
constexpr u32 space(u32 instance) { return base(instance) + 1; }
constexpr u32 guest_space(u32 instance) { return base(instance) + 2; }
constexpr u32 notification(u32 instance) { return base(instance) + 3; } // thread 0's
constexpr u32 thread(u32 instance, u32 index) { return base(instance) + 8 + index; }
} // namespace selector
static_assert(selector::base(max_instances) <= abi::max_selector);
static_assert(8 + 2 * abi::max_partition_vcpus <= selector::per_instance);

// Bits of the monitor's notification.
namespace monitor_bit {
constexpr u64 report(u32 instance) { return u64{1} << instance; } // fits a badge
constexpr u64 thread(u32 instance) { return u64{1} << (32 + instance); }
} // namespace monitor_bit
static_assert(max_instances <= 31);

} // namespace horos::root
