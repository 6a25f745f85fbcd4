// Witnesses and smallest repairs by Z3.
#include "horos/model/svm/smt.hpp"

#include "z3_domain.hpp"

#include <bit>
#include <stdexcept>

namespace horos::model::svm {

namespace {

size_t index_of(RuleField f) { return static_cast<size_t>(f); }

// A solver over one symbolic rule state, with the distance to a base state as constraints.
class NearestState {
public:
    NearestState(const Params& params, const RuleState& base)
        : params_(params), base_(base), solver_(context_), inputs_(fresh_inputs(context_, "")) {
        add_widths(solver_, inputs_);
        for (const RuleFieldInfo& field : rule_fields()) {
            const z3::expr& value = inputs_[field.field].e;
            const z3::expr old = context_.bv_val(base[field.field], 64);
            const z3::expr changed = context_.bool_const(("~" + std::string(field.name)).c_str());
            solver_.add(changed == (value != old));
            changed_.push_back(changed);
        }
    }
    z3::context& context() { return context_; }
    const SymbolicInputs& inputs() const { return inputs_; }
    z3::expr rule(RuleId id) {
        const Symbolic::Scope scope(context_);
        return evaluate_rule<Symbolic>(id, inputs_, params_).e;
    }
    void require(const z3::expr& condition) { solver_.add(condition); }
    void require_rule(RuleId id, bool holds) { require(holds ? rule(id) : !rule(id)); }
    void freeze(RuleField field) { require(!changed_[index_of(field)]); }

    // The state with the fewest fields changed, then the fewest bits; nullopt: none exists.
    std::optional<RuleState> solve() {
        for (unsigned fields = 0; fields <= 6; ++fields) {
            solver_.push();
            solver_.add(z3::atmost(all(changed_), fields));
            if (solver_.check() == z3::sat) {
                const RuleState found = fewest_bits(read_model());
                solver_.pop();
                return found;
            }
            solver_.pop();
        }
        return std::nullopt;
    }

private:
    z3::expr_vector all(const std::vector<z3::expr>& list) {
        z3::expr_vector v(context_);
        for (const z3::expr& e : list) {
            v.push_back(e);
        }
        return v;
    }
    RuleState read_model() {
        const z3::model model = solver_.get_model();
        RuleState state;
        for (const RuleFieldInfo& field : rule_fields()) {
            state[field.field] = model.eval(inputs_[field.field].e, true).get_numeral_uint64();
        }
        return state;
    }
    unsigned distance(const RuleState& state) const {
        unsigned bits = 0;
        for (size_t i = 0; i < RULE_FIELD_COUNT; ++i) {
            bits += static_cast<unsigned>(std::popcount(state.value[i] ^ base_.value[i]));
        }
        return bits;
    }
    void add_bit_literals() {
        if (!bits_.empty()) {
            return;
        }
        for (const RuleFieldInfo& field : rule_fields()) {
            for (unsigned b = 0; b < field.bytes * 8u; ++b) {
                const bool old = (base_[field.field] >> b & 1) != 0;
                const z3::expr bit = inputs_[field.field].e.extract(b, b) == (old ? 0 : 1);
                bits_.push_back(bit);
            }
        }
    }
    // Keeps the bound on fields that is on the solver's stack.
    RuleState fewest_bits(RuleState best) {
        unsigned low = 0; // infeasible or trivial
        unsigned high = distance(best);
        add_bit_literals();
        while (high > low + 1) {
            const unsigned middle = low + std::min((high - low) / 2, low + 1);
            solver_.push();
            solver_.add(z3::atmost(all(bits_), middle));
            if (solver_.check() == z3::sat) {
                best = read_model();
                high = distance(best);
            } else {
                low = middle;
            }
            solver_.pop();
        }
        return best;
    }

