// Where things lie in the kernel's half of every address space. kernel.ld places the typed views
// at the same addresses; boot.S knows image_base.
#pragma once
#include "types.hpp"

namespace horos::arch::layout {

inline constexpr u64 direct_map = 0xffff'8000'0000'0000;  // all RAM, writable, never executable
inline constexpr u64 frame_table = 0xffff'ff00'0000'0000; // symbol `frames`, PML4 entry 510
inline constexpr u64 block_table = 0xffff'ff40'0000'0000; // symbol `blocks`
inline constexpr u64 image_base = 0xffff'ffff'8000'0000;  // virtual = physical + image_base
inline constexpr u64 image_physical = 0x20'0000;
inline constexpr u64 cpu_area = 0xffff'ffff'c000'0000;    // stacks and per-CPU pages
inline constexpr u64 device_area = 0xffff'ffff'e000'0000; // LAPIC and IOAPIC registers, uncached

// Each CPU's area. Pages that are not named stay unmapped and guard their neighbours.
inline constexpr u64 cpu_stride = 0x2'0000;
inline constexpr u64 stack_first_page = 1;
inline constexpr u64 stack_pages = 4;
inline constexpr u64 nmi_stack_page = 6; // one page each
inline constexpr u64 double_fault_stack_page = 8;
inline constexpr u64 machine_check_stack_page = 10;
inline constexpr u64 per_cpu_page = 12;
inline constexpr u64 per_cpu_pages = 1;
inline constexpr u64 debug_stack_page = 14;

constexpr u64 cpu_page(u32 cpu, u64 page) { return cpu_area + cpu * cpu_stride + page * 4096; }
constexpr u64 stack_top(u32 cpu) { return cpu_page(cpu, stack_first_page + stack_pages); }

inline constexpr u64 lapic = device_area;
constexpr u64 ioapic(u32 index) { return device_area + (1 + index) * 4096; }

} // namespace horos::arch::layout
