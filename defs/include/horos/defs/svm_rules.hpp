// The names of the VMRUN rules: what the kernel's guard answers when it refuses a request, and
// what the reference model, the fuzzer and `horos-explain` report. Numbers are stable: a new
// rule takes a new number. The rules themselves are in model/; docs/reference/svm-rules.md
// lists them. Sections are of the APM vol. 2, rev. 3.42.
#pragma once

#include <cstdint>

namespace horos::svm {

enum class RuleId : uint16_t {
    NONE = 0, // no rule is broken

    // The VMRUN instruction itself: it faults, no world switch begins (APM vol. 3 "VMRUN").
    INSN_SVME = 1,           // #UD: EFER.SVME is set (hence VM_CR.SVMDIS clear, SVM present)
    INSN_PROTECTED_MODE = 2, // #UD: CR0.PE set, not virtual-8086 mode
    INSN_CPL0 = 3,           // #GP(0): CPL is 0
    INSN_RAX_ALIGNED = 4,    // #GP(0): rAX is 4-KiB aligned
    INSN_RAX_PHYS = 5,       // #GP(0): rAX is below the maximum physical address
    INSN_HSAVE_SET = 6,      // #GP(0): VM_HSAVE_PA is not 0

    // Control area: #VMEXIT(INVALID).
    CTL_VMRUN_INTERCEPT = 16,      // §15.5.1: the VMRUN intercept is set
    CTL_ASID = 17,                 // §15.5.1: ASID is not 0
    CTL_ASID_RANGE = 18,           // §15.16.1: ASID is below CPUID 8000_000A EBX
    CTL_IOPM_RANGE = 19,           // §15.5.1: the I/O map lies below the maximum physical address
    CTL_MSRPM_RANGE = 20,          // §15.5.1: the MSR map lies below the maximum physical address
    CTL_NP_HOST_PAGING = 21,       // §15.25.3: nested paging needs the host's CR0.PG
    CTL_NP_NCR3_MBZ = 22,          // §15.25.4: no must-be-zero bit of nCR3 is set
    CTL_NP_GPAT = 23,              // §15.25.4: every G_PAT field is a defined memory type
    CTL_EVENT_TYPE = 24,           // §15.20: EVENTINJ.TYPE is not reserved
    CTL_EVENT_VECTOR = 25,         // §15.20: TYPE 3 has the vector of an exception
    CTL_VNMI_NMI_INTERCEPT = 26,   // §15.21.10: V_NMI_ENABLE needs the NMI intercept
    CTL_AVIC_ADDRESSES = 27,       // §15.29.4.3: AVIC pages lie below the maximum physical address
    CTL_EVENT_MODE = 28,           // §15.20: the event is possible in the guest's mode
    CTL_EVENT_VECTOR_FEATURE = 29, // §15.20: nor the vector of an exception the part lacks
    CTL_X2AVIC_AVIC = 30,          // §15.29.4.1: x2AVIC needs AVIC
    CTL_AVIC_MAX_INDEX = 31,       // §15.29.4.3: AVIC_PHYSICAL_MAX_INDEX is in range
    CTL_NP_NCR3_PHYS = 32,         // §15.25.4: nCR3 lies below the maximum physical address
    CTL_SEV_NP = 33,               // §15.34.3: SEV needs nested paging
    CTL_SEV_SMMLOCK = 34,          // §15.34.3: SEV needs HWCR.SMMLOCK
    CTL_SEV_ASID = 35,             // §15.34.3: the ASID of a SEV guest is in its range
    CTL_SEV_64BIT_HOST = 36,       // §15.34.3: SEV needs a 64-bit host on such parts
    CTL_EVENT_MODE_OF = 37,        // §15.20: nor #OF in 64-bit mode

    // State-save area: #VMEXIT(INVALID), §15.5.1.
    SAVE_EFER_SVME = 48,      // EFER.SVME is set
    SAVE_EFER_MBZ = 49,       // no must-be-zero bit of EFER
    SAVE_EFER_LONG_MODE = 50, // EFER.LME and LMA are 0 where there is no long mode
    SAVE_CR0_CD_NW = 51,      // not CR0.NW with CR0.CD clear
    SAVE_CR0_HIGH = 52,       // CR0[63:32] are zero
    SAVE_CR3_MBZ = 53,        // no must-be-zero bit of CR3
    SAVE_CR4_MBZ = 54,        // no must-be-zero bit of CR4
    SAVE_DR6_HIGH = 55,       // DR6[63:32] are zero
    SAVE_DR7_HIGH = 56,       // DR7[63:32] are zero
    SAVE_LME_PG_PAE = 57,     // EFER.LME and CR0.PG need CR4.PAE
    SAVE_LME_PG_PE = 58,      // EFER.LME and CR0.PG need CR0.PE
    SAVE_CS_L_D = 59,         // in long mode with CS.L, CS.D is clear
    SAVE_CR4_CET_WP = 60,     // CR4.CET needs CR0.WP
    SAVE_S_CET_MBZ = 61,      // no reserved bit of S_CET
    SAVE_CET_SS_VM = 62,      // not CR4.CET and U_CET.SS (the loaded MSR) with RFLAGS.VM
    SAVE_CR3_PHYS = 63,       // CR3 lies below the maximum physical address
    SAVE_PAE_PDPES = 64,      // §15.5.1: no reserved bit in the PDPEs of a PAE guest
};

} // namespace horos::svm
