// The value domain in which a rule becomes a formula.
#pragma once

#include "horos/model/svm/rule_repair.hpp"

#include <z3++.h>

namespace horos::model::svm {

struct Symbolic {
    // Constants need a context; set for the lifetime of a Scope, one a thread.
    static inline thread_local z3::context* context = nullptr;
    class Scope {
    public:
        explicit Scope(z3::context& c) : previous_(context) { context = &c; }
        ~Scope() { context = previous_; }
        Scope(const Scope&) = delete;
        Scope& operator=(const Scope&) = delete;

    private:
        z3::context* previous_;
    };

    struct Bool {
        z3::expr e;
        friend Bool operator&(const Bool& a, const Bool& b) { return {a.e && b.e}; }
        friend Bool operator|(const Bool& a, const Bool& b) { return {a.e || b.e}; }
        friend Bool operator!(const Bool& a) { return {!a.e}; }
    };
    struct Bits {
        z3::expr e = context->bv_val(static_cast<uint64_t>(0), 64);
        friend Bits operator&(const Bits& a, const Bits& b) { return {a.e & b.e}; }
        friend Bits operator|(const Bits& a, const Bits& b) { return {a.e | b.e}; }
        friend Bits operator^(const Bits& a, const Bits& b) { return {a.e ^ b.e}; }
        friend Bits operator~(const Bits& a) { return {~a.e}; }
        friend Bool operator==(const Bits& a, const Bits& b) { return {a.e == b.e}; }
        friend Bool operator!=(const Bits& a, const Bits& b) { return {a.e != b.e}; }
    };
    static Bits bits(uint64_t value) { return {context->bv_val(value, 64)}; }
    static Bool truth(bool value) { return {context->bool_val(value)}; }
    static Bool ult(const Bits& a, const Bits& b) { return {z3::ult(a.e, b.e)}; }
    static Bits shift_right(const Bits& a, const Bits& b) { return {z3::lshr(a.e, b.e)}; }
    static Bits select(const Bool& c, const Bits& a, const Bits& b) {
        return {z3::ite(c.e, a.e, b.e)};
    }
};

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
