// Theorems about the rules, proved by Z3 for every built-in profile, and what is drawn from them.
#include "horos/model/svm/smt.hpp"
#include "z3_domain.hpp"

#include <gtest/gtest.h>
#include <set>
#include <tuple>

namespace horos::model::svm {
namespace {

class RuleTheorems : public ::testing::TestWithParam<std::string> {
protected:
    RuleTheorems()
        : profile(builtin_profile(GetParam())), params(profile), scope(context), solver(context),
          state(fresh_inputs(context, "")) {
        add_widths(solver, state);
        for (const RuleInfo& rule : all_rules()) {
            if (rule_applies(rule.id, params)) {
                ids.push_back(rule.id);
            }
        }
    }
    z3::expr holds(RuleId id, const SymbolicInputs& s) {
        return evaluate_rule<Symbolic>(id, s, params).e;
    }
    z3::expr all_hold(const SymbolicInputs& s) {
        z3::expr all = context.bool_val(true);
        for (const RuleInfo& rule : all_rules()) {
            all = all && holds(rule.id, s);
        }
        return all;
    }
    bool satisfiable(const z3::expr& what) {
        solver.push();
        solver.add(what);
        const z3::check_result result = solver.check();
        solver.pop();
        EXPECT_NE(result, z3::unknown);
        return result == z3::sat;
    }

