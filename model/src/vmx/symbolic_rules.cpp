#include "symbolic_rules.hpp"

#include "horos/model/vmx/rule_repair.hpp"

namespace horos::model::vmx {

SymbolicInputs fresh_inputs(z3::context& c, const std::string& prefix) {
    const Symbolic::Scope scope(c);
    SymbolicInputs in;
    for (const InputInfo& input : rule_inputs()) {
        const std::string name = prefix + (input.bits == 0 ? "unused" : std::string(input.name));
        in.value[input.input] = {c.bv_const(name.c_str(), 64)};
    }
    return in;
}

SymbolicInputs partly_fresh_inputs(z3::context& c, const InputSet& free, const RuleState& base) {
    SymbolicInputs in = fresh_inputs(c, "");
    for (size_t i = 0; i < INPUTS; ++i) {
        if (!free[i]) {
            in.value[i] = {c.bv_val(base.value[i], 64)};
        }
    }
    return in;
}

z3::expr width_constraint(const SymbolicInputs& in, const InputInfo& input) {
    const z3::expr& value = in.value[input.input].e;
    if (input.bits >= 64) {
        return value.ctx().bool_val(true);
    }
    return z3::ult(value, value.ctx().bv_val(uint64_t{1} << input.bits, 64));
}

z3::expr rule_formula(RuleId id, const SymbolicInputs& in, const Profile& profile) {
    const Symbolic::Scope scope(in.value[0].e.ctx());
    return evaluate_rule<Symbolic>(id, in, profile).e.simplify();
}

SymbolicInputs repair_formula(const SymbolicInputs& in, const Profile& profile) {
    const Symbolic::Scope scope(in.value[0].e.ctx());
    return Repairer<Symbolic>(in, profile).run();
}

RuleState model_state(const z3::model& model, const SymbolicInputs& in) {
    RuleState state;
    for (size_t i = 0; i < INPUTS; ++i) {
        state.value[i] = model.eval(in.value[i].e, true).get_numeral_uint64();
    }
    return state;
}

} // namespace horos::model::vmx
