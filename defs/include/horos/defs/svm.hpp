// AMD SVM: the virtual machine control block and the encodings in it.
// Freestanding and constexpr only; the kernel, the model, the fuzzer and the tools share it.
// Sections are of the AMD64 Architecture Programmer's Manual ("APM") vol. 2, rev. 3.42.
#pragma once

#include <cstddef>
#include <cstdint>

namespace horos::svm {

// ------------------------------------------------------------------------------------------
// Intercept vectors (§15.9, table B-1). A vector is one 32-bit word of the control area.
// ------------------------------------------------------------------------------------------

// Word 0: CR accesses. Bit n reads CRn, bit 16+n writes CRn. Word 1: the same for DRs.
constexpr uint32_t intercept_read(unsigned n) { return 1u << (n & 15); }
constexpr uint32_t intercept_write(unsigned n) { return 1u << (16 + (n & 15)); }

// Word 3 (offset 00Ch): bit numbers.
enum class Misc1 : uint8_t {
    INTR = 0,
    NMI = 1,
    SMI = 2,
    INIT = 3,
    VINTR = 4,
    CR0_SEL_WRITE = 5, // CR0 writes that change bits other than TS and MP
    IDTR_READ = 6,
    GDTR_READ = 7,
    LDTR_READ = 8,
    TR_READ = 9,
    IDTR_WRITE = 10,
    GDTR_WRITE = 11,
    LDTR_WRITE = 12,
    TR_WRITE = 13,
    RDTSC = 14,
    RDPMC = 15,
    PUSHF = 16,
    POPF = 17,
    CPUID = 18,
    RSM = 19,
    IRET = 20,
    SWINT = 21, // INTn
    INVD = 22,
    PAUSE = 23,
    HLT = 24,
    INVLPG = 25,
    INVLPGA = 26,
    IOIO_PROT = 27,
    MSR_PROT = 28,
    TASK_SWITCH = 29,
    FERR_FREEZE = 30,
    SHUTDOWN = 31,
};

// Word 4 (offset 010h): bit numbers. Bits 31:16 trap after a write to CR15..CR0.
enum class Misc2 : uint8_t {
    VMRUN = 0,
    VMMCALL = 1,
    VMLOAD = 2,
    VMSAVE = 3,
    STGI = 4,
    CLGI = 5,
    SKINIT = 6,
    RDTSCP = 7,
    ICEBP = 8,
    WBINVD = 9, // and WBNOINVD
    MONITOR = 10,
    MWAIT = 11,       // unconditionally
    MWAIT_ARMED = 12, // only if the monitor hardware is armed
    XSETBV = 13,
    RDPRU = 14,
    EFER_WRITE_TRAP = 15,
    CR0_WRITE_TRAP = 16, // CRn: 16 + n
};

// Word 5 (offset 014h): bit numbers.
enum class Misc3 : uint8_t {
    INVLPGB = 0,
    INVLPGB_ILLEGAL = 1,
    INVPCID = 2,
    MCOMMIT = 3,
    TLBSYNC = 4,
    BUS_LOCK = 5,
    IDLE_HLT = 6,
};

constexpr uint32_t bit(Misc1 b) { return 1u << static_cast<unsigned>(b); }
constexpr uint32_t bit(Misc2 b) { return 1u << static_cast<unsigned>(b); }
constexpr uint32_t bit(Misc3 b) { return 1u << static_cast<unsigned>(b); }

// ------------------------------------------------------------------------------------------
// Exit codes (appendix C). INVALID and its neighbours are negative as 64-bit numbers.
// ------------------------------------------------------------------------------------------
enum class ExitCode : uint64_t {
    CR0_READ = 0x00, // CRn: 0x00 + n
    CR0_WRITE = 0x10,
    DR0_READ = 0x20,
    DR0_WRITE = 0x30,
    EXCEPTION_0 = 0x40, // vector v: 0x40 + v
    INTR = 0x60,
    NMI = 0x61,
    SMI = 0x62,
    INIT = 0x63,
    VINTR = 0x64,
    CR0_SEL_WRITE = 0x65,
    IDTR_READ = 0x66,
    GDTR_READ = 0x67,
    LDTR_READ = 0x68,
    TR_READ = 0x69,
    IDTR_WRITE = 0x6a,
    GDTR_WRITE = 0x6b,
    LDTR_WRITE = 0x6c,
    TR_WRITE = 0x6d,
    RDTSC = 0x6e,
    RDPMC = 0x6f,
    PUSHF = 0x70,
    POPF = 0x71,
    CPUID = 0x72,
    RSM = 0x73,
    IRET = 0x74,
    SWINT = 0x75,
    INVD = 0x76,
    PAUSE = 0x77,
    HLT = 0x78,
    INVLPG = 0x79,
    INVLPGA = 0x7a,
    IOIO = 0x7b,
    MSR = 0x7c,
    TASK_SWITCH = 0x7d,
    FERR_FREEZE = 0x7e,
    SHUTDOWN = 0x7f,
    VMRUN = 0x80,
    VMMCALL = 0x81,
    VMLOAD = 0x82,
    VMSAVE = 0x83,
    STGI = 0x84,
    CLGI = 0x85,
    SKINIT = 0x86,
    RDTSCP = 0x87,
    ICEBP = 0x88,
    WBINVD = 0x89,
    MONITOR = 0x8a,
    MWAIT = 0x8b,
    MWAIT_CONDITIONAL = 0x8c,
    XSETBV = 0x8d,
    RDPRU = 0x8e,
    EFER_WRITE_TRAP = 0x8f,
    CR0_WRITE_TRAP = 0x90, // CRn: 0x90 + n
    INVLPGB = 0xa0,
    INVLPGB_ILLEGAL = 0xa1,
    INVPCID = 0xa2,
    MCOMMIT = 0xa3,
    TLBSYNC = 0xa4,
    BUS_LOCK = 0xa5,
    IDLE_HLT = 0xa6,
    NPF = 0x400,
    AVIC_INCOMPLETE_IPI = 0x401,
    AVIC_NOACCEL = 0x402,
    VMGEXIT = 0x403,
    INVALID = ~0ull,           // -1
    BUSY = ~0ull - 1,          // -2
    IDLE_REQUIRED = ~0ull - 2, // -3
    INVALID_PMC = ~0ull - 3,   // -4
};
constexpr ExitCode exit_code(ExitCode base, unsigned n) {
    return static_cast<ExitCode>(static_cast<uint64_t>(base) + n);
}

// ------------------------------------------------------------------------------------------
// Control-area fields
// ------------------------------------------------------------------------------------------

// TLB_CONTROL (offset 05Ch, §15.16.2). Other values are reserved.
enum class TlbControl : uint8_t {
    NOTHING = 0,
    FLUSH_ALL = 1,
    FLUSH_GUEST = 3,           // this guest's entries, global ones included
    FLUSH_GUEST_NONGLOBAL = 7, // this guest's non-global entries
};
// Offset 05Ch, bits above TLB_CONTROL: return address predictor controls.
inline constexpr uint8_t RAP_ALLOW_LARGER = 1u << 0; // bit 40 of the quadword
inline constexpr uint8_t RAP_CLEAR = 1u << 1;        // bit 41

// Virtual-interrupt word (offset 060h, §15.21), bits 31:0; the vector is the byte at 064h.
namespace int_ctl {
inline constexpr uint32_t V_TPR = 0x000000ff; // only 3:0 are the priority; 7:4 should be zero
inline constexpr uint32_t V_TPR_PRIO = 0x0000000f;
inline constexpr uint32_t V_IRQ = 1u << 8;
inline constexpr uint32_t V_GIF = 1u << 9;
inline constexpr uint32_t V_NMI = 1u << 11;      // pending
inline constexpr uint32_t V_NMI_MASK = 1u << 12; // blocked
inline constexpr unsigned V_INTR_PRIO_SHIFT = 16;
inline constexpr uint32_t V_INTR_PRIO = 0xfu << V_INTR_PRIO_SHIFT;
inline constexpr uint32_t V_IGN_TPR = 1u << 20;
inline constexpr uint32_t V_INTR_MASKING = 1u << 24;
inline constexpr uint32_t V_GIF_ENABLE = 1u << 25;
inline constexpr uint32_t V_NMI_ENABLE = 1u << 26;
inline constexpr uint32_t X2AVIC_ENABLE = 1u << 30;
inline constexpr uint32_t AVIC_ENABLE = 1u << 31;
} // namespace int_ctl

// Offset 068h.
namespace int_state {
inline constexpr uint64_t INTERRUPT_SHADOW = 1ull << 0;
inline constexpr uint64_t GUEST_INTERRUPT_MASK = 1ull << 1; // RFLAGS.IF of an SEV-ES guest
} // namespace int_state

// Offset 090h.
namespace nested_ctl {
inline constexpr uint64_t NP_ENABLE = 1ull << 0;
inline constexpr uint64_t SEV_ENABLE = 1ull << 1;
inline constexpr uint64_t SEV_ES_ENABLE = 1ull << 2;
inline constexpr uint64_t GMET_ENABLE = 1ull << 3;
inline constexpr uint64_t SSS_CHECK_ENABLE = 1ull << 4;
inline constexpr uint64_t VTE_ENABLE = 1ull << 5;
inline constexpr uint64_t ROGPT_ENABLE = 1ull << 6;
inline constexpr uint64_t INVLPGB_TLBSYNC_ENABLE = 1ull << 7;
} // namespace nested_ctl

// Offset 0B8h.
namespace virt_ext {
inline constexpr uint64_t LBR_VIRT_ENABLE = 1ull << 0;
inline constexpr uint64_t VIRT_VMLOAD_VMSAVE = 1ull << 1;
inline constexpr uint64_t IBS_VIRT_ENABLE = 1ull << 2;
inline constexpr uint64_t PMC_VIRT_ENABLE = 1ull << 3;
} // namespace virt_ext

// VMCB clean field (offset 0C0h, §15.15.3): a set bit says that the group is unchanged since
// the last exit, so that the processor may keep what it has cached.
enum class CleanBit : uint8_t {
    INTERCEPTS = 0, // intercept vectors, TSC offset, pause filter
    IOMSRPM = 1,
    ASID = 2,
    TPR = 3, // the whole virtual-interrupt word but V_IRQ..
    NP = 4,
    CRX = 5, // CR0, CR3, CR4, EFER
    DRX = 6,
    DT = 7,  // GDT, IDT
    SEG = 8, // CS, DS, SS, ES, CPL
    CR2 = 9,
    LBR = 10,
    AVIC = 11,
    CET = 12,
};
constexpr uint32_t bit(CleanBit b) { return 1u << static_cast<unsigned>(b); }

// EVENTINJ (offset 0A8h, §15.20) and EXITINTINFO (offset 088h, §15.7.2) share one format.
namespace event {
inline constexpr uint64_t VECTOR = 0xff;
inline constexpr unsigned TYPE_SHIFT = 8;
inline constexpr uint64_t TYPE = 7ull << TYPE_SHIFT;
inline constexpr uint64_t ERROR_CODE_VALID = 1ull << 11;
inline constexpr uint64_t VALID = 1ull << 31;
inline constexpr unsigned ERROR_CODE_SHIFT = 32;
inline constexpr uint64_t RESERVED = 0x7ffff000ull; // 30:12
} // namespace event
enum class EventType : uint8_t {
    INTR = 0, // external or virtual interrupt
    NMI = 2,
    EXCEPTION = 3,
    SOFTWARE_INTERRUPT = 4, // INTn
};
constexpr uint64_t make_event(EventType type, uint8_t vector) {
    return event::VALID | (static_cast<uint64_t>(type) << event::TYPE_SHIFT) | vector;
}
constexpr uint64_t make_event(EventType type, uint8_t vector, uint32_t error_code) {
    return make_event(type, vector) | event::ERROR_CODE_VALID |
           (static_cast<uint64_t>(error_code) << event::ERROR_CODE_SHIFT);
}

// ------------------------------------------------------------------------------------------
// Exit information
// ------------------------------------------------------------------------------------------

// EXITINFO1 of an IOIO exit (§15.10.2).
namespace ioio {
inline constexpr uint64_t IN = 1ull << 0; // 0: OUT
inline constexpr uint64_t STR = 1ull << 2;
inline constexpr uint64_t REP = 1ull << 3;
inline constexpr uint64_t SZ8 = 1ull << 4;
inline constexpr uint64_t SZ16 = 1ull << 5;
inline constexpr uint64_t SZ32 = 1ull << 6;
inline constexpr uint64_t A16 = 1ull << 7;
inline constexpr uint64_t A32 = 1ull << 8;
inline constexpr uint64_t A64 = 1ull << 9;
inline constexpr unsigned SEG_SHIFT = 10; // 12:10 effective segment, string forms
inline constexpr uint64_t SEG = 7ull << SEG_SHIFT;
inline constexpr unsigned PORT_SHIFT = 16;
inline constexpr uint64_t PORT = 0xffffull << PORT_SHIFT;
} // namespace ioio

// EXITINFO1 of an MSR exit (§15.11): 0 read, 1 write.
inline constexpr uint64_t MSR_EXIT_READ = 0;
inline constexpr uint64_t MSR_EXIT_WRITE = 1;

// EXITINFO1 of a MOV CR exit with decode assists (§15.8.1).
inline constexpr uint64_t CR_EXIT_MOV = 1ull << 63;
inline constexpr uint64_t CR_EXIT_GPR = 0xf;

// EXITINFO2 of a task-switch exit (§15.14.1).
namespace task_switch {
inline constexpr uint64_t ERROR_CODE = 0xffffffffull;
inline constexpr uint64_t IRET = 1ull << 36;
inline constexpr uint64_t FAR_JUMP = 1ull << 38;
inline constexpr uint64_t HAS_ERROR_CODE = 1ull << 44;
inline constexpr uint64_t RFLAGS_RF = 1ull << 48;
} // namespace task_switch

// EXITINFO1 of a nested page fault (§15.25.6); EXITINFO2 is the guest-physical address.
namespace npf {
inline constexpr uint64_t P = 1ull << 0;
inline constexpr uint64_t RW = 1ull << 1;
inline constexpr uint64_t US = 1ull << 2;
inline constexpr uint64_t RSV = 1ull << 3;
inline constexpr uint64_t ID = 1ull << 4;
inline constexpr uint64_t SS = 1ull << 6;
inline constexpr uint64_t RMP = 1ull << 31;
inline constexpr uint64_t FINAL = 1ull << 32; // while translating the final guest address
inline constexpr uint64_t TABLE = 1ull << 33; // while walking the guest's page tables
inline constexpr uint64_t ENCRYPTED = 1ull << 34;
inline constexpr uint64_t SIZE_MISMATCH = 1ull << 35;
inline constexpr uint64_t VMPL_FAILED = 1ull << 36;
inline constexpr uint64_t SSS = 1ull << 37;
} // namespace npf

// ------------------------------------------------------------------------------------------
// Permission maps
// ------------------------------------------------------------------------------------------

// I/O permission map (§15.10.1): one bit a port, 12 KiB, physically contiguous; the three bits
// past port FFFFh serve accesses that run over the end.
inline constexpr size_t IOPM_BYTES = 12 * 1024;
inline constexpr size_t IOPM_BITS_USED = 65536 + 3;

// MSR permission map (§15.11): two bits an MSR (even: read, odd: write), 8 KiB.
inline constexpr size_t MSRPM_BYTES = 8 * 1024;
struct MsrpmRange {
    uint32_t first_msr;
    uint32_t count;
    uint32_t byte_offset;
};
inline constexpr MsrpmRange MSRPM_RANGES[3] = {
    {0x00000000u, 0x2000u, 0x000u},
    {0xc0000000u, 0x2000u, 0x800u},
    {0xc0010000u, 0x2000u, 0x1000u},
};
inline constexpr uint32_t MSRPM_NO_BIT = 0xffffffffu;
// The number of the MSR's read bit in the map (the write bit is the next), or MSRPM_NO_BIT for
// an MSR outside the map, whose access always exits.
constexpr uint32_t msrpm_bit(uint32_t msr) {
    for (const MsrpmRange& range : MSRPM_RANGES) {
        if (msr - range.first_msr < range.count) {
            return range.byte_offset * 8 + (msr - range.first_msr) * 2;
        }
    }
    return MSRPM_NO_BIT;
}

// VMRUN and friends look at maps through these fields' bits 51:12 only.
inline constexpr uint64_t MAP_BASE_MASK = 0x000ffffffffff000ull;

inline constexpr size_t VMCB_BYTES = 4096;
inline constexpr size_t SAVE_AREA_OFFSET = 0x400;

// ------------------------------------------------------------------------------------------
// The block itself (tables B-1 and B-2). Every byte has a name; no bit-fields, no unions.
// ------------------------------------------------------------------------------------------

struct Segment {
    uint16_t selector;
    uint16_t attributes; // x86::seg
    uint32_t limit;      // in bytes, granularity already applied
    uint64_t base;
};
static_assert(sizeof(Segment) == 16);

struct ControlArea {
    uint32_t intercept_cr;         // 000
    uint32_t intercept_dr;         // 004
    uint32_t intercept_exceptions; // 008
    uint32_t intercept_misc1;      // 00C
    uint32_t intercept_misc2;      // 010
    uint32_t intercept_misc3;      // 014
    uint8_t reserved_018[0x24];
    uint16_t pause_filter_threshold; // 03C
    uint16_t pause_filter_count;     // 03E
    uint64_t iopm_base_pa;           // 040
    uint64_t msrpm_base_pa;          // 048
    uint64_t tsc_offset;             // 050
    uint32_t guest_asid;             // 058
    uint8_t tlb_control;             // 05C
    uint8_t rap_control;             // 05D
    uint8_t reserved_05e[2];
    uint32_t int_ctl;      // 060
    uint8_t v_intr_vector; // 064
    uint8_t reserved_065[3];
    uint64_t int_state;     // 068
    uint64_t exit_code;     // 070
    uint64_t exit_info_1;   // 078
    uint64_t exit_info_2;   // 080
    uint64_t exit_int_info; // 088
    uint64_t nested_ctl;    // 090
    uint64_t avic_apic_bar; // 098
    uint64_t ghcb_pa;       // 0A0
    uint64_t event_inj;     // 0A8
    uint64_t nested_cr3;    // 0B0
    uint64_t virt_ext;      // 0B8
    uint32_t clean_bits;    // 0C0
    uint32_t reserved_0c4;
    uint64_t next_rip;                 // 0C8
    uint8_t instruction_bytes_fetched; // 0D0
    uint8_t instruction_bytes[15];     // 0D1
    uint64_t avic_backing_page;        // 0E0
    uint64_t reserved_0e8;
    uint64_t avic_logical_table;  // 0F0
    uint64_t avic_physical_table; // 0F8
    uint64_t reserved_100;
    uint64_t vmsa_pa;            // 108
    uint64_t vmgexit_rax;        // 110
    uint64_t vmgexit_cpl;        // 118, byte 0
    uint16_t bus_lock_threshold; // 120
    uint8_t reserved_122[0x12];
    uint32_t update_irr;           // 134
    uint64_t allowed_sev_features; // 138
    uint64_t guest_sev_features;   // 140
    uint64_t reserved_148;
    uint8_t requested_irr[0x20]; // 150
    uint8_t reserved_170[0x270];
    uint8_t reserved_for_host[0x20]; // 3E0
};

struct SaveArea {
    Segment es;   // 000 (VMCB offset 400)
    Segment cs;   // 010
    Segment ss;   // 020
    Segment ds;   // 030
    Segment fs;   // 040
    Segment gs;   // 050
    Segment gdtr; // 060, limit and base only
    Segment ldtr; // 070
    Segment idtr; // 080, limit and base only
    Segment tr;   // 090
    uint8_t reserved_0a0[0x2b];
    uint8_t cpl; // 0CB
    uint32_t reserved_0cc;
    uint64_t efer; // 0D0
    uint64_t reserved_0d8;
    uint64_t perf_ctl_ctr[12]; // 0E0: control, counter of six counters (PMC virtualisation)
    uint64_t reserved_140;
    uint64_t cr4;    // 148
    uint64_t cr3;    // 150
    uint64_t cr0;    // 158
    uint64_t dr7;    // 160
    uint64_t dr6;    // 168
    uint64_t rflags; // 170
    uint64_t rip;    // 178
    uint8_t reserved_180[0x40];
    uint64_t instr_retired_ctr;      // 1C0
    uint64_t perf_ctr_global_status; // 1C8
    uint64_t perf_ctr_global_ctl;    // 1D0
    uint64_t rsp;                    // 1D8
    uint64_t s_cet;                  // 1E0
    uint64_t ssp;                    // 1E8
    uint64_t isst_addr;              // 1F0
    uint64_t rax;                    // 1F8
    uint64_t star;                   // 200, VMLOAD/VMSAVE
    uint64_t lstar;                  // 208, VMLOAD/VMSAVE
    uint64_t cstar;                  // 210, VMLOAD/VMSAVE
    uint64_t sfmask;                 // 218, VMLOAD/VMSAVE
    uint64_t kernel_gs_base;         // 220, VMLOAD/VMSAVE
    uint64_t sysenter_cs;            // 228, VMLOAD/VMSAVE
    uint64_t sysenter_esp;           // 230, VMLOAD/VMSAVE
    uint64_t sysenter_eip;           // 238, VMLOAD/VMSAVE
    uint64_t cr2;                    // 240
    uint8_t reserved_248[0x20];
    uint64_t g_pat;          // 268
    uint64_t dbgctl;         // 270, LBR virtualisation
    uint64_t br_from;        // 278
    uint64_t br_to;          // 280
    uint64_t last_excp_from; // 288
    uint64_t last_excp_to;   // 290
    uint64_t dbg_extn_ctl;   // 298
    uint8_t reserved_2a0[0x40];
    uint64_t spec_ctrl; // 2E0
    uint8_t reserved_2e8[0x388];
    uint8_t lbr_stack[0x100]; // 670
    uint64_t lbr_select;      // 770
    uint8_t reserved_778[0x488];
};

struct alignas(4096) Vmcb {
    ControlArea control;
    SaveArea save;
};

static_assert(sizeof(ControlArea) == 0x400);
static_assert(sizeof(SaveArea) == 0xc00);
static_assert(sizeof(Vmcb) == VMCB_BYTES);

static_assert(offsetof(ControlArea, intercept_cr) == 0x000);
static_assert(offsetof(ControlArea, intercept_dr) == 0x004);
static_assert(offsetof(ControlArea, intercept_exceptions) == 0x008);
static_assert(offsetof(ControlArea, intercept_misc1) == 0x00c);
static_assert(offsetof(ControlArea, intercept_misc2) == 0x010);
static_assert(offsetof(ControlArea, intercept_misc3) == 0x014);
static_assert(offsetof(ControlArea, pause_filter_threshold) == 0x03c);
static_assert(offsetof(ControlArea, pause_filter_count) == 0x03e);
static_assert(offsetof(ControlArea, iopm_base_pa) == 0x040);
static_assert(offsetof(ControlArea, msrpm_base_pa) == 0x048);
static_assert(offsetof(ControlArea, tsc_offset) == 0x050);
static_assert(offsetof(ControlArea, guest_asid) == 0x058);
static_assert(offsetof(ControlArea, tlb_control) == 0x05c);
static_assert(offsetof(ControlArea, rap_control) == 0x05d);
static_assert(offsetof(ControlArea, int_ctl) == 0x060);
static_assert(offsetof(ControlArea, v_intr_vector) == 0x064);
static_assert(offsetof(ControlArea, int_state) == 0x068);
static_assert(offsetof(ControlArea, exit_code) == 0x070);
static_assert(offsetof(ControlArea, exit_info_1) == 0x078);
static_assert(offsetof(ControlArea, exit_info_2) == 0x080);
static_assert(offsetof(ControlArea, exit_int_info) == 0x088);
static_assert(offsetof(ControlArea, nested_ctl) == 0x090);
static_assert(offsetof(ControlArea, avic_apic_bar) == 0x098);
static_assert(offsetof(ControlArea, ghcb_pa) == 0x0a0);
static_assert(offsetof(ControlArea, event_inj) == 0x0a8);
static_assert(offsetof(ControlArea, nested_cr3) == 0x0b0);
static_assert(offsetof(ControlArea, virt_ext) == 0x0b8);
static_assert(offsetof(ControlArea, clean_bits) == 0x0c0);
static_assert(offsetof(ControlArea, next_rip) == 0x0c8);
static_assert(offsetof(ControlArea, instruction_bytes_fetched) == 0x0d0);
static_assert(offsetof(ControlArea, instruction_bytes) == 0x0d1);
static_assert(offsetof(ControlArea, avic_backing_page) == 0x0e0);
static_assert(offsetof(ControlArea, avic_logical_table) == 0x0f0);
static_assert(offsetof(ControlArea, avic_physical_table) == 0x0f8);
static_assert(offsetof(ControlArea, vmsa_pa) == 0x108);
static_assert(offsetof(ControlArea, vmgexit_rax) == 0x110);
static_assert(offsetof(ControlArea, vmgexit_cpl) == 0x118);
static_assert(offsetof(ControlArea, bus_lock_threshold) == 0x120);
static_assert(offsetof(ControlArea, update_irr) == 0x134);
static_assert(offsetof(ControlArea, allowed_sev_features) == 0x138);
static_assert(offsetof(ControlArea, guest_sev_features) == 0x140);
static_assert(offsetof(ControlArea, requested_irr) == 0x150);
static_assert(offsetof(ControlArea, reserved_for_host) == 0x3e0);

static_assert(offsetof(SaveArea, es) == 0x000);
static_assert(offsetof(SaveArea, cs) == 0x010);
static_assert(offsetof(SaveArea, ss) == 0x020);
static_assert(offsetof(SaveArea, ds) == 0x030);
static_assert(offsetof(SaveArea, fs) == 0x040);
static_assert(offsetof(SaveArea, gs) == 0x050);
static_assert(offsetof(SaveArea, gdtr) == 0x060);
static_assert(offsetof(SaveArea, ldtr) == 0x070);
static_assert(offsetof(SaveArea, idtr) == 0x080);
static_assert(offsetof(SaveArea, tr) == 0x090);
static_assert(offsetof(SaveArea, cpl) == 0x0cb);
static_assert(offsetof(SaveArea, efer) == 0x0d0);
static_assert(offsetof(SaveArea, perf_ctl_ctr) == 0x0e0);
static_assert(offsetof(SaveArea, cr4) == 0x148);
static_assert(offsetof(SaveArea, cr3) == 0x150);
static_assert(offsetof(SaveArea, cr0) == 0x158);
static_assert(offsetof(SaveArea, dr7) == 0x160);
static_assert(offsetof(SaveArea, dr6) == 0x168);
static_assert(offsetof(SaveArea, rflags) == 0x170);
static_assert(offsetof(SaveArea, rip) == 0x178);
static_assert(offsetof(SaveArea, instr_retired_ctr) == 0x1c0);
static_assert(offsetof(SaveArea, rsp) == 0x1d8);
static_assert(offsetof(SaveArea, s_cet) == 0x1e0);
static_assert(offsetof(SaveArea, ssp) == 0x1e8);
static_assert(offsetof(SaveArea, isst_addr) == 0x1f0);
static_assert(offsetof(SaveArea, rax) == 0x1f8);
static_assert(offsetof(SaveArea, star) == 0x200);
static_assert(offsetof(SaveArea, lstar) == 0x208);
static_assert(offsetof(SaveArea, cstar) == 0x210);
static_assert(offsetof(SaveArea, sfmask) == 0x218);
static_assert(offsetof(SaveArea, kernel_gs_base) == 0x220);
static_assert(offsetof(SaveArea, sysenter_cs) == 0x228);
static_assert(offsetof(SaveArea, sysenter_esp) == 0x230);
static_assert(offsetof(SaveArea, sysenter_eip) == 0x238);
static_assert(offsetof(SaveArea, cr2) == 0x240);
static_assert(offsetof(SaveArea, g_pat) == 0x268);
static_assert(offsetof(SaveArea, dbgctl) == 0x270);
static_assert(offsetof(SaveArea, br_from) == 0x278);
static_assert(offsetof(SaveArea, br_to) == 0x280);
static_assert(offsetof(SaveArea, last_excp_from) == 0x288);
static_assert(offsetof(SaveArea, last_excp_to) == 0x290);
static_assert(offsetof(SaveArea, dbg_extn_ctl) == 0x298);
static_assert(offsetof(SaveArea, spec_ctrl) == 0x2e0);
static_assert(offsetof(SaveArea, lbr_stack) == 0x670);
static_assert(offsetof(SaveArea, lbr_select) == 0x770);

} // namespace horos::svm
