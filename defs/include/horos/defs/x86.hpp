// Architectural x86 encodings that the kernel, the model and the tools share.
// Freestanding: nothing but constants. Sections are of the AMD64 Architecture Programmer's Manual
// ("APM") vol. 2, rev. 3.42, unless another volume is named.
#pragma once

#include <cstddef>
#include <cstdint>

namespace horos::x86 {

// ---- CR0 (APM vol. 2 §3.1.1) ----
namespace cr0 {
inline constexpr uint64_t PE = 1ull << 0;  // protection enable
inline constexpr uint64_t MP = 1ull << 1;  // monitor coprocessor
inline constexpr uint64_t EM = 1ull << 2;  // emulate coprocessor
inline constexpr uint64_t TS = 1ull << 3;  // task switched
inline constexpr uint64_t ET = 1ull << 4;  // extension type, reads as one
inline constexpr uint64_t NE = 1ull << 5;  // numeric error
inline constexpr uint64_t WP = 1ull << 16; // write protect
inline constexpr uint64_t AM = 1ull << 18; // alignment mask
inline constexpr uint64_t NW = 1ull << 29; // not write-through
inline constexpr uint64_t CD = 1ull << 30; // cache disable
inline constexpr uint64_t PG = 1ull << 31; // paging
inline constexpr uint64_t DEFINED = PE | MP | EM | TS | ET | NE | WP | AM | NW | CD | PG;
inline constexpr uint64_t MBZ_HIGH = 0xffffffff00000000ull;
} // namespace cr0

// ---- CR3 (§3.1.2, §5.3.2, §5.5.1) ----
namespace cr3 {
inline constexpr uint64_t PWT = 1ull << 3;
inline constexpr uint64_t PCD = 1ull << 4;
inline constexpr uint64_t PCID_MASK = 0xfff;                     // when CR4.PCIDE is set
inline constexpr uint64_t NO_INVALIDATE = 1ull << 63;            // MOV CR3 only, never stored
inline constexpr uint64_t ADDR_4K_MASK = 0x000ffffffffff000ull;  // long mode table base
inline constexpr uint64_t ADDR_PAE_MASK = 0x00000000ffffffe0ull; // legacy PAE table base
inline constexpr uint64_t ADDR_LEGACY_MASK = 0x00000000fffff000ull;
} // namespace cr3

// ---- CR4 (§3.1.3) ----
namespace cr4 {
inline constexpr uint64_t VME = 1ull << 0;
inline constexpr uint64_t PVI = 1ull << 1;
inline constexpr uint64_t TSD = 1ull << 2;
inline constexpr uint64_t DE = 1ull << 3;
inline constexpr uint64_t PSE = 1ull << 4;
inline constexpr uint64_t PAE = 1ull << 5;
inline constexpr uint64_t MCE = 1ull << 6;
inline constexpr uint64_t PGE = 1ull << 7;
inline constexpr uint64_t PCE = 1ull << 8;
inline constexpr uint64_t OSFXSR = 1ull << 9;
inline constexpr uint64_t OSXMMEXCPT = 1ull << 10;
inline constexpr uint64_t UMIP = 1ull << 11;
inline constexpr uint64_t LA57 = 1ull << 12;
inline constexpr uint64_t VMXE = 1ull << 13; // Intel only
inline constexpr uint64_t SMXE = 1ull << 14; // Intel only
inline constexpr uint64_t FSGSBASE = 1ull << 16;
inline constexpr uint64_t PCIDE = 1ull << 17;
inline constexpr uint64_t OSXSAVE = 1ull << 18;
inline constexpr uint64_t KL = 1ull << 19; // Intel only
inline constexpr uint64_t SMEP = 1ull << 20;
inline constexpr uint64_t SMAP = 1ull << 21;
inline constexpr uint64_t PKE = 1ull << 22;
inline constexpr uint64_t CET = 1ull << 23;
inline constexpr uint64_t PKS = 1ull << 24;
} // namespace cr4

// ---- EFER (§3.1.7) ----
namespace efer {
inline constexpr uint64_t SCE = 1ull << 0;      // SYSCALL/SYSRET
inline constexpr uint64_t LME = 1ull << 8;      // long mode enable
inline constexpr uint64_t LMA = 1ull << 10;     // long mode active
inline constexpr uint64_t NXE = 1ull << 11;     // no-execute enable
inline constexpr uint64_t SVME = 1ull << 12;    // SVM enable
inline constexpr uint64_t LMSLE = 1ull << 13;   // long mode segment limit enable
inline constexpr uint64_t FFXSR = 1ull << 14;   // fast FXSAVE/FXRSTOR
inline constexpr uint64_t TCE = 1ull << 15;     // translation cache extension
inline constexpr uint64_t MCOMMIT = 1ull << 17; // MCOMMIT enable
inline constexpr uint64_t INTWB = 1ull << 18;   // interruptible WBINVD/WBNOINVD
inline constexpr uint64_t UAIE = 1ull << 20;    // upper address ignore enable
inline constexpr uint64_t AIBRSE = 1ull << 21;  // automatic IBRS enable
} // namespace efer

// ---- RFLAGS (§3.1.6) ----
namespace rflags {
inline constexpr uint64_t CF = 1ull << 0;
inline constexpr uint64_t ONE = 1ull << 1; // always reads as one
inline constexpr uint64_t PF = 1ull << 2;
inline constexpr uint64_t AF = 1ull << 4;
inline constexpr uint64_t ZF = 1ull << 6;
inline constexpr uint64_t SF = 1ull << 7;
inline constexpr uint64_t TF = 1ull << 8;
inline constexpr uint64_t IF = 1ull << 9;
inline constexpr uint64_t DF = 1ull << 10;
inline constexpr uint64_t OF = 1ull << 11;
inline constexpr unsigned IOPL_SHIFT = 12;
inline constexpr uint64_t IOPL = 3ull << IOPL_SHIFT;
inline constexpr uint64_t NT = 1ull << 14;
inline constexpr uint64_t RF = 1ull << 16;
inline constexpr uint64_t VM = 1ull << 17;
inline constexpr uint64_t AC = 1ull << 18;
inline constexpr uint64_t VIF = 1ull << 19;
inline constexpr uint64_t VIP = 1ull << 20;
inline constexpr uint64_t ID = 1ull << 21;
inline constexpr uint64_t DEFINED =
    CF | ONE | PF | AF | ZF | SF | TF | IF | DF | OF | IOPL | NT | RF | VM | AC | VIF | VIP | ID;
} // namespace rflags

// ---- DR6, DR7 (§13.1.1) ----
namespace dr6 {
inline constexpr uint64_t B0 = 1ull << 0;
inline constexpr uint64_t B1 = 1ull << 1;
inline constexpr uint64_t B2 = 1ull << 2;
inline constexpr uint64_t B3 = 1ull << 3;
inline constexpr uint64_t BLD = 1ull << 11; // bus lock detect, reads as one when not supported
inline constexpr uint64_t BD = 1ull << 13;
inline constexpr uint64_t BS = 1ull << 14;
inline constexpr uint64_t BT = 1ull << 15;
inline constexpr uint64_t RESET = 0x00000000ffff0ff0ull;
inline constexpr uint64_t MBZ_HIGH = 0xffffffff00000000ull;
} // namespace dr6
namespace dr7 {
inline constexpr uint64_t LE = 1ull << 8;
inline constexpr uint64_t GE = 1ull << 9;
inline constexpr uint64_t ONE = 1ull << 10; // always reads as one
inline constexpr uint64_t GD = 1ull << 13;  // general detect
inline constexpr uint64_t ENABLES = 0xff;   // L0,G0 .. L3,G3
inline constexpr uint64_t RESET = 0x400;
inline constexpr uint64_t MBZ_HIGH = 0xffffffff00000000ull;
} // namespace dr7

// ---- XCR0 (vol. 2 §11.5.2) ----
namespace xcr0 {
inline constexpr uint64_t X87 = 1ull << 0;
inline constexpr uint64_t SSE = 1ull << 1;
inline constexpr uint64_t AVX = 1ull << 2;
} // namespace xcr0

// ---- Exception and interrupt vectors (§8.2) ----
enum class Vector : uint8_t {
    DE = 0,
    DB = 1,
    NMI = 2,
    BP = 3,
    OF = 4,
    BR = 5,
    UD = 6,
    NM = 7,
    DF = 8,
    COPROC_OVERRUN = 9, // reserved, raised by no AMD64 processor
    TS = 10,
    NP = 11,
    SS = 12,
    GP = 13,
    PF = 14,
    MF = 16,
    AC = 17,
    MC = 18,
    XF = 19,
    CP = 21,
    HV = 28,
    VC = 29,
    SX = 30,
};
// Vectors 0..31 whose exception pushes an error code (§8.2, §8.4).
inline constexpr uint32_t VECTORS_WITH_ERROR_CODE =
    (1u << 8) | (1u << 10) | (1u << 11) | (1u << 12) | (1u << 13) | (1u << 14) | (1u << 17) |
    (1u << 21) | (1u << 29) | (1u << 30);

// ---- #PF error code (§8.4.2) ----
namespace pf {
inline constexpr uint64_t P = 1ull << 0;
inline constexpr uint64_t RW = 1ull << 1;
inline constexpr uint64_t US = 1ull << 2;
inline constexpr uint64_t RSV = 1ull << 3;
inline constexpr uint64_t ID = 1ull << 4; // instruction fetch
inline constexpr uint64_t PK = 1ull << 5;
inline constexpr uint64_t SS = 1ull << 6;
inline constexpr uint64_t RMP = 1ull << 31;
} // namespace pf

// ---- Page-table entry bits (§5.4) ----
namespace pte {
inline constexpr uint64_t P = 1ull << 0;
inline constexpr uint64_t RW = 1ull << 1;
inline constexpr uint64_t US = 1ull << 2;
inline constexpr uint64_t PWT = 1ull << 3;
inline constexpr uint64_t PCD = 1ull << 4;
inline constexpr uint64_t A = 1ull << 5;
inline constexpr uint64_t D = 1ull << 6;
inline constexpr uint64_t PS = 1ull << 7;     // in PDE, PDPE
inline constexpr uint64_t PAT_4K = 1ull << 7; // in a 4-KiB PTE
inline constexpr uint64_t G = 1ull << 8;
inline constexpr uint64_t PAT_LARGE = 1ull << 12; // in a 2-MiB/4-MiB PDE or a 1-GiB PDPE
inline constexpr uint64_t ADDR = 0x000ffffffffff000ull;
inline constexpr uint64_t ADDR_2M = 0x000fffffffe00000ull;
inline constexpr uint64_t ADDR_1G = 0x000fffffc0000000ull;
inline constexpr unsigned PK_SHIFT = 59; // protection key, 62:59
inline constexpr uint64_t NX = 1ull << 63;
} // namespace pte

// ---- MSR numbers (vol. 2 appendix A) ----
namespace msr {
inline constexpr uint32_t TSC = 0x10;
inline constexpr uint32_t APIC_BASE = 0x1b;
inline constexpr uint32_t SPEC_CTRL = 0x48;
inline constexpr uint32_t PRED_CMD = 0x49;
inline constexpr uint32_t MPERF = 0xe7;
inline constexpr uint32_t APERF = 0xe8;
inline constexpr uint32_t MTRRCAP = 0xfe;
inline constexpr uint32_t ARCH_CAPABILITIES = 0x10a; // Intel
inline constexpr uint32_t FLUSH_CMD = 0x10b;         // Intel
inline constexpr uint32_t SYSENTER_CS = 0x174;
inline constexpr uint32_t SYSENTER_ESP = 0x175;
inline constexpr uint32_t SYSENTER_EIP = 0x176;
inline constexpr uint32_t MCG_CAP = 0x179;
inline constexpr uint32_t MCG_STATUS = 0x17a;
inline constexpr uint32_t MCG_CTL = 0x17b;
inline constexpr uint32_t DEBUGCTL = 0x1d9;
inline constexpr uint32_t LAST_BRANCH_FROM = 0x1db;
inline constexpr uint32_t LAST_BRANCH_TO = 0x1dc;
inline constexpr uint32_t LAST_INT_FROM = 0x1dd;
inline constexpr uint32_t LAST_INT_TO = 0x1de;
inline constexpr uint32_t MTRR_PHYS_BASE0 = 0x200;
inline constexpr uint32_t MTRR_FIX64K_00000 = 0x250;
inline constexpr uint32_t MTRR_FIX16K_80000 = 0x258;
inline constexpr uint32_t MTRR_FIX4K_C0000 = 0x268;
inline constexpr uint32_t PAT = 0x277;
inline constexpr uint32_t MTRR_DEF_TYPE = 0x2ff;
inline constexpr uint32_t U_CET = 0x6a0;
inline constexpr uint32_t S_CET = 0x6a2;
inline constexpr uint32_t PL0_SSP = 0x6a4;
inline constexpr uint32_t PL3_SSP = 0x6a7;
inline constexpr uint32_t ISST_ADDR = 0x6a8;
inline constexpr uint32_t TSC_DEADLINE = 0x6e0; // Intel
inline constexpr uint32_t X2APIC_BASE = 0x800;
inline constexpr uint32_t XSS = 0xda0;
inline constexpr uint32_t EFER = 0xc0000080;
inline constexpr uint32_t STAR = 0xc0000081;
inline constexpr uint32_t LSTAR = 0xc0000082;
inline constexpr uint32_t CSTAR = 0xc0000083;
inline constexpr uint32_t SFMASK = 0xc0000084;
inline constexpr uint32_t FS_BASE = 0xc0000100;
inline constexpr uint32_t GS_BASE = 0xc0000101;
inline constexpr uint32_t KERNEL_GS_BASE = 0xc0000102;
inline constexpr uint32_t TSC_AUX = 0xc0000103;
inline constexpr uint32_t TSC_RATIO = 0xc0000104;
inline constexpr uint32_t SYSCFG = 0xc0010010;
inline constexpr uint32_t HWCR = 0xc0010015;
inline constexpr uint32_t PATCH_LEVEL = 0x0000008b;
inline constexpr uint32_t VM_CR = 0xc0010114;
inline constexpr uint32_t IGNNE = 0xc0010115;
inline constexpr uint32_t SMM_CTL = 0xc0010116;
inline constexpr uint32_t VM_HSAVE_PA = 0xc0010117;
inline constexpr uint32_t SVM_LOCK_KEY = 0xc0010118;
inline constexpr uint32_t OSVW_ID_LENGTH = 0xc0010140;
inline constexpr uint32_t OSVW_STATUS = 0xc0010141;
} // namespace msr

// VM_CR (§15.30.1)
namespace vm_cr {
inline constexpr uint64_t DPD = 1ull << 0;    // debug port disable
inline constexpr uint64_t R_INIT = 1ull << 1; // INIT becomes #SX
inline constexpr uint64_t DIS_A20M = 1ull << 2;
inline constexpr uint64_t LOCK = 1ull << 3; // LOCK and SVMDIS are read-only
inline constexpr uint64_t SVMDIS = 1ull << 4;
} // namespace vm_cr

// Memory types as held in the PAT (§7.8.1).
enum class MemoryType : uint8_t { UC = 0, WC = 1, WT = 4, WP = 5, WB = 6, UC_MINUS = 7 };
inline constexpr uint64_t PAT_RESET = 0x0007040600070406ull;

// ---- CPUID (vol. 3 appendix E) ----
namespace cpuid {
inline constexpr uint32_t LEAF_BASIC = 0;
inline constexpr uint32_t LEAF_FEATURES = 1;
inline constexpr uint32_t LEAF_MONITOR = 5;
inline constexpr uint32_t LEAF_STRUCTURED = 7;
inline constexpr uint32_t LEAF_XSTATE = 0xd;
inline constexpr uint32_t LEAF_EXT_MAX = 0x80000000;
inline constexpr uint32_t LEAF_EXT_FEATURES = 0x80000001;
inline constexpr uint32_t LEAF_APM = 0x80000007;
inline constexpr uint32_t LEAF_ADDRESS_SIZES = 0x80000008;
inline constexpr uint32_t LEAF_SVM = 0x8000000a;
inline constexpr uint32_t LEAF_EXT_FEATURES_2 = 0x80000021;

// CPUID 1 ECX / EDX
inline constexpr uint32_t L1_ECX_MONITOR = 1u << 3;
inline constexpr uint32_t L1_ECX_PCID = 1u << 17;
inline constexpr uint32_t L1_ECX_X2APIC = 1u << 21;
inline constexpr uint32_t L1_ECX_XSAVE = 1u << 26;
inline constexpr uint32_t L1_ECX_OSXSAVE = 1u << 27;
inline constexpr uint32_t L1_ECX_HYPERVISOR = 1u << 31;
inline constexpr uint32_t L1_EDX_VME = 1u << 1;
inline constexpr uint32_t L1_EDX_DE = 1u << 2;
inline constexpr uint32_t L1_EDX_PSE = 1u << 3;
inline constexpr uint32_t L1_EDX_TSC = 1u << 4;
inline constexpr uint32_t L1_EDX_MSR = 1u << 5;
inline constexpr uint32_t L1_EDX_PAE = 1u << 6;
inline constexpr uint32_t L1_EDX_MCE = 1u << 7;
inline constexpr uint32_t L1_EDX_APIC = 1u << 9;
inline constexpr uint32_t L1_EDX_SEP = 1u << 11;
inline constexpr uint32_t L1_EDX_MTRR = 1u << 12;
inline constexpr uint32_t L1_EDX_PGE = 1u << 13;
inline constexpr uint32_t L1_EDX_PAT = 1u << 16;
inline constexpr uint32_t L1_EDX_FXSR = 1u << 24;
inline constexpr uint32_t L1_EDX_SSE = 1u << 25;
inline constexpr uint32_t L1_EDX_SSE2 = 1u << 26;
// CPUID 7.0 EBX / ECX
inline constexpr uint32_t L7_EBX_FSGSBASE = 1u << 0;
inline constexpr uint32_t L7_EBX_SMEP = 1u << 7;
inline constexpr uint32_t L7_EBX_INVPCID = 1u << 10;
inline constexpr uint32_t L7_EBX_SMAP = 1u << 20;
inline constexpr uint32_t L7_ECX_UMIP = 1u << 2;
inline constexpr uint32_t L7_ECX_PKU = 1u << 3;
inline constexpr uint32_t L7_ECX_CET_SS = 1u << 7;
inline constexpr uint32_t L7_ECX_LA57 = 1u << 16;
inline constexpr uint32_t L7_ECX_PKS = 1u << 31;
// CPUID 8000_0001 ECX / EDX
inline constexpr uint32_t E1_ECX_SVM = 1u << 2;
inline constexpr uint32_t E1_ECX_SKINIT = 1u << 12;
inline constexpr uint32_t E1_ECX_TCE = 1u << 17;
inline constexpr uint32_t E1_ECX_MONITORX = 1u << 29;
inline constexpr uint32_t E1_EDX_SYSCALL = 1u << 11;
inline constexpr uint32_t E1_EDX_NX = 1u << 20;
inline constexpr uint32_t E1_EDX_FFXSR = 1u << 25;
inline constexpr uint32_t E1_EDX_PAGE_1G = 1u << 26;
inline constexpr uint32_t E1_EDX_RDTSCP = 1u << 27;
inline constexpr uint32_t E1_EDX_LM = 1u << 29;
// CPUID 8000_0007 EDX
inline constexpr uint32_t E7_EDX_INVARIANT_TSC = 1u << 8;
// CPUID 8000_0008 EBX
inline constexpr uint32_t E8_EBX_INVLPGB = 1u << 3;
inline constexpr uint32_t E8_EBX_RDPRU = 1u << 4;
inline constexpr uint32_t E8_EBX_MCOMMIT = 1u << 8;
inline constexpr uint32_t E8_EBX_WBNOINVD = 1u << 9;
inline constexpr uint32_t E8_EBX_INT_WBINVD = 1u << 13;
inline constexpr uint32_t E8_EBX_EFER_LMSLE_UNSUPPORTED = 1u << 20;
// CPUID 8000_0021 EAX
inline constexpr uint32_t E21_EAX_UPPER_ADDRESS_IGNORE = 1u << 7;
inline constexpr uint32_t E21_EAX_AUTOMATIC_IBRS = 1u << 8;
// CPUID 8000_000A: SVM features (vol. 3 §E.4.9); EBX is the number of ASIDs
inline constexpr uint32_t SVM_EDX_NP = 1u << 0;
inline constexpr uint32_t SVM_EDX_LBR_VIRT = 1u << 1;
inline constexpr uint32_t SVM_EDX_SVML = 1u << 2;
inline constexpr uint32_t SVM_EDX_NRIPS = 1u << 3;
inline constexpr uint32_t SVM_EDX_TSC_RATE_MSR = 1u << 4;
inline constexpr uint32_t SVM_EDX_VMCB_CLEAN = 1u << 5;
inline constexpr uint32_t SVM_EDX_FLUSH_BY_ASID = 1u << 6;
inline constexpr uint32_t SVM_EDX_DECODE_ASSISTS = 1u << 7;
inline constexpr uint32_t SVM_EDX_PMC_VIRT = 1u << 8;
inline constexpr uint32_t SVM_EDX_PAUSE_FILTER = 1u << 10;
inline constexpr uint32_t SVM_EDX_PAUSE_FILTER_THRESHOLD = 1u << 12;
inline constexpr uint32_t SVM_EDX_AVIC = 1u << 13;
inline constexpr uint32_t SVM_EDX_V_VMSAVE_VMLOAD = 1u << 15;
inline constexpr uint32_t SVM_EDX_VGIF = 1u << 16;
inline constexpr uint32_t SVM_EDX_GMET = 1u << 17;
inline constexpr uint32_t SVM_EDX_X2AVIC = 1u << 18;
inline constexpr uint32_t SVM_EDX_SSS_CHECK = 1u << 19;
inline constexpr uint32_t SVM_EDX_SPEC_CTRL = 1u << 20;
inline constexpr uint32_t SVM_EDX_ROGPT = 1u << 21;
inline constexpr uint32_t SVM_EDX_HOST_MCE_OVERRIDE = 1u << 23;
inline constexpr uint32_t SVM_EDX_TLBI_CTL = 1u << 24;
inline constexpr uint32_t SVM_EDX_VNMI = 1u << 25;
inline constexpr uint32_t SVM_EDX_IBS_VIRT = 1u << 26;
inline constexpr uint32_t SVM_EDX_EXT_LVT_AVIC_CHANGE = 1u << 27;
inline constexpr uint32_t SVM_EDX_NESTED_VIRT_VMCB_ADDR_CHK = 1u << 28;
inline constexpr uint32_t SVM_EDX_BUS_LOCK_THRESHOLD = 1u << 29;
inline constexpr uint32_t SVM_EDX_IDLE_HLT = 1u << 30;
} // namespace cpuid

// ---- Segment attributes in VMCB form: descriptor bits 55:52 and 47:40 joined to 12 bits
//      (§15.5.1, "Segment State in the VMCB"; §4.7 for the descriptor bits) ----
namespace seg {
inline constexpr uint16_t TYPE_MASK = 0x00f;
inline constexpr uint16_t ACCESSED = 1u << 0;
inline constexpr uint16_t WRITABLE = 1u << 1; // data
inline constexpr uint16_t READABLE = 1u << 1; // code
inline constexpr uint16_t EXPAND_DOWN = 1u << 2;
inline constexpr uint16_t CONFORMING = 1u << 2;
inline constexpr uint16_t CODE = 1u << 3;
inline constexpr uint16_t S = 1u << 4; // code or data (not system)
inline constexpr unsigned DPL_SHIFT = 5;
inline constexpr uint16_t DPL_MASK = 3u << DPL_SHIFT;
inline constexpr uint16_t P = 1u << 7;
inline constexpr uint16_t AVL = 1u << 8;
inline constexpr uint16_t L = 1u << 9;
inline constexpr uint16_t DB = 1u << 10;
inline constexpr uint16_t G = 1u << 11;
inline constexpr uint16_t DEFINED = 0xfff;
inline constexpr uint16_t TYPE_LDT = 2;
inline constexpr uint16_t TYPE_TSS_AVAILABLE = 9;
inline constexpr uint16_t TYPE_TSS_BUSY = 11;
inline constexpr uint16_t TYPE_TSS16_BUSY = 3;
// The usual values.
inline constexpr uint16_t CODE64 = P | S | CODE | READABLE | ACCESSED | L;      // 0x29b
inline constexpr uint16_t CODE32 = P | S | CODE | READABLE | ACCESSED | DB | G; // 0xc9b
inline constexpr uint16_t CODE16 = P | S | CODE | READABLE | ACCESSED;          // 0x09b
inline constexpr uint16_t DATA32 = P | S | WRITABLE | ACCESSED | DB | G;        // 0xc93
inline constexpr uint16_t DATA16 = P | S | WRITABLE | ACCESSED;                 // 0x093
inline constexpr uint16_t TSS_BUSY = P | TYPE_TSS_BUSY;                         // 0x08b
inline constexpr uint16_t LDT = P | TYPE_LDT;                                   // 0x082
} // namespace seg

} // namespace horos::x86
