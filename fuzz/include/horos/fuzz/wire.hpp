// What the fuzzer and the harness image share: where things lie in the target's physical memory,
// and the layout of a case slot and a result slot. Freestanding; every field is a fixed-width
// integer at a fixed place, because the two sides are different programs.
#pragma once

#include <cstddef>
#include <cstdint>

namespace horos::fuzz::wire {

inline constexpr uint64_t MAGIC = 0x315a4653'4f524f48ull; // "HOROSFZ1"
inline constexpr uint32_t VERSION = 6;

// What the harness prints when its pages are marked: looking for the marks all the time would cost
// more than the start itself.
inline constexpr char READY[] = "harness ready\n";

// ---- physical memory of the target ----
inline constexpr uint64_t IMAGE_PA = 0x0010'0000;
inline constexpr uint64_t MAILBOX_PA = 0x0020'0000;
inline constexpr uint64_t BASE_STATE_PA = 0x0020'1000; // VMCB that VMLOAD reads between cases
inline constexpr uint64_t HOST_STATE_PA = 0x0020'2000; // the harness's own VMSAVE area
inline constexpr uint64_t HSAVE_PA = 0x0020'3000;      // VM_HSAVE_PA
inline constexpr uint64_t RING_PA = 0x0030'0000;       // SLOTS pages, see ring.hpp
inline constexpr uint32_t SLOTS = 256;
inline constexpr uint32_t SLOT_SIZE = 4096;
inline constexpr uint64_t RING_END = RING_PA + uint64_t{SLOTS} * SLOT_SIZE;

// The arena is all that a guest can reach. Linear, guest-physical and host-physical addresses agree
// in the base case, so that one address means the same page in every paging mode. Its base has
// table indices 0, 1, 2, so that one page can serve as all levels of a table tree (see arena.hpp).
inline constexpr uint64_t ARENA_PA = 0x4040'0000;
inline constexpr uint32_t ARENA_PAGES = 32;
inline constexpr uint64_t ARENA_SIZE = uint64_t{ARENA_PAGES} * 4096;
inline constexpr uint64_t MEMORY_SIZE = 0x4100'0000; // RAM that a target must have

// ---- what to do around one VMRUN ----
enum Flag : uint32_t {
    FRESH_CODE = 1u << 0, // copy the code bytes into the arena first
    VMLOAD = 1u << 1,     // VMLOAD before, VMSAVE after
    DEBUG_REGS = 1u << 2, // load DR0-DR3 before, read them after
    PEND_NMI = 1u << 3,   // make an NMI pending while GIF is 0
    PEND_INTR = 1u << 4,  // likewise a fixed interrupt (INTR_VECTOR)
    HOST_IF = 1u << 5,    // host RFLAGS.IF is 1 at VMRUN
    NO_SVME = 1u << 6,    // clear EFER.SVME first
    SET_HSAVE = 1u << 7,  // write VM_HSAVE_PA first
    USER_MODE = 1u << 8,  // VMRUN at CPL 3
    TWICE = 1u << 9,      // an earlier VMRUN first, see Edit
    FLAGS_KNOWN = (1u << 10) - 1,
    WITH_TWICE = TWICE | FRESH_CODE | VMLOAD | DEBUG_REGS, // what such cases may have
    REWRITE_CODE = 1u << 10, // with FRESH_CODE: also what is in place already; never of a case
};
inline constexpr uint8_t INTR_VECTOR = 0x50;
inline constexpr uint8_t IDLE_VECTOR = 0x40;

inline constexpr uint32_t CONTROL_QWORDS = 32; // VMCB bytes 0x000-0x0ff
inline constexpr uint32_t SAVE_OFFSET = 0x400;
inline constexpr uint32_t SAVE_QWORDS = 84; // VMCB bytes 0x400-0x69f
inline constexpr uint32_t CODE_QWORDS = 16;
inline constexpr uint32_t WINDOW_QWORDS = 96;
inline constexpr uint32_t WINDOWS = 12;
inline constexpr uint32_t PATCHES = 48;
inline constexpr uint32_t EDITS = 14;

struct Patch {
    uint64_t address; // physical, inside the arena, multiple of 8
    uint64_t value;   // during the case
    uint64_t before;  // put back afterwards
};

// What differed when the same VMCB ran before, in a case with TWICE. That earlier VMRUN flushes the
// TLB, has no clean bits and injects nothing; after its #VMEXIT the VMCB, the registers and the
// windows are made as the case says, and the processor keeps what it keeps.
struct Edit {
    uint64_t place; // below SLOT_SIZE: offset in the VMCB; else an address in a window
    uint64_t value;
};

// A case as the fuzzer keeps it; ring.hpp has the form in which it reaches the harness.
struct CaseSlot {
    uint64_t id;
    uint32_t flags;
    uint32_t windows;    // bit i: window i is filled in before the case and read after it
    uint32_t patches;    // how many
    uint32_t codeQwords; // copied when FRESH_CODE
    uint64_t codeAddress;
    uint64_t hsave;
    uint64_t rax; // operand of VMRUN
    uint64_t reserved[2];
    uint64_t gpr[16]; // x86 numbering; rax and rsp of the guest come from the VMCB
    uint64_t dr[4];
    uint64_t control[CONTROL_QWORDS];
    uint64_t save[SAVE_QWORDS];
    uint64_t code[CODE_QWORDS];
    uint64_t window[WINDOW_QWORDS];
    Patch patch[PATCHES];
    uint64_t edits; // how many
    Edit edit[EDITS];
};

enum class Status : uint32_t {
    None = 0,
    Exit = 1,      // VMRUN came back
    Exception = 2, // a host exception instead
};

enum HostReg : uint32_t {
    H_CR0,
    H_CR2,
    H_CR3,
    H_CR4,
    H_CR8,
    H_EFER,
    H_RFLAGS,
    H_DR6,
    H_DR7,
    H_GDTR_BASE,
    H_GDTR_LIMIT,
    H_IDTR_BASE,
    H_IDTR_LIMIT,
    H_SELECTORS, // cs | ss << 16 | ds << 32 | es << 48
    H_TR_LDTR,   // tr | ldtr << 16
    H_HSAVE_PA,
    H_RSP_DELTA, // rsp after minus rsp before
    H_COUNT,
};

struct ResultSlot {
    uint64_t id;
    Status status;
    uint32_t vector; // of the host exception
    uint64_t error;
    uint64_t rip;
    uint32_t nmis; // host interrupts that came after STGI
    uint32_t intrs;
    uint32_t early; // host interrupts that came although GIF was 0
    uint32_t reserved;
    uint64_t gpr[16]; // after; [0] is the host's rax
    uint64_t dr[4];
    uint64_t host[H_COUNT];
    uint64_t control[CONTROL_QWORDS];
    uint64_t save[SAVE_QWORDS];
    uint64_t window[WINDOW_QWORDS];
};

struct Window {
    uint64_t address;
    uint32_t qwords;
    uint32_t offset; // in CaseSlot::window
};

enum class Command : uint64_t {
    Run = 0,      // take cases from the ring
    BareLoop = 1, // run slot 0's VMCB `argument` times with nothing around it
    LoadBase = 2, // VMLOAD from BASE_STATE_PA
    Standalone = 3,
};

// One page, with the harness's stack at its end: see ring.hpp on why. run.S knows the offsets.
struct Mailbox {
    uint64_t magic; // written last by the harness when it is ready
    uint32_t version;
    uint32_t slots;
    uint64_t baseline[H_COUNT];
    Window window[WINDOWS];
    uint64_t windowTemplate[WINDOW_QWORDS]; // what the windows hold between cases
    alignas(64) volatile uint64_t command;
    volatile uint64_t argument;
    volatile uint64_t commandSeq; // fuzzer increments
    volatile uint64_t commandDone;
    volatile uint64_t produced; // cases written, by the fuzzer
    volatile uint64_t consumed; // cases finished, by the harness
    // The harness's own, while a case runs.
    uint64_t slot; // address of the case
    uint64_t rsp;
    uint64_t rspAfter;
    uint64_t rax;
    uint64_t rflags;
    uint64_t vector; // of the exception that came instead of a #VMEXIT; ~0: none
    uint64_t error;
    uint64_t faultRip;
    volatile uint32_t nmis; // that came since the case began
    volatile uint32_t intrs;
    uint64_t left; // of the bare loop
    uint8_t table[16];
};
static_assert(sizeof(Mailbox) <= 0x700); // the rest of the page is the stack

// The embedded case of a standalone image lies at a fixed symbol; the fuzzer writes it into the
// image file. Expectations are checked and printed by the image itself.
struct Expectation {
    char name[32];
    uint32_t offset; // in ResultSlot
    uint32_t kind;   // 0: (got & mask) == value
    uint64_t mask;
    uint64_t value;
};
inline constexpr uint32_t EXPECTATIONS = 224;
inline constexpr uint32_t ARENA_RUNS = 1024;
struct ArenaRun { // `count` equal qwords
    uint64_t address;
    uint64_t value;
    uint64_t count;
};
struct Embedded {
    uint64_t magic; // EMBEDDED_EMPTY in the plain image, EMBEDDED_CASE once filled in
    uint32_t arenaRuns;
    uint32_t expectations;
    char title[128];
    Window window[WINDOWS];
    uint64_t windowTemplate[WINDOW_QWORDS];
    CaseSlot slot;
    uint64_t baseState[SAVE_QWORDS];
    Expectation expectation[EXPECTATIONS];
    ArenaRun arena[ARENA_RUNS];
};
inline constexpr uint64_t EMBEDDED_EMPTY = 0x59545045'44424d45ull; // "EMBDEPTY"
inline constexpr uint64_t EMBEDDED_CASE = 0x45534143'44424d45ull;  // "EMBDCASE"

} // namespace horos::fuzz::wire
