// The names of the rules of a VM entry: what the kernel's guard answers when it refuses a request,
// and what the reference model, the fuzzer and `horos-explain` report. Numbers are stable: a new
// rule takes a new number. The rules themselves are in model/; docs/reference/vmx-rules.md lists
// them. Sections are of the Intel SDM vol. 3C, order number 325384-077US.
#pragma once

#include <cstdint>

namespace horos::vmx {

enum class RuleId : uint16_t {
    NONE = 0, // no rule is broken

    // VMLAUNCH and VMRESUME themselves (§26.1, §30.3).
    INSN_VMX_OPERATION = 1, // #UD: in VMX operation
    INSN_MODE = 2,          // #UD: CR0.PE, not virtual-8086 mode, not compatibility mode
    INSN_CPL0 = 3,          // #GP(0): CPL is 0
    INSN_CURRENT_VMCS = 4,  // VMfailInvalid: there is a current VMCS
    INSN_SHADOW_VMCS = 5,   // VMfailInvalid: the current VMCS is no shadow VMCS
    INSN_MOV_SS = 6,        // VMfailValid 26: no blocking by MOV SS
    INSN_CLEAR = 7,         // VMfailValid 4: VMLAUNCH needs launch state clear
    INSN_LAUNCHED = 8,      // VMfailValid 5: VMRESUME needs launch state launched

    // VM-execution controls (§26.2.1.1): VMfailValid 7.
    PIN_RESERVED = 16,
    PROC_RESERVED = 17,
    PROC2_RESERVED = 18,
    PROC3_RESERVED = 19,
    CR3_TARGET_COUNT = 20,
    IO_BITMAP_A_ADDRESS = 21,
    IO_BITMAP_B_ADDRESS = 22,
    MSR_BITMAP_ADDRESS = 23,
    VIRTUAL_APIC_ADDRESS = 24,
    TPR_THRESHOLD_HIGH = 25,
    TPR_THRESHOLD_VTPR = 26,
    VIRTUAL_NMIS = 27,
    NMI_WINDOW = 28,
    APIC_ACCESS_ADDRESS = 29,
    TPR_SHADOW_X2APIC = 30,
    TPR_SHADOW_REGISTERS = 31,
    TPR_SHADOW_DELIVERY = 32,
    X2APIC_APIC_ACCESS = 33,
    VIRTUAL_INTERRUPT_DELIVERY = 34,
    POSTED_DELIVERY = 35,
    POSTED_ACKNOWLEDGE = 36,
    POSTED_VECTOR = 37,
    POSTED_DESCRIPTOR = 38,
    VPID_ZERO = 39,
    EPTP_MEMORY_TYPE = 40,
    EPTP_WALK = 41,
    EPTP_ACCESSED_DIRTY = 42,
    EPTP_SHADOW_STACK = 43,
    EPTP_RESERVED = 44,
    PML_EPT = 45,
    PML_ADDRESS = 46,
    UNRESTRICTED_EPT = 47,
    MODE_BASED_EPT = 48,
    SUB_PAGE_EPT = 49,
    SUB_PAGE_ADDRESS = 50,
    VMFUNC_RESERVED = 51,
    EPTP_SWITCHING_EPT = 52,
    EPTP_LIST_ADDRESS = 53,
    VMREAD_BITMAP_ADDRESS = 54,
    VMWRITE_BITMAP_ADDRESS = 55,
    VE_INFORMATION_ADDRESS = 56,
    PT_GUEST_PHYSICAL = 57,
    TSC_MULTIPLIER = 58,

    // VM-exit controls (§26.2.1.2): VMfailValid 7.
    EXIT_RESERVED = 80,
    EXIT_SAVE_TIMER = 81,
    EXIT_MSR_STORE_ADDRESS = 82,
    EXIT_MSR_STORE_END = 83,
    EXIT_MSR_LOAD_ADDRESS = 84,
    EXIT_MSR_LOAD_END = 85,

