// The rules as formulas: witnesses for the fuzzer, and the smallest repair.
//
// Needs Z3. Everything else in the library works without it.
#pragma once

#include "horos/model/svm/rules.hpp"

namespace horos::model::svm {

struct Witness {
    std::string name;           // "svm.vmrun.cr0.cd-nw:broken", "...:boundary", pairs "a+b"
    std::vector<RuleId> target; // the rules that were asked to be broken
    RuleSet broken;             // what the state does break (never more than target implies)
    RuleState state;
};

// For each rule that applies to `profile`: a state that satisfies all rules and sits close to
// this one's boundary, and a state that breaks this rule and as few others as possible. Both are
// distance-minimal to `base` (a state that breaks no rule; see default_state()).
std::vector<Witness> rule_witnesses(const Profile& profile, const RuleState& base);
// For each pair of rules that can be broken together without breaking a third: such a state.
std::vector<Witness> pair_witnesses(const Profile& profile, const RuleState& base);

// A valid 64-bit guest without nested paging on `profile`; every rule holds.
RuleState default_state(const Profile& profile);

struct Repair {
    RuleState state;
    std::vector<RuleField> changed;
    unsigned bits = 0; // flipped in total
};
// The repair that touches the fewest fields, then the fewest bits, of the VMCB (and of the host
// where only that helps). A guest whose mode is defined (EFER.LMA matches) stays so.
Repair smallest_repair(const RuleState& state, const Profile& profile);

} // namespace horos::model::svm
