// The names of the rules of a VM entry: what the kernel's guard answers when it refuses a request,
// and what the reference model, the fuzzer and `horos-explain` report. Numbers are stable: a new
// rule takes a new number; they do not collide with those of SVM. The rules themselves are in
// model/; docs/reference/vmx-rules.md lists them. Sections are of the Intel SDM vol. 3C, order
// number 325384-077US.
#pragma once

#include <cstdint>

namespace horos::vmx {

enum class RuleId : uint16_t {
    NONE = 0, // no rule is broken

    // VMLAUNCH and VMRESUME themselves (§26.1, §30.3).
    INSN_VMX_OPERATION = 0x401, // #UD: in VMX operation
    INSN_MODE = 0x402,          // #UD: CR0.PE, not virtual-8086 mode, not compatibility mode
    INSN_CPL0 = 0x403,          // #GP(0): CPL is 0
    INSN_CURRENT_VMCS = 0x404,  // VMfailInvalid: there is a current VMCS
    INSN_SHADOW_VMCS = 0x405,   // VMfailInvalid: the current VMCS is no shadow VMCS
    INSN_MOV_SS = 0x406,        // VMfailValid 26: no blocking by MOV SS
    INSN_CLEAR = 0x407,         // VMfailValid 4: VMLAUNCH needs launch state clear
    INSN_LAUNCHED = 0x408,      // VMfailValid 5: VMRESUME needs launch state launched

    // VM-execution controls (§26.2.1.1): VMfailValid 7.
    PIN_RESERVED = 0x410,
    PROC_RESERVED = 0x411,
    PROC2_RESERVED = 0x412,
    PROC3_RESERVED = 0x413,
    CR3_TARGET_COUNT = 0x414,
    IO_BITMAP_A_ADDRESS = 0x415,
    IO_BITMAP_B_ADDRESS = 0x416,
    MSR_BITMAP_ADDRESS = 0x417,
    VIRTUAL_APIC_ADDRESS = 0x418,
    TPR_THRESHOLD_HIGH = 0x419,
    TPR_THRESHOLD_VTPR = 0x41a,
    VIRTUAL_NMIS = 0x41b,
    NMI_WINDOW = 0x41c,
    APIC_ACCESS_ADDRESS = 0x41d,
    TPR_SHADOW_X2APIC = 0x41e,
    TPR_SHADOW_REGISTERS = 0x41f,
    TPR_SHADOW_DELIVERY = 0x420,
    X2APIC_APIC_ACCESS = 0x421,
    VIRTUAL_INTERRUPT_DELIVERY = 0x422,
    POSTED_DELIVERY = 0x423,
    POSTED_ACKNOWLEDGE = 0x424,
    POSTED_VECTOR = 0x425,
    POSTED_DESCRIPTOR = 0x426,
    VPID_ZERO = 0x427,
    EPTP_MEMORY_TYPE = 0x428,
    EPTP_WALK = 0x429,
    EPTP_ACCESSED_DIRTY = 0x42a,
    EPTP_SHADOW_STACK = 0x42b,
    EPTP_RESERVED = 0x42c,
    PML_EPT = 0x42d,
    PML_ADDRESS = 0x42e,
    UNRESTRICTED_EPT = 0x42f,
    MODE_BASED_EPT = 0x430,
    SUB_PAGE_EPT = 0x431,
    SUB_PAGE_ADDRESS = 0x432,
    VMFUNC_RESERVED = 0x433,
    EPTP_SWITCHING_EPT = 0x434,
    EPTP_LIST_ADDRESS = 0x435,
    VMREAD_BITMAP_ADDRESS = 0x436,
    VMWRITE_BITMAP_ADDRESS = 0x437,
    VE_INFORMATION_ADDRESS = 0x438,
    PT_GUEST_PHYSICAL = 0x439,
    TSC_MULTIPLIER = 0x43a,

    // VM-exit controls (§26.2.1.2): VMfailValid 7.
    EXIT_RESERVED = 0x450,
    EXIT_SAVE_TIMER = 0x451,
    EXIT_MSR_STORE_ADDRESS = 0x452,
    EXIT_MSR_STORE_END = 0x453,
    EXIT_MSR_LOAD_ADDRESS = 0x454,
    EXIT_MSR_LOAD_END = 0x455,

    // VM-entry controls (§26.2.1.3): VMfailValid 7.
    ENTRY_RESERVED = 0x460,
    EVENT_TYPE = 0x461,
    EVENT_VECTOR_NMI = 0x462,
    EVENT_VECTOR_EXCEPTION = 0x463,
    EVENT_VECTOR_OTHER = 0x464,
    EVENT_ERROR_CODE_PRESENT = 0x465,
    EVENT_ERROR_CODE_ABSENT = 0x466,
    EVENT_RESERVED = 0x467,
    EVENT_ERROR_CODE_HIGH = 0x468,
    EVENT_LENGTH = 0x469,
    ENTRY_MSR_LOAD_ADDRESS = 0x46a,
    ENTRY_MSR_LOAD_END = 0x46b,
    ENTRY_SMM = 0x46c,
    EVENT_ERROR_CODE_15 = 0x46d,