    // VM-entry controls (§26.2.1.3): VMfailValid 7.
    ENTRY_RESERVED = 96,
    EVENT_TYPE = 97,
    EVENT_VECTOR_NMI = 98,
    EVENT_VECTOR_EXCEPTION = 99,
    EVENT_VECTOR_OTHER = 100,
    EVENT_ERROR_CODE_PRESENT = 101,
    EVENT_ERROR_CODE_ABSENT = 102,
    EVENT_RESERVED = 103,
    EVENT_ERROR_CODE_HIGH = 104,
    EVENT_LENGTH = 105,
    ENTRY_MSR_LOAD_ADDRESS = 106,
    ENTRY_MSR_LOAD_END = 107,
    ENTRY_SMM = 108,

    // Host state (§26.2.2 to §26.2.4): VMfailValid 8.
    HOST_CR0 = 128,
    HOST_CR4 = 129,
    HOST_CET_WP = 130,
    HOST_CR3 = 131,
    HOST_SYSENTER_ESP = 132,
    HOST_SYSENTER_EIP = 133,
    HOST_PERF_GLOBAL_CTRL = 134,
    HOST_PAT = 135,
    HOST_EFER_RESERVED = 136,
    HOST_EFER_MODE = 137,
    HOST_S_CET = 138,
    HOST_SSP = 139,
    HOST_ISST = 140,
    HOST_PKRS = 141,
    HOST_SELECTOR_BITS = 142,
    HOST_CS_NULL = 143,
    HOST_TR_NULL = 144,
    HOST_SS_NULL = 145,
    HOST_FS_BASE = 146,
    HOST_GS_BASE = 147,
    HOST_GDTR_BASE = 148,
    HOST_IDTR_BASE = 149,
    HOST_TR_BASE = 150,
    HOST_SIZE_64 = 151,    // the host-address-space size is the processor's mode
    HOST_SIZE_GUEST = 152, // an IA-32e guest needs a 64-bit host
    HOST_PCIDE = 153,
    HOST_RIP_HIGH = 154,
    HOST_PAE = 155,
    HOST_RIP = 156,

    // Guest control and debug registers, MSRs (§26.3.1.1): exit 33.
    GUEST_CR0 = 176,
    GUEST_CR0_PG_PE = 177,
    GUEST_CR4 = 178,
    GUEST_CET_WP = 179,
    GUEST_DEBUGCTL = 180,
    GUEST_IA32E_PG = 181,
    GUEST_IA32E_PAE = 182,
    GUEST_PCIDE = 183,
    GUEST_CR3 = 184,
    GUEST_DR7 = 185,
    GUEST_SYSENTER_ESP = 186,
    GUEST_SYSENTER_EIP = 187,
    GUEST_PERF_GLOBAL_CTRL = 188,
    GUEST_PAT = 189,
    GUEST_EFER_RESERVED = 190,
    GUEST_EFER_LMA = 191,
    GUEST_EFER_LME = 192,
    GUEST_BNDCFGS = 193,
    GUEST_S_CET = 194,
    GUEST_ISST = 195,
    GUEST_PKRS = 196,

    // Guest segments (§26.3.1.2): exit 33. One for each segment register and kind: see
    // segment_rule().
    SEGMENT_FIRST = 256,

    // Guest descriptor tables, RIP, RFLAGS, SSP (§26.3.1.3, §26.3.1.4): exit 33.
    GUEST_GDTR_BASE = 400,
    GUEST_GDTR_LIMIT = 401,
    GUEST_IDTR_BASE = 402,
    GUEST_IDTR_LIMIT = 403,
    GUEST_RIP_HIGH = 404,
    GUEST_RIP_CANONICAL = 405,
    GUEST_RFLAGS_RESERVED = 406,
    GUEST_RFLAGS_VM = 407,
    GUEST_RFLAGS_IF = 408,
    GUEST_SSP = 409,

