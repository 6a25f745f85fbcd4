// The page that a virtual CPU shares with its virtual machine monitor (VMM). The same for SVM and
// VMX. At an exit the kernel writes it; at vcpu_run the kernel reads what the VMM asks for, each
// field once, and the guard checks it before anything reaches the processor. VcpuPage is the whole
// of it.
#pragma once
#include <horos/abi/types.hpp>

namespace horos::abi {

// Groups of fields. The VMM sets a bit in `dirty` when it changed a field of that group; the kernel
// takes over the group at the next vcpu_run and clears the bit. Until then, and afterwards, what
// was taken over stays in force. A bit in `wanted` makes the kernel store that group at every exit.
// General registers, rip and rflags are always taken and stored.
namespace group {
inline constexpr u32 control = 1u << 0;  // cr0 cr3 cr4 efer
inline constexpr u32 segments = 1u << 1; // es cs ss ds fs gs ldtr tr gdtr idtr
inline constexpr u32 debug = 1u << 2;    // dr0..dr3 dr6 dr7
inline constexpr u32 system = 1u << 3;   // star lstar cstar sfmask kernel_gs_base sysenter_* pat
inline constexpr u32 policy = 1u << 4;   // tsc_offset xcr0 exception_exits extra_exits eoi_exits
                                         // virtual_apic apic_page
inline constexpr u32 events = 1u << 5;   // inject deadline pending_interrupt requests tpr
                                         // interrupt_shadow interrupt_status
inline constexpr u32 fault_address = 1u << 6; // cr2
inline constexpr u32 all = 127;
} // namespace group

enum class ExitReason : u32 {
    none = 0,
    notified = 1, // the thread's bound notification was signalled; info[0] = bits
    deadline = 2, // `deadline` has passed
    window = 3,   // the guest can take an interrupt now (after request::window)
    cpuid = 4,
    io = 5, // info[0]: io_access
    rdmsr = 6,
    wrmsr = 7,
    hlt = 8,
    memory = 9,  // guest-physical address info[0], access info[1] (memory_flag bits, others 0)
    vmcall = 10, // VMMCALL or VMCALL
    xsetbv = 11,
    shutdown = 12,  // triple fault
    exception = 13, // info[0] = vector, info[1] = error code, info[2] = CR2 for #PF
    cr_access = 14, // info[0] = control register; 16 more for a write
    dr_access = 15, // info[0] = debug register; 16 more for a write
    wbinvd = 16,
    invd = 17,
    monitor = 18,
    mwait = 19,
    rdpmc = 20,
    pause = 21,
    invlpg = 22,
    svm_vmx_instruction = 23, // virtualisation instruction: info[0] = vendor's exit code
    rsm = 24,
    task_switch = 25,
    init = 26,
    entry_refused = 27, // the processor refused the state; info[0] = vendor's code
    descriptor_access = 28,
    rdtsc = 29,
    rdtscp = 30,
    software_interrupt = 31,
    iret = 32,
    pushf_popf = 33,
    smi = 34,
    nmi_window = 35,
    // With a virtual APIC. The first two come after the instruction.
    eoi = 36,         // of the vector info[0], which is in eoi_exits
    apic_write = 37,  // to the register at info[0], which has the value in VcpuPage::apic
    apic_access = 38, // not served by the processor: offset info[0] 11:0, apic_access_type 15:12
    unknown = 63      // info[0] = vendor's exit code
};

// info[0] of ExitReason::io. Bit layout of APM vol. 2 §15.10.2 (EXITINFO1 of IOIO); VMX's
// qualification is brought into it.
namespace io_access {
inline constexpr u64 in = 1; // else OUT
inline constexpr u64 string = 1 << 2;
inline constexpr u64 rep = 1 << 3;
inline constexpr u64 bytes_shift = 4;    // operand size: 1, 2 or 4 (3 bits)
inline constexpr u64 address_shift = 7;  // address size in words: 1, 2 or 4 (3 bits)
inline constexpr u64 segment_shift = 10; // of a string access (3 bits)
inline constexpr u64 port_shift = 16;    // 16 bits
} // namespace io_access

// info[1] of ExitReason::memory. Bit layout of APM vol. 2 §15.25.6, which is that of a page fault's
// error code.
namespace memory_flag {
inline constexpr u64 present = 1; // the nested entry is there but forbids the access
inline constexpr u64 write = 1 << 1;
inline constexpr u64 fetch = 1 << 4;
inline constexpr u64 page_walk = u64{1} << 33; // the guest's page tables were being read or marked
} // namespace memory_flag

namespace request {                  // bits of VcpuState::requests
inline constexpr u32 window = 1;     // exit as soon as the guest can take an external interrupt
inline constexpr u32 nmi_window = 2; // exit as soon as the guest can take an NMI (after IRET)
} // namespace request

// How the processor serves the guest's accesses to its local APIC: VcpuState::virtual_apic, and
// bits of virtual_apics. In the first two ways it answers reads from VcpuPage::apic, writes of most
// registers to it, recognises and delivers the interrupts whose bits are set in the IRR there, and
// ends them at the guest's EOI (SDM vol. 3C chapter 29). `pending_interrupt` is not for them. With
// task_priority it serves TPR alone, every other access to the page exits (apic_access), and
// interrupts go in by `pending_interrupt`. In all ways TPR is in VcpuPage::apic, not in `tpr`.
namespace virtual_apic {
inline constexpr u32 none = 0;
inline constexpr u32 x2apic = 1; // MSRs 800h-8FFh: all registers read, TPR, EOI, SELF IPI written
inline constexpr u32 memory = 2; // the page where the guest has mapped the frame apic_page
inline constexpr u32 task_priority = 4; // the same page, TPR alone
inline constexpr u32 known = 7;
inline constexpr u32 delivering = x2apic | memory;
inline constexpr u32 in_page = memory | task_priority; // what needs apic_page
} // namespace virtual_apic

// info[0] of ExitReason::apic_access (SDM vol. 3C table 27-6).
namespace apic_access_type {
inline constexpr u64 shift = 12;
inline constexpr u64 read = 0, write = 1, fetch = 2, event = 3;
} // namespace apic_access_type

namespace pending { // VcpuState::pending_interrupt
inline constexpr u64 valid = u64{1} << 8;
} // namespace pending

// Rules of the guard that are not rules of the processor; the processor's have smaller numbers
// (defs/svm_rules.hpp).
namespace guard_rule {
inline constexpr u32 xcr0 = 0x8001;        // xcr0: x87 missing, AVX without SSE, or not offered
inline constexpr u32 extra_exits = 0x8002; // an unknown bit in extra_exits
// EFER.LME without CR0.PG and CR4.PAE, where an emulator would lose the host
// (kernel/svm/quirks.hpp)
inline constexpr u32 long_mode_without_pae = 0x8003;
inline constexpr u32 msrs = 0x8004; // lstar, cstar, sfmask or kernel_gs_base: WRMSR would fault
inline constexpr u32 virtual_apic = 0x8005; // not one way of those in virtual_apics
} // namespace guard_rule

// Optional exits that a VMM may ask for in `extra_exits`. What is mandatory is not listed.
namespace extra_exit {
inline constexpr u32 pause = 1u << 0;
inline constexpr u32 rdtsc = 1u << 1;
inline constexpr u32 invlpg = 1u << 2;
inline constexpr u32 dr_access = 1u << 3;
inline constexpr u32 cr3_write = 1u << 4;
inline constexpr u32 cr0_write = 1u << 5;
inline constexpr u32 cr4_write = 1u << 6;
inline constexpr u32 cr8 = 1u << 7;
inline constexpr u32 descriptor_access = 1u << 8;
inline constexpr u32 known = (1u << 9) - 1;
} // namespace extra_exit

// An event to inject or one whose delivery an exit interrupted. Bit layout of APM vol. 2 §15.20
// (EVENTINJ): vector 7:0, type 10:8 (0 external interrupt, 2 NMI, 3 exception, 4 software
// interrupt), error code valid 11, valid 31, error code 63:32. VMX's format is made from it.
namespace event {
inline constexpr u64 vector_mask = 0xff;
inline constexpr u64 type_shift = 8;
inline constexpr u64 external = 0, nmi = 2, exception = 3, software = 4;
inline constexpr u64 has_error_code = u64{1} << 11;
inline constexpr u64 valid = u64{1} << 31;
inline constexpr u64 error_code_shift = 32;
} // namespace event

// Attributes packed as in the VMCB (APM vol. 2 §15.5.1): type 3:0, S 4, DPL 6:5, P 7, AVL 8, L 9,
// D/B 10, G 11.
struct Segment {
    u16 selector;
    u16 attributes;
    u32 limit;
    u64 base;
};

enum class Gpr : u32 {
    rax,
    rcx,
    rdx,
    rbx,
    rsp,
    rbp,
    rsi,
    rdi,
    r8,
    r9,
    r10,
    r11,
    r12,
    r13,
    r14,
    r15
};

struct VcpuState {
    // Always taken at entry and stored at an exit.
    u64 gpr[16]; // in the order of Gpr
    u64 rip;
    u64 rflags;
    // group::events; the last three are stored at every exit.
    u64 inject;   // event to inject at the next entry (event::), 0 = none; cleared when taken
    u64 deadline; // TSC value at which vcpu_run comes back; no_deadline = never
    u64 pending_interrupt; // external interrupt to deliver as soon as the guest can take it, with
                           // priority vector / 16 against tpr: pending::valid | vector. Set to 0
                           // when it was delivered.
    u32 requests;          // request:: bits
    u32 interrupt_shadow;  // 1: the guest is in an interrupt shadow
    u32 tpr;               // guest task priority, 0..15 (CR8)
    u32 dirty;             // group:: bits the VMM changed
    u32 wanted;            // group:: bits to store at each exit
    // Written at an exit.
    u32 exit_reason;       // ExitReason
    u64 next_rip;          // of the instruction after the one that exited; 0: not known
    u32 cpl;               // current privilege level
    u32 instruction_count; // bytes valid in `instruction`, only after ExitReason::memory; 0: the
                           // processor does not tell
    u64 info[4];           // meaning: see ExitReason
    u64 interrupted_event; // event whose delivery the exit cut off (event::), 0 = none
    u64 instruction[2];    // up to 15 bytes
    // group::fault_address in the middle of group::control. The latter, cpl, cs and ss are stored
    // at every exit but those of IN and OUT, which come with next_rip and need no decoding.
    u64 cr0, cr2, cr3, cr4, efer;
    // group::segments
    Segment es, cs, ss, ds, fs, gs, ldtr, tr, gdtr, idtr;
    // group::debug
    u64 dr[4];
    u64 dr6, dr7;
    // group::system
    u64 star, lstar, cstar, sfmask, kernel_gs_base, sysenter_cs, sysenter_esp, sysenter_eip, pat;
    // group::policy
    u64 tsc_offset;      // guest TSC = host TSC + tsc_offset
    u64 xcr0;            // guest XCR0: 1, or bits the host's XCR0 has too
    u32 exception_exits; // exceptions that exit, a bit per vector, besides the mandatory ones
    u32 extra_exits;     // extra_exit:: bits
    // Of a processor that offers a virtual APIC. Without one, nobody looks at these.
    u64 eoi_exits[4]; // group::policy: vectors whose EOI exits, a bit for each
    u32 virtual_apic; // group::policy: virtual_apic::
    u32 apic_page;    // group::policy: in the ways of virtual_apic::in_page, a frame of the VMM's
                      // own, which cannot become an object meanwhile. Nothing is read or written
                      // there.
    u32 interrupt_status; // group::events, in the ways of virtual_apic::delivering: highest vector
                          // of the IRR in 7:0, of the ISR in 15:8; 0 = none
    u32 virtual_apics; // written at each exit: the ways that the processor offers, a bit for each
    u64 reserved[2];
};
inline constexpr u64 vcpu_state_offset = 0x400; // in the page

struct VcpuPage {
    u32 apic[vcpu_state_offset /
             4]; // the guest's local APIC: the register at offset n is apic[n / 4]
    VcpuState state;
    u8 pad[4096 - vcpu_state_offset - sizeof(VcpuState)];
};
static_assert(offsetof(VcpuPage, state) == vcpu_state_offset);
static_assert(offsetof(VcpuState, rip) == 128 && offsetof(VcpuState, info) == 208);

} // namespace horos::abi
