// Witnesses and smallest repairs.
//
// One flipped bit of some valid state is mostly enough, and is found by trying; Z3 finds the rest.
#include "horos/model/vmx/smt.hpp"

#include "symbolic_rules.hpp"

#include <algorithm>
#include <bit>
#include <optional>

namespace horos::model::vmx {

namespace {

std::vector<const RuleInfo*> applicable_rules(const Profile& profile) {
    std::vector<const RuleInfo*> rules;
    for (const RuleInfo& rule : all_rules()) {
        if (rule_applies(rule.id, profile)) {
            rules.push_back(&rule);
        }
    }
    return rules;
}
RuleSet only(RuleId id) { return RuleSet().set(static_cast<size_t>(id)); }

// A solver over the inputs in `free`, the others fixed to `base`.
class NearestState {
public:
    NearestState(const Profile& profile, const RuleState& base, const InputSet& free)
        : profile_(profile), base_(base), free_(free), solver_(context_),
          inputs_(partly_fresh_inputs(context_, free, base)) {
        for (const InputInfo& input : rule_inputs()) {
            if (!free_[input.input]) {
                continue;
            }
            solver_.add(width_constraint(inputs_, input));
            const z3::expr changed = context_.bool_const(("~" + std::string(input.name)).c_str());
            const z3::expr old = context_.bv_val(base.value[input.input], 64);
            solver_.add(changed == (inputs_.value[input.input].e != old));
            changed_.push_back(changed);
        }
    }
    void require(RuleId id, bool holds) {
        const z3::expr rule = rule_formula(id, inputs_, profile_);
        solver_.add(holds ? rule : !rule);
    }
    // The state with the fewest inputs changed, then few bits; nullopt: none up to `most`.
    std::optional<RuleState> solve(unsigned most) {
        for (unsigned count = 0; count <= most; ++count) {
            solver_.push();
            solver_.add(z3::atmost(vector(changed_), count));
            std::optional<RuleState> found;
            if (solver_.check() == z3::sat) {
                found = fewer_bits(model_state(solver_.get_model(), inputs_));
            }
            solver_.pop();
            if (found) {
                return found;
            }
        }
        return std::nullopt;
    }

private:
    z3::expr_vector vector(const std::vector<z3::expr>& list) {
        z3::expr_vector v(context_);
        for (const z3::expr& e : list) {
            v.push_back(e);
        }
        return v;
    }
    // Among states that change the same inputs.
    RuleState fewer_bits(RuleState best) {
        std::vector<z3::expr> flips;
        for (const InputInfo& input : rule_inputs()) {
            const size_t i = input.input;
            if (best.value[i] == base_.value[i]) {
                if (free_[i]) {
                    solver_.add(inputs_.value[i].e == context_.bv_val(base_.value[i], 64));
                }
                continue;
            }
            for (unsigned b = 0; b < input.bits; ++b) {
                const bool old = (base_.value[i] >> b & 1) != 0;
                flips.push_back(inputs_.value[i].e.extract(b, b) == (old ? 0 : 1));
            }
        }
        unsigned low = 0;
        unsigned high = static_cast<unsigned>(distance(best));
        while (high > low + 1) {
            const unsigned middle = low + std::min((high - low) / 2, low + 1);
            solver_.push();
            solver_.add(z3::atmost(vector(flips), middle));
            if (solver_.check() == z3::sat) {
                best = model_state(solver_.get_model(), inputs_);
                high = static_cast<unsigned>(distance(best));
            } else {
                low = middle;
            }
            solver_.pop();
        }
        return best;
    }
    int distance(const RuleState& state) const {
        int bits = 0;
        for (size_t i = 0; i < INPUTS; ++i) {
            bits += std::popcount(state.value[i] ^ base_.value[i]);
        }
        return bits;
    }

