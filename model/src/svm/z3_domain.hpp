// The inputs of the rules as formulas.
#pragma once

#include "../symbolic.hpp"
#include "horos/model/svm/rule_repair.hpp"

namespace horos::model::svm {

using SymbolicInputs = RuleInputs<Symbolic>;

// One free constant a field, named after it.
inline SymbolicInputs fresh_inputs(z3::context& c, const std::string& prefix) {
    const Symbolic::Scope scope(c);
    SymbolicInputs in;
    for (const RuleFieldInfo& field : rule_fields()) {
        in[field.field] = {c.bv_const((prefix + std::string(field.name)).c_str(), 64)};
    }
    return in;
}

// A field narrower than 64 bits has zeros above.
inline z3::expr width_constraint(const SymbolicInputs& in, const RuleFieldInfo& field) {
    if (field.bytes == 8) {
        return in[field.field].e.ctx().bool_val(true);
    }
    return in[field.field].e.extract(63, field.bytes * 8u) == 0;
}
inline void add_widths(z3::solver& solver, const SymbolicInputs& in) {
    for (const RuleFieldInfo& field : rule_fields()) {
        if (field.bytes < 8) {
            solver.add(width_constraint(in, field));
        }
    }
}

} // namespace horos::model::svm
