// Named wrong behaviours of processors and emulators, for telling known divergences from new ones.
//
// They are off unless a caller asks: predict() without them is what the manual says. With some of
// them on, predict() says what a part with exactly these defects does, and Prediction::deviated
// says which of them made a difference. The fuzzer's triage data names them per target, with the
// evidence; the model only knows how each looks from inside a guest.
#pragma once

#include <bitset>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace horos::model::svm {

enum class Deviation : uint8_t {
    // loading and saving
    CPL_FROM_SS,            // the CPL is the DPL of SS, not the VMCB's CPL field
    SHADOW_NOT_LOADED,      // INTERRUPT_SHADOW of the VMCB does not reach the guest
    SHADOW_SURVIVES_EVENT,  // the interrupt shadow lasts into the handler of an event
    HOST_CR0_LOST,          // the host's CR0 stays the guest's after EFER.LME without PG and PAE
    BREAKPOINTS_NOT_ARMED,  // DR7 of the VMCB enables no breakpoint
    CR4_FEATURES_UNCHECKED, // old CR4 bits and PCIDE are accepted on a part without them
    EFER_LMSLE_REFUSED,     // VMRUN refuses EFER.LMSLE, whatever CPUID says
    EFER_FFXSR_FREE,        // VMRUN accepts EFER.FFXSR on a part without it
    // segmentation and paging
    NO_SEGMENT_CHECKS,  // limits, types and null selectors of data accesses are not checked
    NO_CODE_LIMIT,      // nor is the limit of CS, at fetches and near branches
    STACK_CANONICAL_GP, // a non-canonical stack address is #GP(0) instead of #SS(0)
    RESERVED_WITHOUT_P, // page faults for reserved bits have RSV, but not P
    PAE_PDPE_LAX,       // legacy PDPEs: few reserved bits checked, at the walk; A is set
    TABLE_LIMITS_32,    // GDTR and IDTR limits keep 32 bits
    CANONICAL_PER_PAGE, // an access across the canonical boundary: the first page faults first
    SS_L_STACK,         // L in the attributes of SS masks the stack pointer to nothing
    TABLE_BASES_64,     // bases of system tables keep 64 bits outside long mode
    PML4_GLOBAL_FREE,   // bit 8 of PML4 and PML5 entries is not reserved
    // exceptions and their delivery
    IDT_ERROR_TIMES_16,       // error codes for the long-mode IDT hold the vector times 16
    NO_EXT,                   // EXT is clear in error codes of faults during delivery
    DF_NOT_INTERCEPTED,       // #DF intercept ignored where two faults combine
    INJECTED_NOT_IN_FLIGHT,   // a fault while an injected exception is delivered does not combine
    SHUTDOWN_ALWAYS_EXITS,    // a shutdown exits whether or not it is intercepted
    EXITINTINFO_FIRST,        // EXITINTINFO keeps the first of several nested events
    EXITINTINFO_TYPE,         // INTR and NMI appear as exceptions, INT3 and INTO as INTn
    INT3_IS_SWINT,            // INT3 and INTO check INTn's intercept, not those of #BP and #OF
    ERROR_BY_VECTOR,          // an injected exception pushes an error code by its vector, not by EV
    ERROR_CODE_SIGN_EXTENDED, // on a 64-bit stack
    EXITINTINFO_RAW,          // of an injected event: EVENTINJ as it was
    EXIT_ERROR_BY_VECTOR,     // EXITINTINFO.EV by the vector, for INTn as well
    VIRQ_CLEARED_LATE,        // V_IRQ stays set if the delivery of the interrupt ends otherwise
    VIRQ_AT_EQUAL_PRIORITY,   // a virtual interrupt of the TPR's own priority is taken
    STI_ALWAYS_SHADOWS,       // also where IF was set before
    SS_NOT_PRESENT_TS,        // an inner stack segment that is not present is #TS instead of #SS
    // instructions
    CR_UNCHECKED,         // MOV to CR: the intercept first, then few checks of the value
    MOV_64,               // MOV to CR and DR takes 64 bits outside 64-bit mode
    CR_INDEX_AFTER_CPL,   // a CR or DR that does not exist: #GP at CPL > 0 instead of #UD
    DR_CHECKS_LATE,       // MOV DR: the intercept before #UD (CR4.DE) and #GP; no DR7.GD
    DR7_ARMED_AFTERWARDS, // MOV to DR7 arms breakpoints from a state that VMRUN did not set up
    GD_STAYS,             // #DB does not clear DR7.GD
    CR0_SEL_COUNTS_ET,    // the selective CR0 intercept compares ET
    LMSW_SELECTIVE,       // LMSW and the selective intercept: by value
    TABLE_BASE_UNCHECKED, // LGDT and LIDT take bases that are not canonical
    RDPMC_ABSENT,         // RDPMC is #UD
    ICEBP_ABSENT,         // INT1 is #UD, without its intercept
    SKINIT_ANY_CPL,       // SKINIT's intercept comes before the CPL check
    MSR_LAX,              // values and MSR numbers are not checked; G_PAT is not the guest's PAT
    XSETBV_NO_INTERCEPT,  // and #GP for the CPL before #UD
    INVD_IS_WBINVD,       // INVD checks WBINVD's intercept
    RDTSCP_IS_RDTSC,      // RDTSCP checks RDTSC's intercept
    TRAP_LOST,            // no single-step trap after STI, PAUSE and MWAIT
    IRET_KEEPS_VIF,       // IRET changes neither VIF nor VIP
    IRET_VM_UNCHECKED,  // IRETD with VM in the popped flags enters virtual-8086 mode from anywhere
    IRET_RIP_UNCHECKED, // IRET and near branches take a RIP that is not canonical
    MAP_BASE_UNMASKED,  // the low 12 bits of the map addresses count
    SVM_IN_V86,         // SVM instructions do not look at RFLAGS.VM: #GP instead of #UD
    MSRPM_WIDE_RCX,     // the MSR map is read at an offset that bits 33:32 of RCX change
    LTR_TAKES_NULL,     // LTR of a null selector loads it
    MONITOR_NO_ACCESS,  // MONITOR touches no memory
    IO_BUSY_TSS,        // the I/O bitmap of a busy TSS is not used: #GP
    TASK_SWITCH_NOT_INTERCEPTED,
    SEQUENTIAL_WRAPS, // 16-bit code: an instruction that ends on another page cuts RIP to 16 bits
    NEAR_BRANCH_KEEPS_HIGH, // a 16-bit relative branch inside a page leaves RIP[31:16] as they are
    IRET_NARROW_STACK,  // IRET and IRETD of 64-bit code: the stack's base, size and 32 bits count
    IRET_AS_SUPERVISOR, // IRET at CPL 3 reads its frame as a supervisor
    LOCK_HLT,           // LOCK before HLT is ignored instead of #UD
    IRET_NULL_SS,       // IRET from long mode takes a null SS at CPL < 3, wherever it returns
    DR6_DISABLED_MATCH, // a single-step trap sets B3:B0 for breakpoints that are not enabled
    UMIP_CPL_1,         // UMIP refuses at CPL 1 and 2 as well
    // loading, saving and MOV CR of a part with another structure
    CR2_NOT_LOADED,      // the guest runs with the CR2 of before
    NESTED_CTL_BYTE,     // any bit of the first byte of NESTED_CTL turns nested paging on
    NEXT_RIP_ALWAYS,     // nRIP holds the next instruction at every exit
    INJECT_WITHOUT_NRIP, // an injected software interrupt returns to RIP, not to nRIP
    CR0_PAGED_REAL,      // MOV to CR0 takes PG without PE
    PDPE_TABLE_ADDRESS,  // a nested fault on a legacy PDPE names the table, not the entry
    CR3_CR8_LATE,        // MOV to CR3 and CR8: the intercept comes before the checks of the value
    DR_ORDER,            // MOV DR: DR7.GD before the CPL, the value only after the intercept
    TRAP_LEAKS,          // a single-step trap that a #VMEXIT overtook is raised in the host
    EXITINTINFO_STALE,   // software interrupts, INTR and NMI do not set EXITINTINFO
    HOST_IF_IGNORED,     // with V_INTR_MASKING the guest's RFLAGS.IF still masks
    CPL_RAW,             // the CPL field is loaded whole, in real mode as well
    SEGMENT_KINDS,       // segments without P, or that are no segments (S), lose what they hold
    RFLAGS_ONE_LOST,     // bit 1 of RFLAGS is loaded like others
    INJECTED_NMI_BLOCKS, // an injected NMI holds back further ones
    NMI_RIP_UNCOMMITTED, // what ends the first instruction of an NMI's handler saves the RIP before
    RSM_UD,              // RSM outside SMM is #UD before its intercept
    EXT_OF_INJECTED,     // an injected #BP or #OF counts as external (EXT)
    VTPR_BYTE,           // all eight bits of V_TPR are the virtual TPR
    ERROR_CODE_16,       // error codes have 16 bits on their way to the stack
    REAL_CS_DATA,        // CS is made a data segment in real mode
    SHADOW_LOST,         // intercepted exceptions and task switches, and delivery, end the shadow
    LMA_COMPUTED,        // EFER.LMA is LME and PG, not what the VMCB says
    EFER_TCE_REFUSED,    // VMRUN refuses EFER.TCE, whatever CPUID says
    DF_NO_INTINFO,       // EXITINTINFO is empty where #DF is intercepted
    VIRQ_MASKED,         // V_IRQ waits until the guest's IF rises or it writes CR8
    DB_COMMIT_LATE,      // an intercepted #DB leaves no trace in DR6 and DR7.GD
    IRET_TOP_DOWN,       // IRET reads its frame from the highest word down
    IRET_SHORT,          // in 64-bit mode IRETD and IRET to the same level pop no SS:RSP
    REAL_TYPES,          // types of data segments are looked at in real mode
    CR3_WIDE,            // nested walks drop bits 63:48 of guest-physical addresses
    EVENT_VECTOR_RESERVED,    // VMRUN takes exceptions with reserved vectors, but not 2
    BREAKPOINT_BEFORE_EVENTS, // an instruction breakpoint comes before NMI and interrupts
    BREAKPOINT_NAMES_ALL,     // B3:B0 name breakpoints at RIP that are not enabled as well
    BT_CLEARED,               // #DB clears DR6.BT
    GATE_UPPER_TYPE,          // the long-mode IDT: bits 12:8 of a gate's last doubleword must be 0
    CR0_SEL_COUNTS_RESERVED,  // a write of CR0 drops reserved bits; the selective intercept sees it
    EXT_WITH_ZERO,            // EXT is set in the error code of #SS(0) and #GP(0) too
    IVT_AFTER_PUSH,           // in real mode the vector is read after the frame was pushed
    STACK_CODE_EXPANDS_DOWN,  // SS that is conforming code counts as expand-down
    ALIGNMENT_UNCHECKED,      // no #AC
    FLAT_WRAPS,               // an access that runs past 4 GiB in a segment of 4 GiB goes on at 0
    TSS_STACK_NAMES_SS,       // #SS for a stack pointer of the TSS names SS, where it should be 0
    IRET_LOSES_RESUME,        // an IRET that began with RF set clears the RF that it loads
    // ways to die: the outcome is UNSPECIFIED, and its `why` is "dies: " and the message
    TSS_TYPE_ABORT,     // an inner stack from a TSS that is busy or none
    TSS_ABSENT_ABORT,   // ... from a TSS that is not present
    V86_EXIT_PANIC,     // a #VMEXIT from virtual-8086 mode
    LONG_MODE_PE_PANIC, // EFER.LME and CR0.PG without CR0.PE
    SHUTDOWN_PANIC,     // a third fault, intercepted or not
    TSS_TYPE_PANIC,     // an inner stack from a TR that is no TSS
    TSS_ABSENT_PANIC,   // ... that is not present
    STACK_ASSERT,       // a push or pop through an SS without W, or in real mode without P
    SKINIT_PANIC,       // SKINIT that is not intercepted
    TABLE_CRASH,        // a page table above the physical address width
    COUNT,
};

inline constexpr size_t DEVIATION_COUNT = static_cast<size_t>(Deviation::COUNT);

// The bits of Deviation::CR4_FEATURES_UNCHECKED: VME to MCE, PGE, OSFXSR, OSXMMEXCPT, PCIDE.
inline constexpr uint64_t CR4_WITHOUT_CPUID = 0x206ff;

// What is switched on, or what made a difference.
struct Deviations {
    std::bitset<DEVIATION_COUNT> behaviours;
    std::bitset<128> unchecked; // rules of VMRUN, by RuleId, that the part does not check

    bool test(Deviation d) const { return behaviours.test(static_cast<size_t>(d)); }
    void set(Deviation d) { behaviours.set(static_cast<size_t>(d)); }
    bool any() const { return behaviours.any() || unchecked.any(); }
};

std::string_view deviation_name(Deviation d); // "cpl-from-ss"
std::optional<Deviation> find_deviation(std::string_view name);

} // namespace horos::model::svm
