// The kernel's whole state: flat tables indexed by frame number or core number. No pointers, no
// unions, every padding byte named; a free object is all zero.
//
// The typed views (cap_tables, threads, ...) all start at the direct map's base: element f of each
// is the memory of frame f. Which view is the true one is frames[f].type, and only retype changes
// that.
#pragma once
#include <horos/abi/objects.hpp>
#include <horos/abi/types.hpp>

namespace horos::core {

using namespace horos::abi;

using Frame = u32; // frame number; 0 is never an object, so it means "none"
using Block = u32; // block number

struct FrameInfo {
    u32 owner;      // domain's frame; 0: the owner of its block
    u32 generation; // raised by each retype, destruction and revocation
    u16 references; // by other objects and by parent page tables
    u16 mappings;   // leaf entries that map it (ram only)
    u16 live;       // entries in use (page tables only)
    ObjectType type;
    u8 level; // 1..4 (page tables only)
};
static_assert(sizeof(FrameInfo) == 16);

enum class BlockState : u8 { reserved = 0, split = 1, whole = 2 };

struct BlockInfo {
    u32 owner;
    u32 generation;
    u32 mappings; // leaf entries that map it whole
    BlockState state;
    u8 pad[3];
};
static_assert(sizeof(BlockInfo) == 16);

struct CapSlot {
    u32 object;     // frame; for ObjectType::block a block
    u32 generation; // of the object when the capability was made
    u32 badge;
    ObjectType type; // ram (0) with rights 0 is an empty slot
    u8 rights;       // right:: bits; never 0 in a used slot
    u16 pad;
};
static_assert(sizeof(CapSlot) == 16);

struct CapTable {
    CapSlot slots[slots_per_table];
};
static_assert(sizeof(CapTable) == frame_size);

struct PageTable {
    u64 entries[512];
};
static_assert(sizeof(PageTable) == frame_size);

struct Domain {
    u32 tables[tables_per_domain];
    u32 owned; // frames and blocks whose owner field names this domain
    u8 pad[4096 - 20];
};
static_assert(sizeof(Domain) == frame_size);

struct Space {
    u32 root;    // top page table
    u32 io_map;  // first of its frames, 0: the default
    u64 flushes; // raised when what a guest runs on changes: an unmap (older TLB tags are void), a
                 // map. 64 bits: a VMM must not be able to bring it round to an old value
    u32 msr_map;
    SpaceKind kind;
    u8 pad[4096 - 21];
};
static_assert(sizeof(Space) == frame_size);

// What a thread needs to go on. entry.S knows this layout.
struct Registers {
    u64 gpr[16]; // in the order of Gpr
    u64 rip;
    u64 rflags;
    u64 vector; // last fault
    u64 error;
    u64 address; // last fault's CR2
    u64 fs_base;
    u64 full; // 1: all registers count (interrupted); 0: stopped in a hypercall
};

struct Thread {
    Registers regs;
    u64 message[message_words]; // of the call being made
    u64 monitor_bits;
    u64 time_used; // TSC ticks
    u64 exit_code;
    u64 tables; // address of its space's top page table, as CR3 wants it
    u32 domain;
    u32 space;
    u32 sc;          // its own scheduling context
    u32 running_on;  // the one it runs on now: its own or a client's; 0 while it waits as server
    u32 bound;       // notification that ends its vcpu_run
    u32 monitor;     // notification told of its faults
    u32 waiting_for; // endpoint or notification
    u32 client;      // thread whose call it serves
    u32 server;      // thread that serves its call
    u32 vcpu;        // virtual CPU it is running
    u32 badge;       // of the capability it called through
    u32 fault_count;
    ThreadState state;
    u8 pad[1024 - 297];
    u8 fpu[3072]; // XSAVE area
};
static_assert(sizeof(Thread) == frame_size && offsetof(Thread, fpu) % 64 == 0);

struct SchedContext {
    u64 budget; // TSC ticks in a major frame, 0 = no limit
    u64 left;
    u32 thread;  // whose own it is
    u32 running; // who runs on it now
    u32 core;
    u8 position;
    u8 pad[4096 - 29];
};
static_assert(sizeof(SchedContext) == frame_size);

struct Endpoint {
    u32 server;  // thread waiting to receive
    u32 core;    // of its server, once it has received
    u16 callers; // positions on that core whose threads wait to call
    u8 bound;    // core is valid
    u8 pad[4096 - 11];
};
static_assert(sizeof(Endpoint) == frame_size);

struct Notification {
    u64 bits;
    u32 waiter; // thread
    u32 bound;  // thread whose vcpu_run it ends
    u8 pad[4096 - 16];
};
static_assert(sizeof(Notification) == frame_size);

struct Interrupt {
    u64 bits;
    u32 notification;
    u32 core;
    u32 gsi;   // line, or message index
    u32 flags; // irq_flag bits
    u8 vector;
    u8 is_message;
    u8 masked; // waiting for irq_ack
    u8 pad[4096 - 27];
};
static_assert(sizeof(Interrupt) == frame_size);

struct Ports {
    u32 first;
    u32 last;
    u8 pad[4096 - 8];
};
static_assert(sizeof(Ports) == frame_size);

struct Mmio {
    u64 first; // page
    u64 count;
    u8 pad[4096 - 16];
};
static_assert(sizeof(Mmio) == frame_size);

struct CoreObject {
    u32 number;
    u8 pad[4096 - 4];
};
static_assert(sizeof(CoreObject) == frame_size);

inline constexpr u32 no_core = 0xff;

struct MsrEntry { // SDM vol. 3C §24.7.2
    u32 number;
    u32 reserved;
    u64 value;
};

// What VMX has no place for in its control block, or only a slow one.
struct VmxState {
    u32 virtual_apic; // abi::virtual_apic::
    u32 pending;      // external interrupt to deliver: pending::valid | vector
    u64 event;        // to inject at the next entry, as in VcpuState::inject
    u64 cr2;
    u64 dr6;
    MsrEntry msrs[5];  // guest's, loaded at entry and stored at exit
    u32 host_core;     // whose host state the control block has, plus one
    u32 proc_controls; // wanted, windows apart
    u32 requests;      // request:: bits
    u32 apic_page;     // frame whose address is the APIC-access address, 0 = none
};
static_assert(sizeof(VmxState) == 128);

// A virtual CPU: what the kernel keeps beside the control block.
struct Vcpu {
    u64 dr[4];        // guest's DR0..DR3
    u64 xcr0;         // guest's XCR0
    u64 deadline;     // TSC at which its VMM wants it back
    u64 tlb_era;      // era of the core's TLB tags that `tlb_tag` belongs to
    u64 flushes_seen; // Space::flushes at the last entry
    u32 tlb_tag;      // ASID or VPID; 0 = none yet
    u32 space;
    u32 control; // VMCB
    u32 fpu;
    u32 state;           // shared page
    u32 core;            // where it lives, no_core before its first run
    u32 thread;          // who runs it now
    u32 exception_exits; // asked for by the VMM, mandatory ones added by the backend
    u32 extra_exits;
    u8 dr_live;    // the guest's debug registers are in the processor
    u8 delivering; // an external interrupt is armed in the control block
    u8 pad[128 - 102];
    VmxState vmx;
    u8 pad2[4096 - 256];
};
static_assert(sizeof(Vcpu) == frame_size);

struct Window {
    u64 length; // TSC ticks
    u16 slots;  // positions that may run
    u16 pad[3];
};

// One core's scheduling state.
struct Core {
    u64 deadline[sc_slots]; // of the thread at each position that waits or runs a guest
    Window windows[max_windows];
    Window next_windows[max_windows];
    u64 window_end;  // TSC
    u64 slice_start; // TSC
    u64 timer;       // TSC the timer is set to, no_deadline = off
    u32 sc[sc_slots];
    u32 thread;      // running now, 0 = idle
    u32 context;     // scheduling context it runs on
    u32 space;       // host space that is loaded, 0 = the kernel's own
    u32 fpu_owner;   // thread or virtual CPU whose FPU state is in the processor, 0 = nobody's
    u16 ready;       // positions whose thread can run
    u16 exhausted;   // positions without budget in this major frame
    u16 timed;       // positions with a deadline
    u8 window_count; // 0: no windows
    u8 window;       // current
    u8 online;
    u8 reschedule;   // look again who should run
    u8 windows_late; // how many ended before the core looked
    u8 pad[5];
    u64 tlb_era;  // of TLB tags
    u32 tlb_next; // next tag to hand out
    u32 control;  // control block that the processor holds (VMX), 0 = none
    u8 launched;  // it has been entered since
    u8 release;   // it is to let go of it at the next interrupt from another core
    u8 pad2[6];
};

extern "C" {
extern FrameInfo frames[max_frames];
extern BlockInfo blocks[max_blocks];
extern CapTable cap_tables[max_frames];
extern PageTable page_tables[max_frames];
extern Domain domains[max_frames];
extern Space spaces[max_frames];
extern Thread threads[max_frames];
extern SchedContext sched_contexts[max_frames];
extern Endpoint endpoints[max_frames];
extern Notification notifications[max_frames];
extern Interrupt interrupts[max_frames];
extern Ports port_ranges[max_frames];
extern Mmio mmio_ranges[max_frames];
extern CoreObject core_objects[max_frames];
extern Vcpu vcpus[max_frames];
}

inline constexpr u32 max_kernel_devices = 16;

enum class Vendor : u8 { svm, vmx };
enum class TableFormat : u8 { long_mode, ept };

// Facts of the machine, set once at boot.
struct Machine {
    u64 xcr0;                // host's XCR0 and what guests may have
    u64 kernel_entries[2];   // PML4 entries 256 (direct map) and 511 (image) of every host space
    u64 kernel_tables_entry; // PML4 entry 510: frame and block tables
    u64 tsc_khz;
    u64 kernel_devices[max_kernel_devices]; // pages that no mapping may reach
    u32 kernel_device_count;
    u32 frame_limit; // frames[] below this exist
    u32 core_count;
    u32 tlb_tags; // ASIDs of a core
    u32 io_map;   // default permission maps: everything exits
    u32 msr_map;
    u32 host_frames; // two for each core, for the vendor's backend
    u8 has_next_rip;
    u8 has_decode_assist;
    u8 has_xsave;
    u8 physical_bits;
    u8 loses_paging; // emulator fault, see kernel/svm/quirks.hpp
    Vendor vendor;
    TableFormat guest_format; // of guest spaces' tables
};

extern Machine machine;
extern Core cores[max_cores];
extern u32 irq_of_vector[256]; // Interrupt object's frame

// Values that a hypercall hands back, read by the entry code right after it: rdx rdi rsi r8 r9 r10.
struct Values {
    u64 v[6];
};
extern Values results[max_cores];

} // namespace horos::core