    const Profile& profile_;
    RuleState base_;
    InputSet free_;
    z3::context context_;
    z3::solver solver_;
    SymbolicInputs inputs_;
    std::vector<z3::expr> changed_;
};

// What rules near `inputs` read: a change of these may need a change of those.
InputSet neighbours(const Profile& profile, const InputSet& inputs) {
    InputSet all = inputs;
    for (const RuleInfo* rule : applicable_rules(profile)) {
        if ((rule->reads & inputs).any()) {
            all |= rule->reads;
        }
    }
    return all;
}

template <class Accept>
std::optional<RuleState> flip_one_bit(const RuleState& base, const InputSet& inputs,
                                      Accept accept) {
    for (const InputInfo& input : rule_inputs()) {
        for (unsigned b = 0; inputs[input.input] && b < input.bits; ++b) {
            RuleState state = base;
            state.value[input.input] ^= 1ull << b;
            if (accept(state)) {
                return state;
            }
        }
    }
    return std::nullopt;
}

// Valid states of other modes: from one of them most rules are a flipped bit away.
std::vector<RuleState> variants(const Profile& profile, const RuleState& base) {
    using F = Field;
    namespace ec = horos::vmx::entry_ctl;
    std::vector<RuleState> list{base};
    const auto add = [&](auto change) {
        RuleState state = base;
        change(state);
        list.push_back(repair(state, profile));
    };
    const auto legacy = [](RuleState& s) {
        s[F::ENTRY_CONTROLS] &= ~uint64_t{ec::IA32E_MODE_GUEST};
        s[F::GUEST_EFER] = 0;
    };
    add([&](RuleState& s) { legacy(s); }); // PAE paging
    add([&](RuleState& s) {
        legacy(s);
        s[F::GUEST_RFLAGS] |= x86::rflags::VM;
    });
    add([&](RuleState& s) { // real mode
        legacy(s);
        s[F::GUEST_CR0] &= ~(x86::cr0::PE | x86::cr0::PG);
    });
    add([&](RuleState& s) { // without EPT
        legacy(s);
        s[F::PROC_CONTROLS_2] &= ~uint64_t{horos::vmx::proc2::ENABLE_EPT};
    });
    add([&](RuleState& s) { s[F::PROC_CONTROLS_2] = profile.proc2.one; });
    add([&](RuleState& s) { // everything that the part has
        s[F::PIN_CONTROLS] = profile.pin.one;
        s[F::PROC_CONTROLS] = profile.proc.one;
        s[F::PROC_CONTROLS_2] = profile.proc2.one;
        s[F::EXIT_CONTROLS] = profile.exit.one;
        s[F::ENTRY_CONTROLS] = profile.entry.one;
        s[F::VM_FUNCTION_CONTROLS] = profile.vmfunc;
    });
    for (const uint32_t event :
         {0x80000020u, 0x80000202u, 0x80000301u, 0x80000b0du, 0x80000480u, 0x80000700u}) {
        for (const uint64_t activity : {0, 1, 2, 3}) {
            add([&](RuleState& s) {
                s[F::ENTRY_INTERRUPTION_INFO] = event;
                s[F::ENTRY_INSTRUCTION_LENGTH] = 1;
                s[F::GUEST_RFLAGS] |= x86::rflags::IF;
                s[F::GUEST_ACTIVITY] = activity;
            });
        }
    }
    return list;
}

std::optional<RuleState> broken_by_one_bit(const Profile& profile,
                                           const std::vector<RuleState>& bases,
                                           const RuleInfo& rule) {
    for (const RuleState& base : bases) {
        const auto found = flip_one_bit(base, rule.reads, [&](const RuleState& state) {
            return !rule_holds(rule.id, state, profile) &&
                   broken_rules(state, profile) == only(rule.id);
        });
        if (found) {
            return found;
        }
    }
    return std::nullopt;
}

std::optional<RuleState> broken_state(const Profile& profile, const std::vector<RuleState>& bases,
                                      const RuleInfo& rule) {
    if (auto found = broken_by_one_bit(profile, bases, rule)) {
        return found;
    }
    for (const bool alone : {true, false}) {
        for (const RuleState& base : bases) {
            NearestState near(profile, base, neighbours(profile, rule.reads));
            for (const RuleInfo* other : applicable_rules(profile)) {
                if (other->id == rule.id) {
                    near.require(other->id, false);
                } else if (alone) {
                    near.require(other->id, true);
                }
            }
            if (auto state = near.solve(3)) {
                return state;
            }
        }
    }
    return std::nullopt;
}

// From the broken state back over the boundary: the repaired state, one flipped bit away from
// breaking the rule if there is such a bit.
std::optional<RuleState> boundary_state(const Profile& profile, const RuleInfo& rule,
                                        const RuleState& broken) {
    const auto accept = [&](const RuleState& state) { return broken_rules(state, profile).none(); };
    if (const auto state = flip_one_bit(broken, rule.reads, accept)) {
        return state;
    }
    NearestState near(profile, broken, neighbours(profile, rule.reads));
    for (const RuleInfo* other : applicable_rules(profile)) {
        near.require(other->id, true);
    }
    return near.solve(5);
}

RuleState overlay(const RuleState& base, const RuleState& a, const RuleState& b) {
    RuleState both = base;
    for (size_t i = 0; i < INPUTS; ++i) {
        both.value[i] ^= (a.value[i] ^ base.value[i]) | (b.value[i] ^ base.value[i]);
    }
    return both;
}

Repair cost_of(const RuleState& from, const RuleState& to) {
    Repair result{to, {}, 0};
    for (size_t i = 0; i < INPUTS; ++i) {
        if (to.value[i] != from.value[i]) {
            result.changed.push_back(i);
            result.bits += static_cast<unsigned>(std::popcount(to.value[i] ^ from.value[i]));
        }
    }
    return result;
}

} // namespace

std::vector<Witness> rule_witnesses(const Profile& profile, const RuleState& base) {
    std::vector<Witness> out;
    const std::vector<RuleState> bases = variants(profile, base);
    for (const RuleInfo* rule : applicable_rules(profile)) {
        const auto broken = broken_state(profile, bases, *rule);
        if (!broken) {
            continue;
        }
        out.push_back(
            {rule->name + ":broken", {rule->id}, broken_rules(*broken, profile), *broken});
        if (const auto held = boundary_state(profile, *rule, *broken)) {
            out.push_back(
                {rule->name + ":boundary", {rule->id}, broken_rules(*held, profile), *held});
        }
    }
    return out;
}

std::vector<Witness> pair_witnesses(const Profile& profile, const RuleState& base) {
    std::vector<Witness> singles;
    for (Witness& witness : rule_witnesses(profile, base)) {
        if (witness.broken == only(witness.target[0])) {
            singles.push_back(std::move(witness));
        }
    }
    std::vector<Witness> out;
    for (size_t i = 0; i < singles.size(); ++i) {
        for (size_t j = i + 1; j < singles.size(); ++j) {
            const RuleId a = singles[i].target[0];
            const RuleId b = singles[j].target[0];
            const RuleState both = overlay(base, singles[i].state, singles[j].state);
            const RuleSet broken = broken_rules(both, profile);
            if (broken == (only(a) | only(b))) {
                out.push_back({rule_info(a).name + "+" + rule_info(b).name, {a, b}, broken, both});
            }
        }
    }
    return out;
}

Repair smallest_repair(const RuleState& state, const Profile& profile) {
    const RuleSet broken = broken_rules(state, profile);
    const Repair plain = cost_of(state, repair(state, profile));
    if (broken.none()) {
        return plain;
    }
    // The VMCS alone first, then with the machine and memory.
    for (const bool vmcs_only : {true, false}) {
        InputSet free;
        for (const InputInfo& input : rule_inputs()) {
            free[input.input] = input.bits != 0 && (!vmcs_only || input.place == InputPlace::VMCS);
        }
        NearestState near(profile, state, free);
        for (const RuleInfo* rule : applicable_rules(profile)) {
            near.require(rule->id, true);
        }
        const auto most = static_cast<unsigned>(std::min<size_t>(plain.changed.size(), 8));
        if (const auto found = near.solve(most)) {
            const Repair best = cost_of(state, *found);
            // Of the same cost, the constructive one is the one that the rules describe.
            const bool same =
                plain.changed.size() == best.changed.size() && plain.bits <= best.bits;
            return same ? plain : best;
        }
    }
    return plain; // more fields than the search goes to
}

} // namespace horos::model::vmx
