// What the kernel tells the root task: a read-only page at boot_page_address, whose address is also
// in rdi at the root task's entry.
#pragma once
#include <horos/abi/types.hpp>

namespace horos::abi {

// Layout of the root task's address space at its start.
inline constexpr u64 boot_page_address = 0x0000'0010'0000'0000;
inline constexpr u64 bundle_address = 0x0000'0020'0000'0000; // whole bundle, read-only
inline constexpr u64 root_stack_top = 0x0000'0030'0000'0000; // grows down
inline constexpr u64 root_stack_size = 64 * 1024;

// Capabilities that the root task starts with.
namespace root_selector {
inline constexpr u32 null = 0;   // never filled by the kernel
inline constexpr u32 domain = 1; // itself
inline constexpr u32 space = 2;
inline constexpr u32 thread = 3;
inline constexpr u32 sched_context = 4; // core 0, slot 15 (lowest priority)
inline constexpr u32 irq_control = 5;
inline constexpr u32 platform = 6;
inline constexpr u32 ports = 7;       // all ports but those the kernel uses itself
inline constexpr u32 mmio = 8;        // all physical memory that is not RAM or kernel devices
inline constexpr u32 first_core = 16; // core n at first_core + n
inline constexpr u32 first_free = first_core + max_cores;
} // namespace root_selector

enum class Vendor : u32 { svm = 1, vmx = 2 };

struct MemoryRange {
    u64 first_frame; // memory the root task owns
    u64 frame_count;
};

inline constexpr u32 max_memory_ranges = 32;
inline constexpr u64 boot_page_magic = 0x31'45'47'50'53'52'48'48;

struct BootPage {
    u64 magic;
    u32 core_count;
    Vendor vendor;
    u64 tsc_khz;
    u64 bundle_size;        // bytes mapped at bundle_address
    u64 bundle_first_frame; // bundle's frames; owned by the root task
    u64 rsdp;               // physical address, 0 = none
    u64 dsdt;               // physical address, 0 = none
    u64 xcr0;               // XCR0 bits the host offers to guests
    u32 asid_count;         // tags for guest TLB entries per core
    u32 has_next_rip;       // the processor reports the next instruction at exits
    u32 has_decode_assist;
    u32 range_count;
    MemoryRange ranges[max_memory_ranges];
    char command_line[512];
};
static_assert(sizeof(BootPage) <= 4096);

} // namespace horos::abi
