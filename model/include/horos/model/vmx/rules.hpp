// The rules of a VM entry as a table, and their evaluation on numbers.
//
//     for (const RuleInfo& rule : all_rules()) ...       // ID string, section, outcome, ...
//     RuleSet broken = broken_rules(state, profile);
//     RuleState fixed = repair(state, profile);          // a nearby state that breaks no rule
//
// The predicates themselves are generic over a value domain: see predicates*.hpp. The Z3 side
// (witnesses, smallest repair) is in smt.hpp.
#pragma once

#include "horos/defs/vmx_rules.hpp"
#include "horos/defs/x86.hpp"
#include "horos/model/vmx/vmcs.hpp"

#include <bitset>

namespace horos::model::vmx {

using horos::vmx::RuleId;
using horos::vmx::Segment;
using horos::vmx::SegmentCheck;

// What rules read beside the VMCS.
enum class Extra : uint8_t {
    VMX_OPERATION, // 1: in VMX root operation
    CPL,
    CR0,
    RFLAGS,
    EFER,
    CS_L,          // 1: 64-bit code segment
    CURRENT_VMCS,  // its address; all ones: none
    SHADOW_VMCS,   // 1: the current VMCS is a shadow VMCS
    MOV_SS,        // 1: events are blocked by MOV SS
    LAUNCHED,      // launch state of the current VMCS
    VMRESUME,      // 1: the instruction is VMRESUME, 0: VMLAUNCH
    VTPR,          // byte 80h of the virtual-APIC page
    LINK_REVISION, // the first four bytes at the VMCS link pointer
    PDPTE0,        // what CR3 points to, for a PAE guest without EPT
    PDPTE1,
    PDPTE2,
    PDPTE3,
    COUNT,
};
inline constexpr size_t INPUTS = FIELD_SLOTS + static_cast<size_t>(Extra::COUNT);
constexpr size_t input_of(Field f) { return slot_of(f); }
constexpr size_t input_of(Extra e) { return FIELD_SLOTS + static_cast<size_t>(e); }

enum class InputPlace : uint8_t { VMCS, MACHINE, MEMORY };
struct InputInfo {
    size_t input;
    std::string_view name;
    InputPlace place;
    unsigned bits;
    std::string_view section;
};
std::span<const InputInfo> rule_inputs(); // INPUTS of them, by index
using InputSet = std::bitset<INPUTS>;

struct RuleState {
    std::array<uint64_t, INPUTS> value{};
    uint64_t& operator[](Field f) { return value[input_of(f)]; }
    uint64_t operator[](Field f) const { return value[input_of(f)]; }
    uint64_t& operator[](Extra e) { return value[input_of(e)]; }
    uint64_t operator[](Extra e) const { return value[input_of(e)]; }
    bool operator==(const RuleState&) const = default;
};
Vmcs vmcs_of(const RuleState& state);
void put_vmcs(RuleState& state, const Vmcs& vmcs);

enum class Phase : uint8_t {
    INSTRUCTION, // before the VMCS is looked at
    CONTROL,     // §26.2.1
    HOST,        // §26.2.2 to §26.2.4; in any order with CONTROL
    GUEST,       // §26.3.1, after both
};
// Whether a processor must reject the state, or the manual leaves it open.
enum class Strength : uint8_t { MUST, MAY };

enum class FailureKind : uint8_t {
    UD,             // #UD
    GP,             // #GP(0)
    VMFAIL_INVALID, // CF
    VMFAIL_VALID,   // ZF, with a VM-instruction error
    ENTRY_FAILURE,  // exit 33 with the entry-failure bit
};
struct Failure {
    FailureKind kind = FailureKind::UD;
    horos::vmx::InstructionError error = horos::vmx::InstructionError::NONE; // VMFAIL_VALID
    horos::vmx::EntryFailure qualification = horos::vmx::EntryFailure::NONE; // ENTRY_FAILURE
    bool operator==(const Failure&) const = default;
};

struct RuleInfo {
    RuleId id;
    std::string name; // "vmx.entry.host.cr0"
    std::string title;
    std::string section; // "§26.2.2"
    Phase phase;
    Strength strength;
    Failure failure;
    std::string repair; // in words
    Needs needs;
    InputSet reads; // found by running the predicate
};

std::span<const RuleInfo> all_rules(); // in order of number
const RuleInfo& rule_info(RuleId id);  // throws std::out_of_range
const RuleInfo* find_rule(std::string_view name);

inline constexpr size_t RULE_NUMBERS = 0x600; // the largest number is below
using RuleSet = std::bitset<RULE_NUMBERS>;

bool rule_holds(RuleId id, const RuleState& state, const Profile& profile);
bool rule_applies(RuleId id, const Profile& profile);
RuleSet broken_rules(const RuleState& state, const Profile& profile);
// Which failures the manual allows for these broken rules: those of the first phase that has any,
// with CONTROL and HOST in any order. Empty: the entry goes on to load MSRs. A rule of strength MAY
// alone allows both; then `may_enter` is set.
struct Failures {
    std::vector<Failure> allowed;
    bool may_enter = false;
};
Failures failures_of(const RuleSet& broken);

// A state near `state` that breaks no rule of either strength.
RuleState repair(const RuleState& state, const Profile& profile);
// As repair(), but leaves `keep` broken if it was (others that follow from it stay broken too).
RuleState repair_except(const RuleState& state, const Profile& profile, RuleId keep);
// A valid 64-bit guest with EPT and unrestricted guest where the part has them.
RuleState default_state(const Profile& profile);

} // namespace horos::model::vmx