    const Params& params_;
    RuleState base_;
    z3::context context_;
    z3::solver solver_;
    SymbolicInputs inputs_;
    std::vector<z3::expr> changed_;
    std::vector<z3::expr> bits_;
};

std::vector<RuleId> applicable_rules(const Params& params) {
    std::vector<RuleId> ids;
    for (const RuleInfo& rule : all_rules()) {
        if (rule_applies(rule.id, params)) {
            ids.push_back(rule.id);
        }
    }
    return ids;
}

bool contains(const std::vector<RuleId>& list, RuleId id) {
    return std::find(list.begin(), list.end(), id) != list.end();
}

// A state near `base` that breaks all of `target` and, if possible, nothing else.
std::optional<RuleState> break_only(const Params& params, const RuleState& base,
                                    const std::vector<RuleId>& target, bool may_break_more) {
    NearestState near(params, base);
    for (const RuleId id : applicable_rules(params)) {
        if (contains(target, id)) {
            near.require_rule(id, false);
        } else if (!may_break_more) {
            near.require_rule(id, true);
        }
    }
    return near.solve();
}

// A state that keeps every rule while one flipped bit breaks `id`.
std::optional<RuleState> boundary_state(const Params& params, const RuleState& base,
                                        const RuleInfo& rule) {
    NearestState near(params, base);
    for (const RuleId id : applicable_rules(params)) {
        near.require_rule(id, true);
    }
    z3::context& c = near.context();
    const Symbolic::Scope scope(c);
    SymbolicInputs flipped = near.inputs();
    z3::expr_vector which(c);
    for (const RuleField field : rule.fields) {
        const z3::expr mask =
            c.bv_const(("flip." + std::string(rule_field(field).name)).c_str(), 64);
        const unsigned bits = rule_field(field).bytes * 8u;
        z3::expr one_bit = mask == 0;
        for (unsigned b = 0; b < bits; ++b) {
            one_bit = one_bit || mask == c.bv_val(static_cast<uint64_t>(1) << b, 64);
        }
        near.require(one_bit);
        which.push_back(mask != 0);
        flipped[field] = {flipped[field].e ^ mask};
    }
    near.require(z3::atmost(which, 1));
    near.require(!evaluate_rule<Symbolic>(rule.id, flipped, params).e);
    return near.solve();
}

Witness make_witness(std::string name, std::vector<RuleId> target, const RuleState& state,
                     const Params& params) {
    return {std::move(name), std::move(target), broken_rules(state, params), state};
}

Repair cost_of(const RuleState& from, const RuleState& to) {
    Repair result{to, {}, 0};
    for (const RuleFieldInfo& field : rule_fields()) {
        const uint64_t difference = to[field.field] ^ from[field.field];
        if (difference != 0) {
            result.changed.push_back(field.field);
            result.bits += static_cast<unsigned>(std::popcount(difference));
        }
    }
    return result;
}

// EFER.LMA matches EFER.LME and CR0.PG. VMRUN does not check it.
template <class D>
typename D::Bool mode_is_defined(const RuleInputs<D>& s) {
    const auto lma = predicates::has<D>(s[RuleField::EFER], x86::efer::LMA);
    const auto active = predicates::guest_lme_pg<D>(s);
    return (lma & active) | (!lma & !active);
}
RuleInputs<Concrete> concrete(const RuleState& state) {
    RuleInputs<Concrete> in;
    for (size_t i = 0; i < RULE_FIELD_COUNT; ++i) {
        in.value[i] = {state.value[i]};
    }
    return in;
}

// Both changes at once; mostly that is a witness for the pair already.
RuleState overlay(const RuleState& base, const RuleState& a, const RuleState& b) {
    RuleState both = base;
    for (size_t i = 0; i < RULE_FIELD_COUNT; ++i) {
        both.value[i] ^= (a.value[i] ^ base.value[i]) | (b.value[i] ^ base.value[i]);
    }
    return both;
}

} // namespace

RuleState default_state(const Profile& profile) {
    RuleState s;
    s[RuleField::HOST_EFER] = x86::efer::LME | x86::efer::LMA | x86::efer::SVME | x86::efer::NXE;
    s[RuleField::HOST_CR0] =
        x86::cr0::PE | x86::cr0::PG | x86::cr0::ET | x86::cr0::NE | x86::cr0::WP;
    s[RuleField::HOST_RFLAGS] = x86::rflags::ONE;
    s[RuleField::HOST_VM_HSAVE_PA] = 0x1000;
    s[RuleField::RAX] = 0x2000;
    s[RuleField::INTERCEPT_MISC2] = bit(horos::svm::Misc2::VMRUN) | bit(horos::svm::Misc2::VMMCALL);
    s[RuleField::IOPM_BASE_PA] = 0x10000;
    s[RuleField::MSRPM_BASE_PA] = 0x14000;
    s[RuleField::GUEST_ASID] = 1;
    s[RuleField::CS_ATTRIBUTES] = x86::seg::CODE64;
    s[RuleField::EFER] = x86::efer::LME | x86::efer::LMA | x86::efer::SVME;
    s[RuleField::CR0] = x86::cr0::PE | x86::cr0::PG | x86::cr0::ET | x86::cr0::NE | x86::cr0::WP;
    s[RuleField::CR3] = 0x20000;
    s[RuleField::CR4] = x86::cr4::PAE;
    s[RuleField::DR6] = x86::dr6::RESET;
    s[RuleField::DR7] = x86::dr7::RESET;
    s[RuleField::RFLAGS] = x86::rflags::ONE;
    s[RuleField::G_PAT] = x86::PAT_RESET;
    return repair(s, Params(profile));
}

std::vector<Witness> rule_witnesses(const Profile& profile, const RuleState& base) {
    const Params params(profile);
    std::vector<Witness> out;
    for (const RuleId id : applicable_rules(params)) {
        const RuleInfo& rule = rule_info(id);
        auto broken = break_only(params, base, {id}, false);
        if (!broken) {
            broken = break_only(params, base, {id}, true);
        }
        if (broken) {
            out.push_back(make_witness(std::string(rule.name) + ":broken", {id}, *broken, params));
        }
        if (const auto held = boundary_state(params, base, rule)) {
            out.push_back(make_witness(std::string(rule.name) + ":boundary", {id}, *held, params));
        }
    }
    return out;
}

std::vector<Witness> pair_witnesses(const Profile& profile, const RuleState& base) {
    const Params params(profile);
    std::vector<std::pair<RuleId, RuleState>> singles;
    for (const RuleId id : applicable_rules(params)) {
        if (const auto state = break_only(params, base, {id}, false)) {
            singles.emplace_back(id, *state);
        }
    }
    std::vector<Witness> out;
    for (size_t i = 0; i < singles.size(); ++i) {
        for (size_t j = i + 1; j < singles.size(); ++j) {
            const auto& [a, state_a] = singles[i];
            const auto& [b, state_b] = singles[j];
            const std::string name =
                std::string(rule_info(a).name) + "+" + std::string(rule_info(b).name);
            RuleSet wanted;
            wanted.set(static_cast<size_t>(a)).set(static_cast<size_t>(b));
            const RuleState both = overlay(base, state_a, state_b);
            if (broken_rules(both, params) == wanted) {
                out.push_back(make_witness(name, {a, b}, both, params));
            } else if (const auto found = break_only(params, base, {a, b}, false)) {
                out.push_back(make_witness(name, {a, b}, *found, params));
            }
        }
    }
    return out;
}

Repair smallest_repair(const RuleState& state, const Profile& profile) {
    const Params params(profile);
    // A state whose EFER.LMA means something is not mended into one where it does not.
    const bool keep_mode = mode_is_defined<Concrete>(concrete(state)).value;
    std::optional<RuleState> found;
    for (const bool vmcb_only : {true, false}) {
        NearestState near(params, state);
        for (const RuleId id : applicable_rules(params)) {
            near.require_rule(id, true);
        }
        if (keep_mode) {
            const Symbolic::Scope scope(near.context());
            near.require(mode_is_defined<Symbolic>(near.inputs()).e);
        }
        for (const RuleFieldInfo& field : rule_fields()) {
            if (vmcb_only && field.place != FieldPlace::VMCB) {
                near.freeze(field.field);
            }
        }
        found = near.solve();
        if (found) {
            break;
        }
    }
    // Among repairs of the same cost the constructive one is the one that the rules describe. It
    // also serves where more than six fields must change.
    Repair plain = cost_of(state, repair(state, params));
    if (!found) {
        return plain;
    }
    const Repair best = cost_of(state, *found);
    const bool same_cost = plain.changed.size() == best.changed.size() && plain.bits == best.bits;
    const bool same_mode = !keep_mode || mode_is_defined<Concrete>(concrete(plain.state)).value;
    return same_cost && same_mode ? plain : best;
}

} // namespace horos::model::svm
