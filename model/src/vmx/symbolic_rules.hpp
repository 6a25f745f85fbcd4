// The rules and the repair as formulas. The templates over Symbolic are slow to compile, so they
// are instantiated in symbolic_rules.cpp only.
#pragma once

#include "../symbolic.hpp"
#include "horos/model/vmx/view.hpp"

#include <string>

namespace horos::model::vmx {

using SymbolicInputs = RuleInputs<Symbolic>;

// One free constant an input, with its width as far as it is below 64 bits added to `solver`.
SymbolicInputs fresh_inputs(z3::context& c, const std::string& prefix);
// As fresh_inputs(), but inputs outside `free` are the numbers of `base`.
SymbolicInputs partly_fresh_inputs(z3::context& c, const InputSet& free, const RuleState& base);
z3::expr width_constraint(const SymbolicInputs& in, const InputInfo& input);
z3::expr rule_formula(RuleId id, const SymbolicInputs& in, const Profile& profile);
SymbolicInputs repair_formula(const SymbolicInputs& in, const Profile& profile);
RuleState model_state(const z3::model& model, const SymbolicInputs& in);

} // namespace horos::model::vmx
