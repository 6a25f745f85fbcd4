// Intel VMX: exit reasons and exit information, event formats, VM-instruction errors
// (SDM vol. 3C 325384-077US §§24.8.3, 24.9, 27.2, 30.4 and appendix C).
#pragma once

#include <cstdint>

namespace horos::vmx {

// Basic exit reasons (appendix C); bits 15:0 of the exit-reason field.
enum class ExitReason : uint16_t {
    EXCEPTION_OR_NMI = 0,
    EXTERNAL_INTERRUPT = 1,
    TRIPLE_FAULT = 2,
    INIT = 3,
    SIPI = 4,
    IO_SMI = 5,
    OTHER_SMI = 6,
    INTERRUPT_WINDOW = 7,
    NMI_WINDOW = 8,
    TASK_SWITCH = 9,
    CPUID = 10,
    GETSEC = 11,
    HLT = 12,
    INVD = 13,
    INVLPG = 14,
    RDPMC = 15,
    RDTSC = 16,
    RSM = 17,
    VMCALL = 18,
    VMCLEAR = 19,
    VMLAUNCH = 20,
    VMPTRLD = 21,
    VMPTRST = 22,
    VMREAD = 23,
    VMRESUME = 24,
    VMWRITE = 25,
    VMXOFF = 26,
    VMXON = 27,
    CR_ACCESS = 28,
    MOV_DR = 29,
    IO = 30,
    RDMSR = 31,
    WRMSR = 32,
    ENTRY_GUEST_STATE = 33,
    ENTRY_MSR_LOAD = 34,
    MWAIT = 36,
    MONITOR_TRAP_FLAG = 37,
    MONITOR = 39,
    PAUSE = 40,
    ENTRY_MACHINE_CHECK = 41,
    TPR_BELOW_THRESHOLD = 43,
    APIC_ACCESS = 44,
    VIRTUALIZED_EOI = 45,
    GDTR_IDTR_ACCESS = 46,
    LDTR_TR_ACCESS = 47,
    EPT_VIOLATION = 48,
    EPT_MISCONFIGURATION = 49,
    INVEPT = 50,
    RDTSCP = 51,
    PREEMPTION_TIMER = 52,
    INVVPID = 53,
    WBINVD = 54, // or WBNOINVD
    XSETBV = 55,
    APIC_WRITE = 56,
    RDRAND = 57,
    INVPCID = 58,
    VMFUNC = 59,
    ENCLS = 60,
    RDSEED = 61,
    PML_FULL = 62,
    XSAVES = 63,
    XRSTORS = 64,
    PCONFIG = 65,
    SPP_EVENT = 66,
    UMWAIT = 67,
    TPAUSE = 68,
    LOADIWKEY = 69,
    ENCLV = 70,
};

// The rest of the exit-reason field (table 24-16).
namespace exit_reason {
inline constexpr uint32_t BASIC = 0xffff;
inline constexpr uint32_t ENCLAVE = 1u << 27;
inline constexpr uint32_t PENDING_MTF = 1u << 28;
inline constexpr uint32_t FROM_ROOT = 1u << 29;
inline constexpr uint32_t ENTRY_FAILURE = 1u << 31;
} // namespace exit_reason

// Exit qualification of an entry failure for invalid guest state (§26.8).
enum class EntryFailure : uint32_t {
    NONE = 0,
    PDPTE = 2,
    NMI_BLOCKED_BY_STI = 3,
    LINK_POINTER = 4,
};

// VM-instruction errors (§30.4).
enum class InstructionError : uint32_t {
    NONE = 0,
    VMCALL_IN_ROOT = 1,
    VMCLEAR_ADDRESS = 2,
    VMCLEAR_VMXON_POINTER = 3,
    VMLAUNCH_NOT_CLEAR = 4,
    VMRESUME_NOT_LAUNCHED = 5,
    VMRESUME_AFTER_VMXOFF = 6,
    ENTRY_CONTROLS = 7,
    ENTRY_HOST_STATE = 8,
    VMPTRLD_ADDRESS = 9,
    VMPTRLD_VMXON_POINTER = 10,
    VMPTRLD_REVISION = 11,
    UNSUPPORTED_FIELD = 12,
    VMWRITE_READ_ONLY = 13,
    VMXON_IN_ROOT = 15,
    ENTRY_EXECUTIVE_POINTER = 16,
    ENTRY_EXECUTIVE_NOT_LAUNCHED = 17,
    ENTRY_EXECUTIVE_NOT_VMXON = 18,
    VMCALL_NOT_CLEAR = 19,
    VMCALL_EXIT_CONTROLS = 20,
    VMCALL_MSEG_REVISION = 22,
    VMXOFF_DUAL_MONITOR = 23,
    VMCALL_SMM_FEATURES = 24,
    ENTRY_EXECUTIVE_CONTROLS = 25,
    ENTRY_BLOCKED_BY_MOV_SS = 26,
    INVEPT_INVVPID_OPERAND = 28,
};

// Interruption information: VM entry (table 24-16), VM exit (table 24-17), IDT vectoring (24-18).
namespace interruption {
inline constexpr uint32_t VECTOR = 0xff;
inline constexpr unsigned TYPE_SHIFT = 8;
inline constexpr uint32_t TYPE = 7u << TYPE_SHIFT;
inline constexpr uint32_t ERROR_CODE_VALID = 1u << 11; // on entry: deliver an error code
inline constexpr uint32_t NMI_UNBLOCKING = 1u << 12;   // exits only: NMI unblocking due to IRET
inline constexpr uint32_t RESERVED_ENTRY = 0x7ffff000u;
inline constexpr uint32_t VALID = 1u << 31;
inline constexpr uint32_t EVENT = VALID | ERROR_CODE_VALID | TYPE | VECTOR;
} // namespace interruption
// Exceptions for which an entry demands an error code in protected mode (§26.2.1.3).
inline constexpr uint32_t VECTORS_WITH_ERROR_CODE =
    1u << 8 | 1u << 10 | 1u << 11 | 1u << 12 | 1u << 13 | 1u << 14 | 1u << 17;
enum class InterruptionType : uint8_t {
    EXTERNAL = 0,
    NMI = 2,
    HARDWARE_EXCEPTION = 3,
    SOFTWARE_INTERRUPT = 4,
    PRIVILEGED_SOFTWARE_EXCEPTION = 5, // INT1
    SOFTWARE_EXCEPTION = 6,            // INT3, INTO
    OTHER = 7,                         // on entry: a pending MTF exit
};
constexpr uint32_t make_interruption(InterruptionType type, uint8_t vector) {
    return interruption::VALID | (static_cast<uint32_t>(type) << interruption::TYPE_SHIFT) | vector;
}

// Exit qualification of CR accesses (table 27-3).
namespace cr_access {
inline constexpr uint64_t NUMBER = 0xf;
inline constexpr unsigned TYPE_SHIFT = 4;
inline constexpr uint64_t TYPE = 3ull << TYPE_SHIFT;
inline constexpr uint64_t MOV_TO = 0ull << TYPE_SHIFT;
inline constexpr uint64_t MOV_FROM = 1ull << TYPE_SHIFT;
inline constexpr uint64_t CLTS = 2ull << TYPE_SHIFT;
inline constexpr uint64_t LMSW = 3ull << TYPE_SHIFT;
inline constexpr uint64_t LMSW_MEMORY = 1ull << 6;
inline constexpr unsigned GPR_SHIFT = 8;
inline constexpr uint64_t GPR = 0xfull << GPR_SHIFT;
inline constexpr unsigned LMSW_SOURCE_SHIFT = 16;
} // namespace cr_access

// Exit qualification of MOV DR (table 27-4).
namespace dr_access {
inline constexpr uint64_t NUMBER = 7;
inline constexpr uint64_t FROM = 1ull << 4;
inline constexpr unsigned GPR_SHIFT = 8;
} // namespace dr_access

// Exit qualification of I/O instructions (table 27-5).
namespace io_access {
inline constexpr uint64_t SIZE = 7; // 0, 1, 3: one, two, four bytes
inline constexpr uint64_t IN = 1ull << 3;
inline constexpr uint64_t STRING = 1ull << 4;
inline constexpr uint64_t REP = 1ull << 5;
inline constexpr uint64_t IMMEDIATE = 1ull << 6;
inline constexpr unsigned PORT_SHIFT = 16;
} // namespace io_access

// Exit qualification of a task switch (table 27-2).
namespace task_switch {
inline constexpr uint64_t SELECTOR = 0xffff;
inline constexpr unsigned SOURCE_SHIFT = 30;
inline constexpr uint64_t CALL = 0ull << SOURCE_SHIFT;
inline constexpr uint64_t IRET = 1ull << SOURCE_SHIFT;
inline constexpr uint64_t JMP = 2ull << SOURCE_SHIFT;
inline constexpr uint64_t IDT_GATE = 3ull << SOURCE_SHIFT;
} // namespace task_switch

// Exit qualification of debug exceptions (table 27-1).
namespace debug_exit {
inline constexpr uint64_t B0_B3 = 0xf;
inline constexpr uint64_t BD = 1ull << 13;
inline constexpr uint64_t BS = 1ull << 14;
} // namespace debug_exit

// Exit qualification of an APIC access (table 27-6).
namespace apic_access {
inline constexpr uint64_t OFFSET = 0xfff;
inline constexpr unsigned TYPE_SHIFT = 12;
inline constexpr uint64_t LINEAR_READ = 0ull << TYPE_SHIFT;
inline constexpr uint64_t LINEAR_WRITE = 1ull << TYPE_SHIFT;
inline constexpr uint64_t LINEAR_FETCH = 2ull << TYPE_SHIFT;
inline constexpr uint64_t LINEAR_EVENT = 3ull << TYPE_SHIFT;
inline constexpr uint64_t PHYSICAL_EVENT = 10ull << TYPE_SHIFT;
inline constexpr uint64_t PHYSICAL_OTHER = 15ull << TYPE_SHIFT;
} // namespace apic_access

// Exit qualification of an EPT violation (table 27-7).
namespace ept_violation {
inline constexpr uint64_t READ = 1ull << 0;
inline constexpr uint64_t WRITE = 1ull << 1;
inline constexpr uint64_t FETCH = 1ull << 2;
inline constexpr uint64_t READABLE = 1ull << 3;
inline constexpr uint64_t WRITABLE = 1ull << 4;
inline constexpr uint64_t EXECUTABLE = 1ull << 5;
inline constexpr uint64_t USER_EXECUTABLE = 1ull << 6;
inline constexpr uint64_t LINEAR_VALID = 1ull << 7;
inline constexpr uint64_t TRANSLATED = 1ull << 8;  // 0: an access to a guest paging-structure entry
inline constexpr uint64_t LINEAR_USER = 1ull << 9; // with advanced exit information
inline constexpr uint64_t LINEAR_WRITABLE = 1ull << 10; // with advanced exit information
inline constexpr uint64_t LINEAR_NX = 1ull << 11;       // with advanced exit information
inline constexpr uint64_t NMI_UNBLOCKING = 1ull << 12;
inline constexpr uint64_t SHADOW_STACK = 1ull << 13;
} // namespace ept_violation

// INVEPT and INVVPID types (§30.3).
enum class InveptType : uint64_t { SINGLE_CONTEXT = 1, ALL = 2 };
enum class InvvpidType : uint64_t { ADDRESS = 0, SINGLE = 1, ALL = 2, SINGLE_KEEP_GLOBAL = 3 };

} // namespace horos::vmx