    // Guest non-register state (§26.3.1.5): exit 33.
    ACTIVITY_VALUE = 432,
    ACTIVITY_HLT_DPL = 433,
    ACTIVITY_BLOCKING = 434,
    ACTIVITY_EVENT_HLT = 435,
    ACTIVITY_EVENT_SHUTDOWN = 436,
    ACTIVITY_EVENT_SIPI = 437,
    BLOCKING_RESERVED = 438,
    BLOCKING_BOTH = 439,
    BLOCKING_STI_IF = 440,
    BLOCKING_EXTERNAL = 441,
    BLOCKING_MOV_SS_NMI = 442,
    BLOCKING_SMI = 443,
    BLOCKING_STI_NMI = 444, // some processors; qualification 3
    BLOCKING_NMI = 445,
    BLOCKING_ENCLAVE = 446,
    PENDING_RESERVED = 447,
    PENDING_BS_SET = 448,
    PENDING_BS_CLEAR = 449,
    PENDING_RTM = 450,
    LINK_ADDRESS = 451, // qualification 4
    LINK_REVISION = 452,
    LINK_SHADOW = 453,
    LINK_CURRENT = 454,

    // Page-directory-pointer-table entries (§26.3.1.6): exit 33, qualification 2.
    PDPTE_FIELDS = 464, // with EPT
    PDPTE_MEMORY = 465, // without
};

// Segment registers in the order of their VMCS fields.
enum class Segment : uint8_t { ES, CS, SS, DS, FS, GS, LDTR, TR };
inline constexpr unsigned SEGMENTS = 8;

// What is checked of a segment register; not all of it of each.
enum class SegmentCheck : uint8_t {
    SELECTOR_TI,    // LDTR, TR
    SELECTOR_RPL,   // SS: that of CS
    BASE_V86,       // selector * 16
    BASE_HIGH,      // bits 63:32 are zero: ES, CS, SS, DS
    BASE_CANONICAL, // FS, GS, LDTR, TR
    LIMIT_V86,
    RIGHTS_V86,
    TYPE,
    S,
    DPL,      // against RPL, SS.DPL
    DPL_REAL, // SS: 0 with CS.type 3 or CR0.PE clear
    P,
    RESERVED_LOW,
    DB, // CS: not with L in IA-32e mode
    G,
    RESERVED_HIGH,
};
inline constexpr unsigned SEGMENT_CHECKS = 16;

constexpr RuleId segment_rule(Segment segment, SegmentCheck check) {
    return static_cast<RuleId>(static_cast<unsigned>(RuleId::SEGMENT_FIRST) +
                               static_cast<unsigned>(segment) * SEGMENT_CHECKS +
                               static_cast<unsigned>(check));
}
constexpr bool is_segment_rule(RuleId id) {
    const unsigned n = static_cast<unsigned>(id) - static_cast<unsigned>(RuleId::SEGMENT_FIRST);
    return n < SEGMENTS * SEGMENT_CHECKS;
}
constexpr Segment segment_of(RuleId id) {
    return static_cast<Segment>(
        (static_cast<unsigned>(id) - static_cast<unsigned>(RuleId::SEGMENT_FIRST)) /
        SEGMENT_CHECKS);
}
constexpr SegmentCheck check_of(RuleId id) {
    return static_cast<SegmentCheck>(
        (static_cast<unsigned>(id) - static_cast<unsigned>(RuleId::SEGMENT_FIRST)) %
        SEGMENT_CHECKS);
}
// Whether the check is made of that register.
constexpr bool checked(Segment segment, SegmentCheck check) {
    const bool system = segment == Segment::LDTR || segment == Segment::TR;
    const bool flat = segment <= Segment::DS;
    switch (check) {
    case SegmentCheck::SELECTOR_TI:
        return system;
    case SegmentCheck::SELECTOR_RPL:
    case SegmentCheck::DPL_REAL:
        return segment == Segment::SS;
    case SegmentCheck::BASE_V86:
    case SegmentCheck::LIMIT_V86:
    case SegmentCheck::RIGHTS_V86:
    case SegmentCheck::DPL:
        return !system;
    case SegmentCheck::BASE_HIGH:
        return flat;
    case SegmentCheck::BASE_CANONICAL:
        return !flat;
    case SegmentCheck::DB:
        return segment == Segment::CS;
    case SegmentCheck::TYPE:
    case SegmentCheck::S:
    case SegmentCheck::P:
    case SegmentCheck::RESERVED_LOW:
    case SegmentCheck::G:
    case SegmentCheck::RESERVED_HIGH:
        return true;
    }
    return false;
}

} // namespace horos::vmx
