// What each CPU has for itself, reached through GS in the kernel.
#pragma once
#include "asm_offsets.h"
#include "kernel/core/entry.hpp"
#include "types.hpp"
#include <horos/abi/gen/calls.hpp>

namespace horos::arch {

struct [[gnu::packed]] TaskState { // APM vol. 2 §12.2.5, 64-bit TSS
    u32 reserved0;
    u64 rsp[3];
    u64 reserved1;
    u64 ist[7];
    u64 reserved2;
    u16 reserved3;
    u16 io_map_base; // beyond the limit: ring 3 has no ports
};
static_assert(sizeof(TaskState) == 104);

struct PerCpu {
    PerCpu* self;
    u64 user_rsp;          // scratch of the SYSCALL entry
    u64 kernel_rsp;        // top of this CPU's stack
    core::Registers* regs; // of the thread that runs in ring 3
    core::Values* results;
    u64 window_vector; // interrupt taken in ring 0's window
    u32 flush_pending; // another core waits for our TLB flush
    u32 core;
    u64 cr3;                // loaded now
    u64 fs_base;            // loaded now
    u64 fpu_live;           // CR0.TS is clear
    core::Core* core_state; // of this core
    u64 host_state;         // SVM: what VMLOAD restores after an exit, physical address and address
    u64 host_state_area;
    u64 timer; // TSC the timer is set to
    u32 apic_id;
    u32 online;
    u64 gdt[8];
    TaskState tss;
};
static_assert(sizeof(PerCpu) <= 4096);
static_assert(offsetof(PerCpu, self) == PC_SELF && offsetof(PerCpu, user_rsp) == PC_USER_RSP &&
              offsetof(PerCpu, kernel_rsp) == PC_KERNEL_RSP && offsetof(PerCpu, regs) == PC_REGS &&
              offsetof(PerCpu, results) == PC_RESULTS &&
              offsetof(PerCpu, window_vector) == PC_WINDOW_VECTOR &&
              offsetof(PerCpu, flush_pending) == PC_FLUSH_PENDING &&
              offsetof(PerCpu, core) == PC_CORE);
static_assert(offsetof(PerCpu, cr3) == PC_CR3 && offsetof(PerCpu, fs_base) == PC_FS_BASE &&
              offsetof(PerCpu, fpu_live) == PC_FPU_LIVE &&
              offsetof(PerCpu, core_state) == PC_CORE_STATE &&
              offsetof(PerCpu, host_state) == PC_HOST_STATE &&
              offsetof(PerCpu, host_state_area) == PC_HOST_STATE_AREA);
static_assert(offsetof(core::Registers, fs_base) == RG_FS_BASE &&
              offsetof(core::Thread, tables) == TH_TABLES);
static_assert(offsetof(core::Registers, rip) == RG_RIP &&
              offsetof(core::Registers, rflags) == RG_RFLAGS &&
              offsetof(core::Registers, full) == RG_FULL && offsetof(core::Thread, regs) == 0);
static_assert(core::result_values == RESULT_VALUES && core::result_switch == RESULT_SWITCH &&
              core::result_value_shift == RESULT_VALUE_SHIFT);
static_assert(static_cast<u32>(abi::Call::call) == CALL_NUMBER &&
              static_cast<u32>(abi::Call::reply_receive) == REPLY_RECEIVE_NUMBER);

inline PerCpu& this_cpu() {
    PerCpu* cpu;
    asm("mov %%gs:%c1, %0" : "=r"(cpu) : "i"(PC_SELF));
    return *cpu;
}
PerCpu& cpu_area(u32 core);

// Interrupt vectors. 0x20..0x2f take what the masked legacy controllers may still send.
namespace vector {
inline constexpr u8 legacy_first = 0x20;
inline constexpr u8 device_first = 0x30; // lines and messages: the core hands them out
inline constexpr u8 device_last = 0xd7;
inline constexpr u8 reschedule = 0xf0;
inline constexpr u8 flush = 0xf1;
inline constexpr u8 timer = 0xf2;
inline constexpr u8 spurious = 0xff;
} // namespace vector

// CPU features found at boot on the first processor; the others must have them too.
struct Features {
    bool smep, smap, umip, pge, x2apic, tsc_deadline, xsave, crc32, pcid;
};
extern Features features;

Complaint check_cpu();        // names what is missing
void enable_features();       // control registers of this CPU
void load_segments(u32 core); // GDT, TSS, IDT, GS base, SYSCALL registers
void build_idt();

} // namespace horos::arch
