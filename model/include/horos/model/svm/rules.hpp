// The VMRUN rules as a table, and their evaluation on numbers.
//
//     for (const RuleInfo& rule : all_rules()) ...        // ID string, section, outcome, ...
//     RuleSet broken = broken_rules(extract(machine), Params(profile));
//     repair(state, params)                               // a nearby state that breaks no rule
//
// The predicates themselves are generic over a value domain: see rule_predicates.hpp. The Z3
// side (witnesses, smallest repair) is in smt.hpp.
#pragma once

#include "horos/defs/svm_rules.hpp"
#include "horos/model/svm/outcome.hpp"

#include <array>
#include <string_view>

namespace horos::model::svm {

// The inputs that rules read. Everything in them is a 64-bit number.
enum class RuleField : uint8_t {
    // host, at the instruction
    HOST_EFER,
    HOST_CR0,
    HOST_RFLAGS,
    HOST_CPL,
    HOST_VM_HSAVE_PA,
    HOST_HWCR,
    HOST_SYSCFG,
    HOST_U_CET,
    RAX,
    // control area
    INTERCEPT_MISC1,
    INTERCEPT_MISC2,
    IOPM_BASE_PA,
    MSRPM_BASE_PA,
    GUEST_ASID,
    INT_CTL,
    NESTED_CTL,
    EVENT_INJ,
    NESTED_CR3,
    AVIC_BACKING_PAGE,
    AVIC_LOGICAL_TABLE,
    AVIC_PHYSICAL_TABLE,
    // state-save area
    CS_ATTRIBUTES,
    EFER,
    CR4,
    CR3,
    CR0,
    DR7,
    DR6,
    RFLAGS,
    S_CET,
    G_PAT,
    // memory: the four PDPEs that CR3 names in legacy PAE mode without nested paging
    PDPE0,
    PDPE1,
    PDPE2,
    PDPE3,
    COUNT,
};
inline constexpr size_t RULE_FIELD_COUNT = static_cast<size_t>(RuleField::COUNT);

enum class FieldPlace : uint8_t { HOST, VMCB, MEMORY };

struct RuleFieldInfo {
    RuleField field;
    std::string_view name; // "save.cr0", "control.event_inj", "host.efer"
    FieldPlace place;
    uint16_t vmcb_offset; // place VMCB
    uint8_t bytes;        // width; higher bits of the number are always zero
    std::string_view section;
};
std::span<const RuleFieldInfo> rule_fields();
const RuleFieldInfo& rule_field(RuleField field);

// Numbers for all fields.
struct RuleState {
    std::array<uint64_t, RULE_FIELD_COUNT> value{};
    uint64_t& operator[](RuleField f) { return value[static_cast<size_t>(f)]; }
    uint64_t operator[](RuleField f) const { return value[static_cast<size_t>(f)]; }
};

// What a rule needs to know of the processor.
struct Params {
    explicit Params(const Profile& profile);
    uint64_t physical_limit;
    uint64_t cr4_mbz;
    uint64_t efer_mbz;
    uint64_t s_cet_mbz;
    uint64_t asid_count;
    uint64_t sev_max_asid;
    bool long_mode;
    bool nested_paging;
    bool cet;
    bool vnmi;
    bool avic;
    bool x2avic;
    bool x2avic_ext;
    bool sev;
    bool sev_needs_64bit_host;
};

enum class Phase : uint8_t {
    INSTRUCTION, // before anything is loaded: a fault in the host
    CONTROL,     // control area
    STATE,       // guest state just loaded
    MEMORY,      // needs memory that the loaded state names
};

// Whether a processor must reject the state, or the manual leaves it open. Software that wants
// to be portable keeps to both; an observation of either outcome is allowed for MAY.
enum class Strength : uint8_t { MUST, MAY };

struct RuleInfo {
    RuleId id;
    std::string_view name; // "svm.vmrun.cr0.cd-nw"
    std::string_view title;
    std::string_view section; // "APM vol. 2 rev. 3.42 §15.5.1"
    Phase phase;
    Strength strength;
    OutcomeKind outcome;     // FAULT or INVALID
    x86::Vector fault;       // FAULT: UD or GP
    std::string_view repair; // in words
    std::string_view needs;  // what the profile must have for the rule to apply; "" = always
    std::span<const RuleField> fields; // that the predicate reads
};

std::span<const RuleInfo> all_rules();
const RuleInfo& rule_info(RuleId id);
const RuleInfo* find_rule(std::string_view name); // nullptr: no such rule

bool rule_holds(RuleId id, const RuleState& state, const Params& params);
bool rule_applies(RuleId id, const Params& params);
RuleSet broken_rules(const RuleState& state, const Params& params);

// A state near `state` that breaks no rule of either strength.
RuleState repair(const RuleState& state, const Params& params);
// As repair(), but leaves `keep` broken if it was (other rules that it implies stay broken too).
RuleState repair_except(const RuleState& state, const Params& params, RuleId keep);

// Between machines and rule states.
RuleState extract(const Machine& machine);
// Writes the VMCB fields of `state` into `vmcb` and the host fields into `host`.
void apply(const RuleState& state, Vmcb& vmcb, HostState& host);

} // namespace horos::model::svm
