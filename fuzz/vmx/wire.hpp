// What the VMX harness and the driver share: one block of the target's memory, and where the rest
// lies. Freestanding.
//
// The block is one that Bochs keeps in one piece (128 KiB, aligned), so that finding its first page
// in the process finds all of it.
#pragma once

#include <cstdint>

namespace horos::fuzz::vmx {

inline constexpr uint64_t MAGIC = 0x786d762d736f726full; // "oros-vmx"
inline constexpr uint64_t SHARED_PA = 0x400000;
inline constexpr uint64_t SHARED_BYTES = 0x20000;
inline constexpr unsigned SLOTS = 30;
inline constexpr unsigned FIELDS = 170; // at least model::vmx::FIELD_SLOTS

inline constexpr uint64_t VMXON_PA = 0x500000;
inline constexpr uint64_t VMCS_CLEAR_PA = 0x501000;
inline constexpr uint64_t VMCS_LAUNCHED_PA = 0x502000;
inline constexpr uint64_t LINK_PA = 0x503000;
inline constexpr uint64_t SEQUENCE_PA = 0x528000; // eight regions for VMX-instruction sequences
inline constexpr unsigned SEQUENCE_REGIONS = 8;
inline constexpr uint64_t UNBLOCKING_VMCS_PA = 0x530000;
// Memory that a guest, or the processor on its behalf, can reach: layout.hpp fills it.
inline constexpr uint64_t ARENA_PA = 0x504000;
inline constexpr uint64_t VAPIC_PA = 0x504000;
inline constexpr uint64_t EPT_PML4_PA = 0x505000;
inline constexpr uint64_t EPT_PDPT_PA = 0x506000;
inline constexpr uint64_t GUEST_PML4_PA = 0x507000;
inline constexpr uint64_t GUEST_PDPT_PA = 0x508000;
inline constexpr uint64_t PAE_PDPT_PA = 0x509000;
inline constexpr uint64_t GUEST_PD32_PA = 0x50a000;
inline constexpr uint64_t EPT_PD_PA = 0x50b000;
inline constexpr uint64_t EPT_PT_PA = 0x50c000;
inline constexpr uint64_t GUEST_PD_PA = 0x50d000;
inline constexpr uint64_t GUEST_PT_PA = 0x50e000;
inline constexpr uint64_t DESCRIPTORS_PA = 0x50f000;           // a GDT, and an IDT 400h above
inline constexpr uint64_t VECTORS_PA = DESCRIPTORS_PA + 0x900; // real-address mode
inline constexpr uint64_t GATES32_PA = DESCRIPTORS_PA + 0xd00;
inline constexpr uint64_t CODE_PA = 0x510000;
inline constexpr uint64_t HANDLER_PA = 0x511000;
inline constexpr uint64_t MSR_LIST_PA = 0x512000;  // 512 entries that may be loaded
inline constexpr uint64_t MSR_STORE_PA = 0x514000; // 512 entries that are stored over
inline constexpr uint64_t ZERO_PA = 0x516000;      // bitmaps, two pages
inline constexpr uint64_t LOG_PA = 0x518000;       // PML, EPTP list
inline constexpr uint64_t VE_PA = 0x519000;        // the virtualization-exception information
inline constexpr uint64_t DATA_PA = 0x51a000;      // what the guest may write
inline constexpr uint64_t STACK_PA = DATA_PA + 0x800;
inline constexpr uint64_t SECOND_DATA_PA = 0x51b000;
inline constexpr uint64_t OTHER_EPT_PA = 0x51c000; // a second EPT root, for EPTP switching
inline constexpr uint64_t APIC_PA = 0x51d000;      // the APIC-access page
inline constexpr uint64_t IDT_PA = 0x51e000;       // 256 gates
inline constexpr uint64_t TSS_PA = 0x51f000;       // task-state segments: layout.hpp
inline constexpr uint64_t TSS32_PA = TSS_PA + 0x400, TSS16_PA = TSS_PA + 0x800,
                          BACK_TSS_PA = TSS_PA + 0xc00;
inline constexpr uint64_t ARENA_END = 0x520000;
inline constexpr uint64_t MSR_ENTRIES = 512;

enum Command : uint32_t { IDLE = 0, RUN = 1, QUIT = 2, FIELDS_CHANGED = 3 };
enum Flag : uint32_t {
    FLAG_RESUME = 1,     // VMRESUME
    FLAG_LAUNCHED = 2,   // on the VMCS whose launch state is launched
    FLAG_MOV_SS = 4,     // right after MOV SS
    FLAG_NO_VMCS = 8,    // no VMCS is current
    FLAG_VMXOFF = 16,    // outside VMX operation
    FLAG_SHADOW = 32,    // the current VMCS is marked as a shadow
    FLAG_PROBE = 64,     // read every listed encoding, run nothing
    FLAG_GUEST = 128,    // with registers, code and changes of the arena
    FLAG_SEQUENCE = 256, // a sequence of VMX instructions, no entry of its own
    FLAG_BARE = 512,     // the entry only: nothing written, nothing read
    FLAG_VAPIC = 1024,   // the virtual-APIC page is in use
    FLAG_TWICE = 2048,   // another entry comes first; that of the case is a VMRESUME
    FLAG_NO_EPT = 4096,  // an entry of the case runs without EPT: the guest can write anything
    FLAG_CHECK = 8192,   // run nothing; value[0]: an address whose memory a case has left changed
};
enum Outcome : uint32_t {
    FAIL_INVALID = 0,
    FAIL_VALID = 1,
    EXITED = 2,
    WRITE_FAILED = 3, // VMWRITE of `bad_encoding`
    READ_FAILED = 4,
    SUCCEEDED = 5, // in a sequence
    FAULT = 0x100, // plus the vector
};

// A change of the arena for one case.
struct Poke {
    uint64_t address;
    uint64_t value;
};
inline constexpr unsigned VAPIC_REGISTERS = 64;
inline constexpr unsigned VE_WORDS = 5;
inline constexpr unsigned POKES = 10, CODE_BYTES = 40, OPERATIONS = 14;
struct GuestPart {
    uint64_t gpr[16]; // RSP is in the VMCS
    uint8_t code[CODE_BYTES];
    uint32_t pokes, code_bytes;
    Poke poke[POKES];
};
// An entry before that of the case: what differs for it, and the invalidation in between.
enum TwiceInstruction : uint32_t { TWICE_NONE = 0, TWICE_INVEPT = 1, TWICE_INVVPID = 2 };
inline constexpr unsigned TWICE_EDITS = 1, TWICE_FIELDS = 3;
struct Twice {
    uint32_t edits, fields, instruction, type;
    Poke edit[TWICE_EDITS];
    Poke field[TWICE_FIELDS]; // `address`: the encoding
    uint64_t operand, linear; // of INVEPT or INVVPID
};
// One step of a sequence; the instruction is a model::vmx::Instruction, or one of these.
enum Step : uint16_t { STEP_FILL = 0x100, STEP_REVISION = 0x101 };
struct Operand {
    uint16_t instruction;
    uint16_t register_operand;
    uint32_t mov_ss;
    uint64_t operand, value, value2;
};
struct Case {
    uint64_t pdpte[4];
    uint32_t flags;
    uint32_t link_revision;
    uint64_t vtpr;
    union {
        GuestPart guest;
        Operand step[OPERATIONS];
    };
    Twice twice;
    uint64_t value[FIELDS];
};
struct Result {
    uint32_t outcome;
    uint32_t error; // VM-instruction error
    uint32_t bad_encoding;
    uint32_t host_changed; // of the host's state, bit by bit; 0: as it was
    uint64_t gpr[16];
    uint64_t after[POKES]; // the changed words of the arena, after the run
    uint64_t data[16];     // DATA_PA, and the 64 bytes below STACK_PA
    uint64_t ve[VE_WORDS];
    uint32_t vapic[VAPIC_REGISTERS]; // the virtual-APIC page, one word of every sixteen bytes
    uint64_t value[FIELDS];          // a sequence: outcome | error << 32, and the value, by turns
};
struct Slot {
    union {
        Case test;
        uint8_t test_bytes[2048];
    };
    union {
        Result result;
        uint8_t result_bytes[2048];
    };
};
static_assert(sizeof(Slot) == 4096);
static_assert(sizeof(Case) <= 2048 && sizeof(Result) <= 2048);

// What the host's state must be for the harness to survive.
struct HostValues {
    uint64_t rip, rsp, cr0, cr3, cr4, efer, gdtr, idtr, tr_base;
    uint64_t interrupt_masks; // of the two 8259s: no device interrupts a guest
};
// Slots are filled and read by halves, so that the driver judges one while the other runs.
inline constexpr unsigned LANES = 2, LANE_SLOTS = SLOTS / LANES;
struct Lane {
    volatile uint32_t command; // set by the driver, cleared by the harness
    volatile uint32_t count;   // slots to run
    volatile uint32_t current; // the one that runs now
    uint32_t reserved;
};
struct Mailbox {
    uint64_t magic;
    uint64_t self;
    volatile uint32_t ready;
    uint32_t bad_encoding; // of the lists; 0: all may be written
    Lane lane[LANES];
    HostValues host;
    uint32_t write_count, read_count;
    uint16_t write_list[FIELDS]; // encodings
    uint16_t read_list[FIELDS];
    uint8_t write_slot[FIELDS]; // where their values are
    uint8_t read_slot[FIELDS];
};
static_assert(sizeof(Mailbox) <= 4096);

} // namespace horos::fuzz::vmx
