// Intel VMX: the capability MSRs (SDM vol. 3C 325384-077US appendix A) and the other MSRs VMX
// needs.
#pragma once

#include <cstdint>

namespace horos::vmx {

namespace msr {
inline constexpr uint32_t FEATURE_CONTROL = 0x3a;
inline constexpr uint32_t VMX_BASIC = 0x480;
inline constexpr uint32_t VMX_PINBASED_CTLS = 0x481;
inline constexpr uint32_t VMX_PROCBASED_CTLS = 0x482;
inline constexpr uint32_t VMX_EXIT_CTLS = 0x483;
inline constexpr uint32_t VMX_ENTRY_CTLS = 0x484;
inline constexpr uint32_t VMX_MISC = 0x485;
inline constexpr uint32_t VMX_CR0_FIXED0 = 0x486;
inline constexpr uint32_t VMX_CR0_FIXED1 = 0x487;
inline constexpr uint32_t VMX_CR4_FIXED0 = 0x488;
inline constexpr uint32_t VMX_CR4_FIXED1 = 0x489;
inline constexpr uint32_t VMX_VMCS_ENUM = 0x48a;
inline constexpr uint32_t VMX_PROCBASED_CTLS2 = 0x48b;
inline constexpr uint32_t VMX_EPT_VPID_CAP = 0x48c;
inline constexpr uint32_t VMX_TRUE_PINBASED_CTLS = 0x48d;
inline constexpr uint32_t VMX_TRUE_PROCBASED_CTLS = 0x48e;
inline constexpr uint32_t VMX_TRUE_EXIT_CTLS = 0x48f;
inline constexpr uint32_t VMX_TRUE_ENTRY_CTLS = 0x490;
inline constexpr uint32_t VMX_VMFUNC = 0x491;
inline constexpr uint32_t VMX_PROCBASED_CTLS3 = 0x492;

inline constexpr uint32_t SMBASE = 0x9e;
inline constexpr uint32_t PERF_GLOBAL_CTRL = 0x38f;
inline constexpr uint32_t RTIT_CTL = 0x570;
inline constexpr uint32_t PKRS = 0x6e1;
inline constexpr uint32_t BNDCFGS = 0xd90;
inline constexpr uint32_t LBR_CTL = 0x14ce;
} // namespace msr

// IA32_FEATURE_CONTROL (§23.7): locked, a write faults; unlocked, VMXON faults.
namespace feature_control {
inline constexpr uint64_t LOCK = 1ull << 0;
inline constexpr uint64_t VMXON_IN_SMX = 1ull << 1;
inline constexpr uint64_t VMXON_OUTSIDE_SMX = 1ull << 2;
} // namespace feature_control

// IA32_VMX_BASIC (§A.1).
namespace basic {
inline constexpr uint64_t REVISION = 0x7fffffffull; // bit 31 is 0
inline constexpr unsigned REGION_BYTES_SHIFT = 32;  // 44:32
inline constexpr uint64_t REGION_BYTES = 0x1fffull << REGION_BYTES_SHIFT;
inline constexpr uint64_t ADDRESSES_32_BIT = 1ull << 48;
inline constexpr uint64_t DUAL_MONITOR = 1ull << 49;
inline constexpr unsigned MEMORY_TYPE_SHIFT = 50; // 53:50
inline constexpr uint64_t MEMORY_TYPE = 0xfull << MEMORY_TYPE_SHIFT;
inline constexpr uint64_t INS_OUTS_INFORMATION = 1ull << 54;
inline constexpr uint64_t TRUE_CONTROLS = 1ull << 55;
// Hardware exceptions may be injected with or without an error code, whatever the vector (bit 56).
inline constexpr uint64_t ANY_ERROR_CODE = 1ull << 56;
} // namespace basic

// A 32-bit control's MSR: bits 31:0 must be 1 where set, bits 63:32 may be 1 where set (§A.2).
constexpr uint32_t allowed0(uint64_t capability) { return static_cast<uint32_t>(capability); }
constexpr uint32_t allowed1(uint64_t capability) { return static_cast<uint32_t>(capability >> 32); }

// IA32_VMX_MISC (§A.6).
namespace misc {
inline constexpr uint64_t TIMER_RATE = 0x1f; // the timer counts when this bit of the TSC changes
inline constexpr uint64_t EXIT_SAVES_LMA = 1ull << 5; // and unrestricted guest is there
inline constexpr uint64_t ACTIVITY_HLT = 1ull << 6;
inline constexpr uint64_t ACTIVITY_SHUTDOWN = 1ull << 7;
inline constexpr uint64_t ACTIVITY_WAIT_FOR_SIPI = 1ull << 8;
inline constexpr uint64_t PT_IN_VMX = 1ull << 14;
inline constexpr uint64_t SMBASE_READABLE = 1ull << 15;
inline constexpr unsigned CR3_TARGETS_SHIFT = 16; // 24:16
inline constexpr uint64_t CR3_TARGETS = 0x1ffull << CR3_TARGETS_SHIFT;
inline constexpr unsigned MSR_LIST_SHIFT = 25; // 27:25: N, lists of up to 512 * (N + 1)
inline constexpr uint64_t MSR_LIST = 7ull << MSR_LIST_SHIFT;
inline constexpr uint64_t SMM_BLOCK = 1ull << 28;
inline constexpr uint64_t VMWRITE_ANY = 1ull << 29; // read-only fields too
inline constexpr uint64_t INJECT_LENGTH_0 = 1ull << 30;
inline constexpr unsigned MSEG_REVISION_SHIFT = 32;
} // namespace misc

// IA32_VMX_EPT_VPID_CAP (§A.10).
namespace ept_cap {
inline constexpr uint64_t EXECUTE_ONLY = 1ull << 0;
inline constexpr uint64_t WALK_4 = 1ull << 6;
inline constexpr uint64_t WALK_5 = 1ull << 7;
inline constexpr uint64_t TYPE_UC = 1ull << 8;
inline constexpr uint64_t TYPE_WB = 1ull << 14;
inline constexpr uint64_t PAGE_2M = 1ull << 16;
inline constexpr uint64_t PAGE_1G = 1ull << 17;
inline constexpr uint64_t INVEPT = 1ull << 20;
inline constexpr uint64_t ACCESSED_DIRTY = 1ull << 21;
inline constexpr uint64_t ADVANCED_EXIT_INFO = 1ull << 22;
inline constexpr uint64_t SUPERVISOR_SHADOW_STACK = 1ull << 23;
inline constexpr uint64_t INVEPT_SINGLE = 1ull << 25;
inline constexpr uint64_t INVEPT_ALL = 1ull << 26;
inline constexpr uint64_t INVVPID = 1ull << 32;
inline constexpr uint64_t INVVPID_ADDRESS = 1ull << 40;
inline constexpr uint64_t INVVPID_SINGLE = 1ull << 41;
inline constexpr uint64_t INVVPID_ALL = 1ull << 42;
inline constexpr uint64_t INVVPID_SINGLE_KEEP_GLOBAL = 1ull << 43;
} // namespace ept_cap

} // namespace horos::vmx
