// The rules as formulas: witnesses for the fuzzer, and the smallest repair. Needs Z3; everything
// else in the library works without it.
#pragma once

#include "horos/model/vmx/rules.hpp"

namespace horos::model::vmx {

struct Witness {
    std::string name;           // "vmx.entry.host.cr0:broken", "...:boundary", pairs "a+b"
    std::vector<RuleId> target; // the rules that were asked to be broken
    RuleSet broken;             // what the state does break
    RuleState state;
};

// For each rule that applies to `profile`: a state near `base` (which must break no rule) that
// satisfies all rules and is one bit from breaking this one, and a state that breaks this rule and
// as few others as possible.
std::vector<Witness> rule_witnesses(const Profile& profile, const RuleState& base);
// For each pair of rules that can be broken together without breaking a third: such a state, as far
// as the two single witnesses can be overlaid.
std::vector<Witness> pair_witnesses(const Profile& profile, const RuleState& base);

struct Repair {
    RuleState state;
    std::vector<size_t> changed; // inputs
    unsigned bits = 0;           // flipped in total
};
// The repair that touches the fewest fields of the VMCS, and then few bits of them (the machine and
// memory only where nothing else helps).
Repair smallest_repair(const RuleState& state, const Profile& profile);

} // namespace horos::model::vmx
