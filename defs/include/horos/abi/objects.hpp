// Kernel object types, capability rights, and the small encodings that hypercall arguments use.
#pragma once
#include <horos/abi/types.hpp>

namespace horos::abi {

// What a frame is. Capabilities carry the same type. Zero is ordinary memory, which is what a
// frame becomes when its object is destroyed.
enum class ObjectType : u8 {
    ram = 0,      // ordinary memory of its owner; as a capability: shared memory, one frame
    reserved = 1, // firmware, not RAM, or unusable; never anybody's
    kernel = 2,   // kernel image, frame table, boot data
    domain = 3,
    cap_table = 4,
    space = 5, // address space: host (threads) or guest (nested page tables of a VM)
    page_table = 6,
    thread = 7,
    sched_context = 8,
    endpoint = 9,
    notification = 10,
    interrupt = 11,
    ports = 12, // range of I/O ports
    mmio = 13,  // range of device memory outside RAM
    vcpu = 14,
    vmcb = 15,        // control block of a virtual CPU (VMCB or VMCS)
    fpu = 16,         // XSAVE area
    io_map = 17,      // I/O permission map of a VM (3 frames)
    msr_map = 18,     // MSR permission map of a VM (2 frames)
    core = 19,        // a physical core: its windows and scheduling contexts
    irq_control = 20, // the right to make interrupt objects
    platform = 21,    // the right to reset and power off
    block = 22,       // capability only: shared memory, one 2 MiB block
    count = 23
};

// Rights of a capability; what each allows depends on the type of the object.
namespace right {
inline constexpr u8 read = 1;   // memory: read;  endpoint: receive;  notification: wait;  ports: in
inline constexpr u8 write = 2;  // memory: write; endpoint: call; notification: signal; ports: out;
                                // others: use and configure
inline constexpr u8 exec = 4;   // memory: execute
inline constexpr u8 manage = 8; // revoke; domain: take back what was given
inline constexpr u8 grant = 16; // may be given to another domain
inline constexpr u8 all = 31;
} // namespace right

enum class SpaceKind : u8 { host = 0, guest = 1 };

enum class ThreadState : u8 {
    stopped = 0,  // not started yet, or stopped
    runnable = 1, // in user mode, in the kernel or in its guest
    wait_notification = 2,
    wait_receive = 3, // server waiting on its endpoint
    wait_call = 4,    // client whose server is busy
    wait_reply = 5,   // client being served
    faulted = 6,      // took an exception; its monitor was told
    exited = 7
};

// Why vcpu_run, wait and other blocking calls came back early is an error code; these are the
// operations of platform_control.
enum class PlatformOp : u32 { power_off = 0, reset = 1 };

namespace irq_flag {
inline constexpr u32 level = 1;      // level triggered (else edge)
inline constexpr u32 active_low = 2; // (else active high)
} // namespace irq_flag

// Bits of the notification word that a thread's monitor receives are chosen by the monitor.

} // namespace horos::abi