    // Host state (§26.2.2 to §26.2.4): VMfailValid 8.
    HOST_CR0 = 0x480,
    HOST_CR4 = 0x481,
    HOST_CET_WP = 0x482,
    HOST_CR3 = 0x483,
    HOST_SYSENTER_ESP = 0x484,
    HOST_SYSENTER_EIP = 0x485,
    HOST_PERF_GLOBAL_CTRL = 0x486,
    HOST_PAT = 0x487,
    HOST_EFER_RESERVED = 0x488,
    HOST_EFER_MODE = 0x489,
    HOST_S_CET = 0x48a,
    HOST_SSP = 0x48b,
    HOST_ISST = 0x48c,
    HOST_PKRS = 0x48d,
    HOST_SELECTOR_BITS = 0x48e,
    HOST_CS_NULL = 0x48f,
    HOST_TR_NULL = 0x490,
    HOST_SS_NULL = 0x491,
    HOST_FS_BASE = 0x492,
    HOST_GS_BASE = 0x493,
    HOST_GDTR_BASE = 0x494,
    HOST_IDTR_BASE = 0x495,
    HOST_TR_BASE = 0x496,
    HOST_SIZE_64 = 0x497,    // the host-address-space size is the processor's mode
    HOST_SIZE_GUEST = 0x498, // an IA-32e guest needs a 64-bit host
    HOST_PCIDE = 0x499,
    HOST_RIP_HIGH = 0x49a,
    HOST_PAE = 0x49b,
    HOST_RIP = 0x49c,

    // Guest control and debug registers, MSRs (§26.3.1.1): exit 33.
    GUEST_CR0 = 0x4b0,
    GUEST_CR0_PG_PE = 0x4b1,
    GUEST_CR4 = 0x4b2,
    GUEST_CET_WP = 0x4b3,
    GUEST_DEBUGCTL = 0x4b4,
    GUEST_IA32E_PG = 0x4b5,
    GUEST_IA32E_PAE = 0x4b6,
    GUEST_PCIDE = 0x4b7,
    GUEST_CR3 = 0x4b8,
    GUEST_DR7 = 0x4b9,
    GUEST_SYSENTER_ESP = 0x4ba,
    GUEST_SYSENTER_EIP = 0x4bb,
    GUEST_PERF_GLOBAL_CTRL = 0x4bc,
    GUEST_PAT = 0x4bd,
    GUEST_EFER_RESERVED = 0x4be,
    GUEST_EFER_LMA = 0x4bf,
    GUEST_EFER_LME = 0x4c0,
    GUEST_BNDCFGS = 0x4c1,
    GUEST_S_CET = 0x4c2,
    GUEST_ISST = 0x4c3,
    GUEST_PKRS = 0x4c4,

    // Guest segments (§26.3.1.2): exit 33. One for each segment register and kind: see
    // segment_rule().
    SEGMENT_FIRST = 0x500,

    // Guest descriptor tables, RIP, RFLAGS, SSP (§26.3.1.3, §26.3.1.4): exit 33.
    GUEST_GDTR_BASE = 0x590,
    GUEST_GDTR_LIMIT = 0x591,
    GUEST_IDTR_BASE = 0x592,
    GUEST_IDTR_LIMIT = 0x593,
    GUEST_RIP_HIGH = 0x594,
    GUEST_RIP_CANONICAL = 0x595, // bits 63:N alone, bit N-1 is not looked at
    GUEST_RFLAGS_RESERVED = 0x596,
    GUEST_RFLAGS_VM = 0x597,
    GUEST_RFLAGS_IF = 0x598,
    GUEST_SSP = 0x599,

    // Guest non-register state (§26.3.1.5): exit 33.
    ACTIVITY_VALUE = 0x5b0,
    ACTIVITY_HLT_DPL = 0x5b1,
    ACTIVITY_BLOCKING = 0x5b2,
    ACTIVITY_EVENT_HLT = 0x5b3,
    ACTIVITY_EVENT_SHUTDOWN = 0x5b4,
    ACTIVITY_EVENT_SIPI = 0x5b5,
    BLOCKING_RESERVED = 0x5b6,
    BLOCKING_BOTH = 0x5b7,
    BLOCKING_STI_IF = 0x5b8,
    BLOCKING_EXTERNAL = 0x5b9,
    BLOCKING_MOV_SS_NMI = 0x5ba,
    BLOCKING_SMI = 0x5bb,
    BLOCKING_STI_NMI = 0x5bc, // some processors; qualification 3
    BLOCKING_NMI = 0x5bd,
    BLOCKING_ENCLAVE = 0x5be,
    PENDING_RESERVED = 0x5bf,
    PENDING_BS_SET = 0x5c0,
    PENDING_BS_CLEAR = 0x5c1,
    PENDING_RTM = 0x5c2,
    LINK_ADDRESS = 0x5c3, // qualification 4
    LINK_REVISION = 0x5c4,
    LINK_SHADOW = 0x5c5,
    LINK_CURRENT = 0x5c6,

    // Page-directory-pointer-table entries (§26.3.1.6): exit 33, qualification 2.
    PDPTE_FIELDS = 0x5d0, // with EPT
    PDPTE_MEMORY = 0x5d1, // without
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
