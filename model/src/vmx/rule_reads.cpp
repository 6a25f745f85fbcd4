// What a predicate reads, found by running it on sets of inputs instead of on numbers.
#include "rules_table.hpp"

#include "horos/model/vmx/evaluate.hpp"

namespace horos::model::vmx {

struct TraceBool {
    InputSet set;
    friend TraceBool operator&(const TraceBool& a, const TraceBool& b) { return {a.set | b.set}; }
    friend TraceBool operator|(const TraceBool& a, const TraceBool& b) { return {a.set | b.set}; }
    friend TraceBool operator!(const TraceBool& a) { return a; }
};
struct TraceBits {
    InputSet set;
    friend TraceBits operator&(const TraceBits& a, const TraceBits& b) { return {a.set | b.set}; }
    friend TraceBits operator~(const TraceBits& a) { return a; }
    friend TraceBool operator==(const TraceBits& a, const TraceBits& b) { return {a.set | b.set}; }
    friend TraceBool operator!=(const TraceBits& a, const TraceBits& b) { return {a.set | b.set}; }
};
struct Trace {
    using Bool = TraceBool;
    using Bits = TraceBits;
    static Bits bits(uint64_t) { return {}; }
    static Bool truth(bool) { return {}; }
    static Bool ult(const Bits& a, const Bits& b) { return {a.set | b.set}; }
    static Bits shift_right(const Bits& a, const Bits& b) { return {a.set | b.set}; }
    static Bits shift_left(const Bits& a, const Bits& b) { return {a.set | b.set}; }
    static Bits add(const Bits& a, const Bits& b) { return {a.set | b.set}; }
};

InputSet reads_of(RuleId id) {
    RuleInputs<Trace> inputs;
    for (size_t i = 0; i < INPUTS; ++i) {
        inputs.value[i].set.set(i);
    }
    return evaluate_rule<Trace>(id, inputs, Profile{}).set;
}

} // namespace horos::model::vmx
