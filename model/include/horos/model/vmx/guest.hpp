// What a guest does after a VM entry that breaks no rule: it runs its few instructions until the
// first VM exit, and the exit writes its information and the guest-state area
// (SDM vol. 3C 325384-077US chapters 25 to 28).
//
//     GuestInput in{&profile, &state, &memory};  in.gpr[...] = ...;
//     for (const GuestExit& exit : run_guest(in)) ...    // the allowed outcomes
//
// A pure function. Memory that the guest changes is kept aside and returned.
#pragma once

#include "horos/model/vmx/rules.hpp"
#include "horos/model/vmx/tlb.hpp"

#include <set>

namespace horos::model::vmx {

// Host-physical memory before the entry.
class PhysicalMemory {
public:
    virtual ~PhysicalMemory() = default;
    // The aligned quadword at `address`; nullopt: not memory that the caller knows.
    virtual std::optional<uint64_t> quadword(uint64_t address) const = 0;
};

// A value of which only the bits in `known` are defined.
struct Masked {
    uint64_t value = 0;
    uint64_t known = 0;
    bool allows(uint64_t observed) const { return ((observed ^ value) & known) == 0; }
};

// Wrong behaviours that the model can predict with, so that a target's known defect does not hide
// what else is wrong (none: what the manual says). docs/decisions/0010.
enum class Deviation : uint8_t {
    VIRTUAL_NMI_STICKS,      // an entry does not end virtual-NMI blocking that an earlier guest had
    REAL_MODE_CS_TYPE,       // CS is saved as a data segment in real-address mode
    REAL_MODE_ERROR_CODE,    // exits from real-address mode have an error code
    DESCRIPTOR_OPERAND_SIZE, // SGDT...LIDT: bit 11 of the instruction information stays 0
    RANDOM_OPERAND_SIZE,     // RDRAND, RDSEED: the address size decides the operand size
    PENDING_BREAKPOINT_LOST, // an enabled breakpoint without B3:B0 is not delivered
    INT1_SINGLE_STEP,        // INT1 under TF reports BS
    HLT_MISSES_WINDOW,       // an interrupt window does not end HLT
    PML_INDEX_ALWAYS,        // the PML index is checked though nothing is to be logged
    SHUTDOWN_CLEARS_IF,      // RFLAGS.IF is 0 after the shutdown state
    EPT_TABLE_WRITE_ONLY,    // with EPT A/D, a page-table access reports a write, not a read too
    INVPCID_EXITS_FIRST,     // INVPCID exits before CPL is looked at
    EXCEPTION_ENDS_SHADOW,   // an exception's exit saves no blocking by STI or MOV SS
    XSAVES_ORDER,            // XSAVES, XRSTORS: TS and CPL before the control that enables them
    XSETBV_EXITS_FIRST,      // XSETBV exits before CPL is looked at
    EPT_TABLE_UPDATE_UNCHECKED, // A and D of guest entries are set where EPT allows no write
    PML_LOGS_OFFSET,            // page-modification logging stores the address with its offset
    HLT_OUTLASTS_TRAP,          // the single-step trap after HLT does not end it
    DR7_BIT_12_KEPT,            // an entry loads bit 12 of DR7
    EXIT_WAKES,                 // such events end HLT, and blocking, though the exit comes first
    REGISTER_DISPLACEMENT,      // a displacement is reported of instructions that have none
    ENTRY_PPR_AFTER_EVENT, // an entry's TPR or PPR virtualisation comes after the injected event
    SELF_IPI_NOT_STORED,   // WRMSR of the self-IPI register does not store to the page
    APIC_WRITE_WITHIN,     // offsets within EOI and ICR_LO count as those registers
    VIRTUAL_INTERRUPT_UNRECORDED, // exits from its delivery name an earlier event
    EPTP_INDEX_NOT_LOADED,        // #VE stores the EPTP index of the last VMFUNC
    HLT_MISSES_VIRTUAL_INTERRUPT, // a virtual interrupt does not end HLT
    TSS_STACK_NAMES_SS,           // a stack of the TSS that is not canonical: #SS names the old SS
    MONITOR_TRAP_IGNORED,   // the monitor trap flag brings no exit, other than an injected one
    NULL_SS_LEVEL_0,        // SS that a switch of stacks made null is saved with DPL 0, not CPL
    V86_STACK_FIRST,        // from virtual-8086 mode the TSS's stack is looked at before the level
    LONG_TARGET_AFTER_PUSH, // a 64-bit gate's target that is not canonical faults after the pushes
    CONFORMING_PUSH_LEVEL,  // a conforming handler's frame is pushed with its DPL, not with CPL
    COUNT,
};
using Deviations = std::bitset<static_cast<size_t>(Deviation::COUNT)>;
std::string_view deviation_name(Deviation deviation);
std::optional<Deviation> find_deviation(std::string_view name);

struct GuestInput {
    const Profile* profile = nullptr;
    const RuleState* state = nullptr; // breaks no rule of strength MUST
    const PhysicalMemory* memory = nullptr;
    std::array<uint64_t, 16> gpr{}; // by encoding; RSP comes from the VMCS
    unsigned max_instructions = 16;
    Deviations deviations;
    // What the processor may have cached before the entry, of this and of other guests.
    std::span<const Mapping> tlb = {};
};

struct GuestExit {
    bool open = false; // the manual, or the model, does not say
    std::string why;   // then: what
    uint32_t reason = 0;
    std::array<Masked, FIELD_SLOTS> fields{}; // exit information and guest state
    std::array<Masked, 16> gpr{};             // RSP: in the VMCS
    std::map<uint64_t, Masked> writes;        // quadwords of memory that changed, by address
    unsigned instructions = 0;                // completed
    Deviations deviated; // of those in the input, the ones that made a difference
    // What the run went through ("RDMSR: exit", "#GP: exit", "EPT violation: write").
    std::vector<std::string> path;

    Masked& operator[](Field f) { return fields[slot_of(f)]; }
    const Masked& operator[](Field f) const { return fields[slot_of(f)]; }
};

// All outcomes that the architecture allows; never empty.
std::vector<GuestExit> run_guest(const GuestInput& input);

} // namespace horos::model::vmx
