// Intel VMX: the bits of the control fields (SDM vol. 3C 325384-077US §§24.6-24.8).
#pragma once

#include <cstdint>

namespace horos::vmx {

// Pin-based VM-execution controls (table 24-5).
namespace pin {
inline constexpr uint32_t EXTERNAL_INTERRUPT_EXITING = 1u << 0;
inline constexpr uint32_t NMI_EXITING = 1u << 3;
inline constexpr uint32_t VIRTUAL_NMIS = 1u << 5;
inline constexpr uint32_t PREEMPTION_TIMER = 1u << 6;
inline constexpr uint32_t POSTED_INTERRUPTS = 1u << 7;
} // namespace pin

// Primary processor-based VM-execution controls (table 24-6).
namespace proc {
inline constexpr uint32_t INTERRUPT_WINDOW_EXITING = 1u << 2;
inline constexpr uint32_t USE_TSC_OFFSETTING = 1u << 3;
inline constexpr uint32_t HLT_EXITING = 1u << 7;
inline constexpr uint32_t INVLPG_EXITING = 1u << 9;
inline constexpr uint32_t MWAIT_EXITING = 1u << 10;
inline constexpr uint32_t RDPMC_EXITING = 1u << 11;
inline constexpr uint32_t RDTSC_EXITING = 1u << 12;
inline constexpr uint32_t CR3_LOAD_EXITING = 1u << 15;
inline constexpr uint32_t CR3_STORE_EXITING = 1u << 16;
inline constexpr uint32_t ACTIVATE_TERTIARY = 1u << 17;
inline constexpr uint32_t CR8_LOAD_EXITING = 1u << 19;
inline constexpr uint32_t CR8_STORE_EXITING = 1u << 20;
inline constexpr uint32_t USE_TPR_SHADOW = 1u << 21;
inline constexpr uint32_t NMI_WINDOW_EXITING = 1u << 22;
inline constexpr uint32_t MOV_DR_EXITING = 1u << 23;
inline constexpr uint32_t UNCONDITIONAL_IO_EXITING = 1u << 24;
inline constexpr uint32_t USE_IO_BITMAPS = 1u << 25;
inline constexpr uint32_t MONITOR_TRAP_FLAG = 1u << 27;
inline constexpr uint32_t USE_MSR_BITMAPS = 1u << 28;
inline constexpr uint32_t MONITOR_EXITING = 1u << 29;
inline constexpr uint32_t PAUSE_EXITING = 1u << 30;
inline constexpr uint32_t ACTIVATE_SECONDARY = 1u << 31;
} // namespace proc

// Secondary processor-based VM-execution controls (table 24-7).
namespace proc2 {
inline constexpr uint32_t VIRTUALIZE_APIC_ACCESSES = 1u << 0;
inline constexpr uint32_t ENABLE_EPT = 1u << 1;
inline constexpr uint32_t DESCRIPTOR_TABLE_EXITING = 1u << 2;
inline constexpr uint32_t ENABLE_RDTSCP = 1u << 3;
inline constexpr uint32_t VIRTUALIZE_X2APIC = 1u << 4;
inline constexpr uint32_t ENABLE_VPID = 1u << 5;
inline constexpr uint32_t WBINVD_EXITING = 1u << 6;
inline constexpr uint32_t UNRESTRICTED_GUEST = 1u << 7;
inline constexpr uint32_t APIC_REGISTER_VIRTUALIZATION = 1u << 8;
inline constexpr uint32_t VIRTUAL_INTERRUPT_DELIVERY = 1u << 9;
inline constexpr uint32_t PAUSE_LOOP_EXITING = 1u << 10;
inline constexpr uint32_t RDRAND_EXITING = 1u << 11;
inline constexpr uint32_t ENABLE_INVPCID = 1u << 12;
inline constexpr uint32_t ENABLE_VM_FUNCTIONS = 1u << 13;
inline constexpr uint32_t VMCS_SHADOWING = 1u << 14;
inline constexpr uint32_t ENCLS_EXITING = 1u << 15;
inline constexpr uint32_t RDSEED_EXITING = 1u << 16;
inline constexpr uint32_t ENABLE_PML = 1u << 17;
inline constexpr uint32_t EPT_VIOLATION_VE = 1u << 18;
inline constexpr uint32_t CONCEAL_FROM_PT = 1u << 19;
inline constexpr uint32_t ENABLE_XSAVES = 1u << 20;
inline constexpr uint32_t MODE_BASED_EPT_EXECUTE = 1u << 22;
inline constexpr uint32_t SUB_PAGE_WRITE = 1u << 23;
inline constexpr uint32_t PT_GUEST_PHYSICAL = 1u << 24;
inline constexpr uint32_t USE_TSC_SCALING = 1u << 25;
inline constexpr uint32_t USER_WAIT_PAUSE = 1u << 26;
inline constexpr uint32_t ENABLE_PCONFIG = 1u << 27;
inline constexpr uint32_t ENCLV_EXITING = 1u << 28;
} // namespace proc2

// Tertiary processor-based VM-execution controls (table 24-8).
namespace proc3 {
inline constexpr uint64_t LOADIWKEY_EXITING = 1ull << 0;
inline constexpr uint64_t ENABLE_HLAT = 1ull << 1;
inline constexpr uint64_t EPT_PAGING_WRITE = 1ull << 2;
inline constexpr uint64_t GUEST_PAGING_VERIFICATION = 1ull << 3;
} // namespace proc3

// Registers of a virtualised x2APIC, bit n for MSR 800h + n: reads that the processor answers from
// the virtual-APIC page (the current count is not in it), writes that it serves: TPR, EOI and SELF
// IPI (§29.5).
namespace virtual_x2apic {
inline constexpr uint64_t READ = 0x41fd'01ff'ffff'a50c;
inline constexpr uint64_t WRITTEN = 1ull << 0x08 | 1ull << 0x0b | 1ull << 0x3f;
} // namespace virtual_x2apic

// VM-exit controls (table 24-13).
namespace exit_ctl {
inline constexpr uint32_t SAVE_DEBUG_CONTROLS = 1u << 2;
inline constexpr uint32_t HOST_64BIT = 1u << 9; // "host address-space size"
inline constexpr uint32_t LOAD_PERF_GLOBAL_CTRL = 1u << 12;
inline constexpr uint32_t ACKNOWLEDGE_INTERRUPT = 1u << 15;
inline constexpr uint32_t SAVE_PAT = 1u << 18;
inline constexpr uint32_t LOAD_PAT = 1u << 19;
inline constexpr uint32_t SAVE_EFER = 1u << 20;
inline constexpr uint32_t LOAD_EFER = 1u << 21;
inline constexpr uint32_t SAVE_PREEMPTION_TIMER = 1u << 22;
inline constexpr uint32_t CLEAR_BNDCFGS = 1u << 23;
inline constexpr uint32_t CONCEAL_FROM_PT = 1u << 24;
inline constexpr uint32_t CLEAR_RTIT_CTL = 1u << 25;
inline constexpr uint32_t CLEAR_LBR_CTL = 1u << 26;
inline constexpr uint32_t LOAD_CET = 1u << 28;
inline constexpr uint32_t LOAD_PKRS = 1u << 29;
} // namespace exit_ctl

// VM-entry controls (table 24-15).
namespace entry_ctl {
inline constexpr uint32_t LOAD_DEBUG_CONTROLS = 1u << 2;
inline constexpr uint32_t IA32E_MODE_GUEST = 1u << 9;
inline constexpr uint32_t ENTRY_TO_SMM = 1u << 10;
inline constexpr uint32_t DEACTIVATE_DUAL_MONITOR = 1u << 11;
inline constexpr uint32_t LOAD_PERF_GLOBAL_CTRL = 1u << 13;
inline constexpr uint32_t LOAD_PAT = 1u << 14;
inline constexpr uint32_t LOAD_EFER = 1u << 15;
inline constexpr uint32_t LOAD_BNDCFGS = 1u << 16;
inline constexpr uint32_t CONCEAL_FROM_PT = 1u << 17;
inline constexpr uint32_t LOAD_RTIT_CTL = 1u << 18;
inline constexpr uint32_t LOAD_CET = 1u << 20;
inline constexpr uint32_t LOAD_LBR_CTL = 1u << 21;
inline constexpr uint32_t LOAD_PKRS = 1u << 22;
} // namespace entry_ctl

// VM-function controls (table 24-10) and the functions' numbers (§25.5.5).
namespace vmfunc {
inline constexpr uint64_t EPTP_SWITCHING = 1ull << 0;
inline constexpr uint32_t FUNCTION_EPTP_SWITCHING = 0;
inline constexpr unsigned EPTP_LIST_ENTRIES = 512;
} // namespace vmfunc

// Guest interruptibility state (table 24-3).
namespace interruptibility {
inline constexpr uint32_t BLOCKING_BY_STI = 1u << 0;
inline constexpr uint32_t BLOCKING_BY_MOV_SS = 1u << 1;
inline constexpr uint32_t SHADOWS = BLOCKING_BY_STI | BLOCKING_BY_MOV_SS;
inline constexpr uint32_t BLOCKING_BY_SMI = 1u << 2;
inline constexpr uint32_t BLOCKING_BY_NMI = 1u << 3;
inline constexpr uint32_t ENCLAVE_INTERRUPTION = 1u << 4;
inline constexpr uint32_t RESERVED = ~0x1fu;
} // namespace interruptibility

// Guest activity state (§24.4.2).
enum class Activity : uint32_t { ACTIVE = 0, HLT = 1, SHUTDOWN = 2, WAIT_FOR_SIPI = 3 };

// Pending debug exceptions (table 24-4).
namespace pending_debug {
inline constexpr uint64_t B0_B3 = 0xf;
inline constexpr uint64_t ENABLED_BREAKPOINT = 1ull << 12;
inline constexpr uint64_t BS = 1ull << 14;
inline constexpr uint64_t RTM = 1ull << 16;
inline constexpr uint64_t RESERVED = ~(B0_B3 | ENABLED_BREAKPOINT | BS | RTM);
} // namespace pending_debug

// Access rights of a guest segment (table 24-2).
namespace rights {
inline constexpr uint32_t TYPE = 0xf;
inline constexpr uint32_t ACCESSED = 1u << 0;
inline constexpr uint32_t WRITABLE = 1u << 1; // data
inline constexpr uint32_t READABLE = 1u << 1; // code
inline constexpr uint32_t EXPAND_DOWN = 1u << 2;
inline constexpr uint32_t CONFORMING = 1u << 2;
inline constexpr uint32_t CODE = 1u << 3;
inline constexpr uint32_t S = 1u << 4;
inline constexpr unsigned DPL_SHIFT = 5;
inline constexpr uint32_t DPL = 3u << DPL_SHIFT;
inline constexpr uint32_t P = 1u << 7;
inline constexpr uint32_t RESERVED_LOW = 0xfu << 8; // bits 11:8
inline constexpr uint32_t AVL = 1u << 12;
inline constexpr uint32_t L = 1u << 13; // CS only
inline constexpr uint32_t DB = 1u << 14;
inline constexpr uint32_t G = 1u << 15;
inline constexpr uint32_t UNUSABLE = 1u << 16;
inline constexpr uint32_t RESERVED_HIGH = 0xfffe0000u; // bits 31:17
} // namespace rights
// The 12-bit form of defs/x86.hpp (attributes side by side) and this one (bits 11:8 left out).
constexpr uint32_t rights_of(uint16_t attributes) {
    return (attributes & 0xffu) | ((attributes & 0xf00u) << 4);
}
constexpr uint16_t attributes_of(uint32_t rights) {
    return static_cast<uint16_t>((rights & 0xffu) | ((rights >> 4) & 0xf00u));
}

} // namespace horos::vmx