    const Profile& profile;
    Params params;
    z3::context context;
    Symbolic::Scope scope;
    z3::solver solver;
    SymbolicInputs state;
    std::vector<RuleId> ids;
};

TEST_P(RuleTheorems, TheRulesCanAllHold) { EXPECT_TRUE(satisfiable(all_hold(state))); }

TEST_P(RuleTheorems, EachRuleCanHoldAndBeBroken) {
    for (const RuleId id : ids) {
        EXPECT_TRUE(satisfiable(holds(id, state))) << rule_info(id).name;
        EXPECT_TRUE(satisfiable(!holds(id, state))) << rule_info(id).name;
    }
}

TEST_P(RuleTheorems, RulesThatDoNotApplyCannotBeBroken) {
    for (const RuleInfo& rule : all_rules()) {
        if (!rule_applies(rule.id, params)) {
            EXPECT_FALSE(satisfiable(!holds(rule.id, state))) << rule.name;
        }
    }
}

// Broken alone: all others hold. A rule for which that is impossible would be redundant.
TEST_P(RuleTheorems, EachRuleCanBeTheOnlyOneBroken) {
    for (const RuleId id : ids) {
        z3::expr others = context.bool_val(true);
        for (const RuleId other : ids) {
            others = others && (other == id || holds(other, state));
        }
        EXPECT_TRUE(satisfiable(others && !holds(id, state))) << rule_info(id).name;
    }
}

// Pairs are either breakable together or in this list of pairs that exclude each other, each
// with its reason.
bool excluded(RuleId a, RuleId b, const Params& params) {
    using R = RuleId;
    static const std::set<std::pair<R, R>> PAIRS = {
        // an event is injected with one type and one vector
        {R::CTL_EVENT_TYPE, R::CTL_EVENT_VECTOR},
        {R::CTL_EVENT_TYPE, R::CTL_EVENT_VECTOR_FEATURE},
        {R::CTL_EVENT_TYPE, R::CTL_EVENT_MODE},
        {R::CTL_EVENT_TYPE, R::CTL_EVENT_MODE_OF},
        {R::CTL_EVENT_VECTOR, R::CTL_EVENT_VECTOR_FEATURE},
        {R::CTL_EVENT_VECTOR, R::CTL_EVENT_MODE},
        {R::CTL_EVENT_VECTOR, R::CTL_EVENT_MODE_OF},
        {R::CTL_EVENT_VECTOR_FEATURE, R::CTL_EVENT_MODE},
        {R::CTL_EVENT_VECTOR_FEATURE, R::CTL_EVENT_MODE_OF},
        {R::CTL_EVENT_MODE, R::CTL_EVENT_MODE_OF},
        // ASID 0 is below every bound
        {R::CTL_ASID, R::CTL_ASID_RANGE},
        {R::CTL_ASID, R::CTL_SEV_ASID},
        // SEV without nested paging against rules about nested paging
        {R::CTL_NP_HOST_PAGING, R::CTL_SEV_NP},
        {R::CTL_NP_NCR3_MBZ, R::CTL_SEV_NP},
        {R::CTL_NP_NCR3_PHYS, R::CTL_SEV_NP},
        {R::CTL_NP_GPAT, R::CTL_SEV_NP},
        // a long-mode host against a host that is not in long mode
        {R::CTL_NP_NCR3_MBZ, R::CTL_SEV_64BIT_HOST},
        {R::CTL_NP_NCR3_PHYS, R::CTL_SEV_64BIT_HOST},
        // nested paging on against legacy PAE without nested paging
        {R::CTL_NP_HOST_PAGING, R::SAVE_PAE_PDPES},
        {R::CTL_NP_NCR3_MBZ, R::SAVE_PAE_PDPES},
        {R::CTL_NP_NCR3_PHYS, R::SAVE_PAE_PDPES},
        {R::CTL_NP_GPAT, R::SAVE_PAE_PDPES},
        // long mode against legacy PAE
        {R::CTL_EVENT_MODE, R::SAVE_PAE_PDPES},
        {R::CTL_EVENT_MODE_OF, R::SAVE_PAE_PDPES},
        {R::SAVE_CR3_MBZ, R::SAVE_PAE_PDPES},
        {R::SAVE_LME_PG_PAE, R::SAVE_PAE_PDPES},
        {R::SAVE_LME_PG_PE, R::SAVE_PAE_PDPES},
        {R::SAVE_CS_L_D, R::SAVE_PAE_PDPES},
        // CR4.PAE set against clear
        {R::SAVE_LME_PG_PAE, R::SAVE_CS_L_D},
        // AVIC on against off
        {R::CTL_AVIC_ADDRESSES, R::CTL_X2AVIC_AVIC},
        {R::CTL_X2AVIC_AVIC, R::CTL_AVIC_MAX_INDEX},
    };
    // With 52 physical bits CR3 is out of reach in legacy mode only.
    static const std::set<std::pair<R, R>> WITH_52_BITS = {
        {R::SAVE_CR3_MBZ, R::SAVE_CR3_PHYS},      {R::SAVE_CR3_PHYS, R::CTL_EVENT_MODE},
        {R::SAVE_CR3_PHYS, R::CTL_EVENT_MODE_OF}, {R::SAVE_CR3_PHYS, R::SAVE_LME_PG_PAE},
        {R::SAVE_CR3_PHYS, R::SAVE_LME_PG_PE},    {R::SAVE_CR3_PHYS, R::SAVE_CS_L_D},
    };
    const auto in = [&](const auto& pairs) {
        return pairs.count({a, b}) != 0 || pairs.count({b, a}) != 0;
    };
    return in(PAIRS) || (params.physical_limit == 1ull << 52 && in(WITH_52_BITS));
}

TEST_P(RuleTheorems, PairsCanBeBrokenTogetherOrExcludeEachOther) {
    for (size_t i = 0; i < ids.size(); ++i) {
        for (size_t j = i + 1; j < ids.size(); ++j) {
            const bool together = satisfiable(!holds(ids[i], state) && !holds(ids[j], state));
            EXPECT_NE(together, excluded(ids[i], ids[j], params))
                << rule_info(ids[i]).name << " and " << rule_info(ids[j]).name;
        }
    }
}

TEST_P(RuleTheorems, NoRuleImpliesAnother) {
    for (const RuleId a : ids) {
        for (const RuleId b : ids) {
            if (a != b) {
                EXPECT_TRUE(satisfiable(holds(a, state) && !holds(b, state)))
                    << rule_info(a).name << " implies " << rule_info(b).name;
            }
        }
    }
}

TEST_P(RuleTheorems, RepairMakesEveryStateValid) {
    const SymbolicInputs mended = Repairer<Symbolic>(state, params).run();
    for (const RuleInfo& rule : all_rules()) {
        EXPECT_FALSE(satisfiable(!holds(rule.id, mended))) << rule.name;
    }
}

TEST_P(RuleTheorems, RepairLeavesValidStatesAlone) {
    const SymbolicInputs mended = Repairer<Symbolic>(state, params).run();
    z3::expr changed = context.bool_val(false);
    for (const RuleFieldInfo& field : rule_fields()) {
        changed = changed || mended[field.field].e != state[field.field].e;
    }
    EXPECT_FALSE(satisfiable(all_hold(state) && changed));
}

// The table says which fields a rule reads: others make no difference.
TEST_P(RuleTheorems, RulesReadOnlyTheirFields) {
    const SymbolicInputs other = fresh_inputs(context, "other.");
    for (const RuleId id : ids) {
        SymbolicInputs mixed = other;
        for (const RuleField field : rule_info(id).fields) {
            mixed[field] = state[field];
        }
        EXPECT_FALSE(satisfiable(holds(id, state) != holds(id, mixed))) << rule_info(id).name;
    }
}

// ... and each listed field does.
TEST_P(RuleTheorems, EachListedFieldMatters) {
    const SymbolicInputs other = fresh_inputs(context, "other.");
    for (const RuleId id : ids) {
        for (const RuleField field : rule_info(id).fields) {
            SymbolicInputs mixed = state;
            mixed[field] = other[field];
            EXPECT_TRUE(satisfiable(width_constraint(mixed, rule_field(field)) &&
                                    holds(id, state) != holds(id, mixed)))
                << rule_info(id).name << " does not depend on " << rule_field(field).name;
        }
    }
}

TEST_P(RuleTheorems, WitnessesAreWhatTheySay) {
    const RuleState base = default_state(profile);
    EXPECT_TRUE(broken_rules(base, params).none());
    std::set<RuleId> broken_side, held_side;
    for (const Witness& w : rule_witnesses(profile, base)) {
        EXPECT_EQ(w.broken, broken_rules(w.state, params));
        const bool breaks = w.broken[static_cast<size_t>(w.target[0])];
        (breaks ? broken_side : held_side).insert(w.target[0]);
        EXPECT_EQ(w.broken.count(), breaks ? 1u : 0u) << w.name;
    }
    for (const RuleId id : ids) {
        EXPECT_TRUE(broken_side.count(id)) << rule_info(id).name;
        EXPECT_TRUE(held_side.count(id)) << rule_info(id).name;
    }
}

// All that the rules know of a profile.
auto known_to_rules(const Profile& profile) {
    const Params p(profile);
    return std::make_tuple(p.physical_limit, p.cr4_mbz, p.efer_mbz, p.s_cet_mbz, p.asid_count,
                           p.sev_max_asid, p.long_mode, p.nested_paging, p.cet, p.vnmi, p.avic,
                           p.x2avic, p.x2avic_ext, p.sev, p.sev_needs_64bit_host);
}
// Profiles that are one to the rules (QEMU's versions) are proved once.
std::vector<std::string> profile_names() {
    std::vector<std::string> names;
    std::set<decltype(known_to_rules(builtin_profiles()[0]))> seen;
    for (const Profile& p : builtin_profiles()) {
        if (seen.insert(known_to_rules(p)).second) {
            names.push_back(p.name);
        }
    }
    return names;
}
INSTANTIATE_TEST_SUITE_P(
    Profiles, RuleTheorems, ::testing::ValuesIn(profile_names()), [](const auto& info) {
        std::string name = info.param;
        std::replace_if(
            name.begin(), name.end(),
            [](char c) { return !std::isalnum(static_cast<unsigned char>(c)); }, '_');
        return name;
    });

TEST(PairWitnesses, BreakExactlyTwo) {
    const Profile& profile = builtin_profile("qemu-7.2-max");
    const Params params(profile);
    const auto pairs = pair_witnesses(profile, default_state(profile));
    EXPECT_GT(pairs.size(), 300u);
    for (const Witness& w : pairs) {
        EXPECT_EQ(broken_rules(w.state, params).count(), 2u) << w.name;
        EXPECT_TRUE(w.broken[static_cast<size_t>(w.target[0])]) << w.name;
        EXPECT_TRUE(w.broken[static_cast<size_t>(w.target[1])]) << w.name;
    }
}

TEST(SmallestRepair, ChangesOneBitWhereOneIsEnough) {
    const Profile& profile = builtin_profile("qemu-7.2-max");
    RuleState s = default_state(profile);
    s[RuleField::CR0] |= x86::cr0::NW;
    const Repair r = smallest_repair(s, profile);
    EXPECT_EQ(r.bits, 1u);
    ASSERT_EQ(r.changed.size(), 1u);
    EXPECT_EQ(r.changed[0], RuleField::CR0);
    EXPECT_TRUE(broken_rules(r.state, Params(profile)).none());
}

// EFER.LME with CR0.PG but neither PAE nor PE: leaving long mode in EFER (LME and LMA) mends both
// rules with one field; CR4.PAE and CR0.PE would take two.
TEST(SmallestRepair, PrefersOneFieldThatMendsTwoRules) {
    const Profile& profile = builtin_profile("qemu-7.2-max");
    RuleState s = default_state(profile);
    s[RuleField::CR4] = 0;
    s[RuleField::CR0] &= ~x86::cr0::PE;
    EXPECT_EQ(broken_rules(s, Params(profile)).count(), 2u);
    const Repair r = smallest_repair(s, profile);
    ASSERT_EQ(r.changed.size(), 1u);
    EXPECT_EQ(r.changed[0], RuleField::EFER);
    EXPECT_EQ(r.bits, 2u);
}

TEST(SmallestRepair, ChangesTheHostOnlyWhereTheVmcbCannotHelp) {
    const Profile& profile = builtin_profile("qemu-7.2-max");
    RuleState s = default_state(profile);
    s[RuleField::RAX] = 0x2008;
    const Repair r = smallest_repair(s, profile);
    ASSERT_EQ(r.changed.size(), 1u);
    EXPECT_EQ(r.changed[0], RuleField::RAX);
    EXPECT_EQ(r.bits, 1u);
}

} // namespace
} // namespace horos::model::svm
