// What the root task tells a program of a partition: the start page, read-only at
// start_page_address (also in rdi at the entry of thread 0), the page in which the program reports
// to the root task, and the selectors of the capabilities it was given.
#pragma once
#include <horos/abi/boot_page.hpp>
#include <horos/abi/system.hpp>
#include <horos/abi/types.hpp>

namespace horos::abi {

// Threads of a program: placement i of the description has two, the main one (virtual CPU i, or
// the program itself) and a more urgent one that serves devices and timers.
inline constexpr u32 threads_per_placement = 2;
inline constexpr u32 max_program_threads = max_partition_vcpus * threads_per_placement;
constexpr u32 main_thread(u32 placement) { return placement * threads_per_placement; }
constexpr u32 service_thread(u32 placement) { return placement * threads_per_placement + 1; }

// Layout of a program's address space; the program itself is linked at program_address.
inline constexpr u64 program_address = 0x40'0000;
inline constexpr u64 start_page_address = 0x10'0000'0000; // start_page_size bytes, read-only
inline constexpr u64 start_page_size = 2 * frame_size;
inline constexpr u64 report_page_address = 0x10'0001'0000;  // read-write, shared with root
inline constexpr u64 console_page_address = 0x10'0002'0000; // read-write, shared with the console
inline constexpr u64 vcpu_state_address = 0x10'0003'0000;   // one page for each virtual CPU
inline constexpr u64 thread_area_address = 0x20'0000'0000;  // stack and FS block of each thread
inline constexpr u64 thread_area_stride = 0x10'0000;
inline constexpr u64 thread_stack_size = 64 * 1024;           // below it nothing is mapped
inline constexpr u64 kernel_file_address = 0x30'0000'0000;    // guest kernel, read-only
inline constexpr u64 initramfs_file_address = 0x38'0000'0000; // initramfs, read-only
inline constexpr u64 guest_memory_address = 0x40'0000'0000;   // guest RAM, read-write
inline constexpr u64 mmio_address = 0x50'0000'0000;           // device memory of native programs
inline constexpr u64 mmio_stride = 0x1'0000'0000;             // from one MmioRange to the next
inline constexpr u64 free_address = 0x60'0000'0000;           // from here on the program's own

// Guest RAM is at guest-physical 0 up to here; what is left of it starts at 4 GiB.
inline constexpr u64 guest_low_end = 0xc000'0000;
inline constexpr u64 guest_high_start = 0x1'0000'0000;
inline constexpr u64 apic_address = 0xfee0'0000; // guest-physical, after a reset

constexpr u64 thread_stack_top(u32 thread) {
    return thread_area_address + thread * thread_area_stride + 0x8'0000;
}
// The page that FS points into: offset 0 its own address, offset 0x28 the stack protector's
// canary, as the System V ABI has it for x86-64.
constexpr u64 thread_fs_base(u32 thread) { return thread_stack_top(thread) + frame_size; }

namespace start_selector {
inline constexpr u32 domain = 1;      // its own domain, if it has memory of its own
inline constexpr u32 space = 2;       // its own address space, if it has memory of its own
inline constexpr u32 report = 3;      // notification, write, badged: wakes the root task
inline constexpr u32 console = 4;     // notification, write, badged: wakes the console server
inline constexpr u32 guest_space = 5; // virtual machines: write
inline constexpr u32 platform = 6;    // the next four only if the description grants them
inline constexpr u32 irq_control = 7;
inline constexpr u32 all_ports = 8;
inline constexpr u32 all_mmio = 9;
inline constexpr u32 first_core = 16;         // granted cores, core n at first_core + n, n < 16
inline constexpr u32 first_thread = 32;       // read and write
inline constexpr u32 first_notification = 48; // one for each thread, bound to it: read and write
inline constexpr u32 first_vcpu = 64;         // write
inline constexpr u32 first_ports = 72;        // Partition::ports
inline constexpr u32 first_irq = 80;          // Partition::irqs: interrupt objects, not yet bound
inline constexpr u32 first_channel = 96;      // wakes thread 0 of the other side
inline constexpr u32 first_free = 128;
constexpr u32 thread(u32 index) { return first_thread + index; }
constexpr u32 notification(u32 thread) { return first_notification + thread; }
constexpr u32 vcpu(u32 index) { return first_vcpu + index; }
} // namespace start_selector

// Bits that others set in the notification of thread 0. The program's own bits are 32..63.
namespace wake_bit {
inline constexpr u64 console = 1; // input is there, or there is room for output again
constexpr u64 channel(u32 index) { return u64{1} << (16 + index); }
} // namespace wake_bit

inline constexpr u64 start_page_magic = 0x31'54'52'54'53'52'4f'48; // "HORSTRT1"
inline constexpr u32 max_pool_ranges = 32;

struct ChannelEnd {
    u64 address; // where it is mapped in the program; virtual machines: guest-physical as well
    u64 size;
    u32 index; // in System::channels; the capability is at first_channel + index
    u32 reserved;
};

struct StartPage {
    u64 magic;
    u32 size; // sizeof(StartPage)
    u32 partition_index;
    u32 incarnation; // 0 at the first start, one more at each restart
    u32 thread_count;
    u32 vcpu_count; // 0 for native programs
    Vendor vendor;
    u64 tsc_khz;
    u64 host_xcr0;          // XCR0 bits that guests may use
    u64 wall_clock_seconds; // UTC, seconds since 1970, at the moment below; 0 = unknown
    u64 wall_clock_tsc;
    u32 has_next_rip;
    u32 has_decode_assist;
    u64 guest_memory_size; // bytes at guest_memory_address
    u64 kernel_size;       // bytes at kernel_file_address
    u64 initramfs_size;    // bytes at initramfs_file_address, 0 = none
    u32 pool_count;        // memory of a native program's own
    u32 channel_count;
    u32 apic_frame; // virtual machines on VMX: a frame of the program's own, for
                    // VcpuState::apic_page, with tables for it at apic_address of the guest; 0:
                    // none
    u32 reserved;
    MemoryRange pool[max_pool_ranges];
    ChannelEnd channels[max_channels];
    Partition partition; // as the description has it
};
static_assert(sizeof(StartPage) <= start_page_size);

// Why a program wakes the root task.
enum class ReportKind : u32 {
    none = 0,
    power_off = 1,    // the partition's orderly end
    reset = 2,        // it asks to be started again
    triple_fault = 3, // of its guest
    guest_error = 4,  // the guest did what its monitor cannot emulate, or its state was refused
    internal = 5      // the program gives up: assertion, panic
};

// Written by the program, read by the root task: each field once, and none of it trusted.
struct ReportPage {
    u32 kind; // ReportKind; written last
    u32 vcpu;
    u64 rip;        // guest's or program's
    u64 info[4];    // what the kind says, for people to read
    u64 heartbeat;  // any change says that the partition makes progress (watchdog)
    char text[192]; // zero-terminated if shorter
};
static_assert(sizeof(ReportPage) <= frame_size);

} // namespace horos::abi
