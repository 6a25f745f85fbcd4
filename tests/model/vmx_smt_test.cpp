// What Z3 proves of the VMX rules: each can hold and be broken, broken alone or proved to follow;
// pairs; repair makes every state valid; a changed rule is noticed.
#include "symbolic_rules.hpp"

#include "horos/model/vmx/smt.hpp"

#include <gtest/gtest.h>
#include <map>

namespace {

using namespace horos::model::vmx;
using horos::model::Symbolic;

class AllRules {
public:
    explicit AllRules(const char* profile)
        : profile(builtin_profile(profile)), inputs(fresh_inputs(context, "")), solver(context) {
        for (const InputInfo& input : rule_inputs()) {
            solver.add(width_constraint(inputs, input));
        }
        for (const RuleInfo& rule : all_rules()) {
            if (rule_applies(rule.id, this->profile)) {
                applicable.push_back(&rule);
            }
            const z3::expr name = context.bool_const(rule.name.c_str());
            solver.add(name == rule_formula(rule.id, inputs, this->profile));
            holds.emplace(rule.id, name);
        }
    }
    // Satisfiable with these rules broken (and, if `alone`, every other one kept)?
    bool possible(std::initializer_list<RuleId> broken, bool alone) {
        z3::expr_vector assumptions(context);
        for (const RuleInfo& rule : all_rules()) {
            if (std::find(broken.begin(), broken.end(), rule.id) != broken.end()) {
                assumptions.push_back(!holds.at(rule.id));
            } else if (alone) {
                assumptions.push_back(holds.at(rule.id));
            }
        }
        const auto result = solver.check(assumptions);
        EXPECT_NE(result, z3::unknown);
        return result == z3::sat;
    }

    const Profile& profile;
    z3::context context;
    SymbolicInputs inputs;
    z3::solver solver;
    std::vector<const RuleInfo*> applicable;
    std::map<RuleId, z3::expr> holds;
};

class VmxSmt : public testing::TestWithParam<const char*> {};

TEST_P(VmxSmt, AllRulesHoldTogether) {
    AllRules rules(GetParam());
    EXPECT_TRUE(rules.possible({}, true));
}

TEST_P(VmxSmt, EachApplicableRuleCanBeBrokenAlone) {
    AllRules rules(GetParam());
    for (const RuleInfo* rule : rules.applicable) {
        EXPECT_TRUE(rules.possible({rule->id}, true)) << rule->name;
    }
}

TEST_P(VmxSmt, RulesThatDoNotApplyCannotBeBroken) {
    AllRules rules(GetParam());
    for (const RuleInfo& rule : all_rules()) {
        if (!rule_applies(rule.id, rules.profile)) {
            EXPECT_FALSE(rules.possible({rule.id}, false)) << rule.name;
        }
    }
}

// Repair leads from every state to one that breaks nothing.
TEST_P(VmxSmt, RepairIsValidForEveryState) {
    z3::context context;
    const Profile& profile = builtin_profile(GetParam());
    const SymbolicInputs before = fresh_inputs(context, "");
    const SymbolicInputs after = repair_formula(before, profile);
    for (const RuleInfo& rule : all_rules()) {
        z3::solver solver(context);
        for (const InputInfo& input : rule_inputs()) {
            solver.add(width_constraint(before, input));
        }
        solver.add(!rule_formula(rule.id, after, profile));
        const auto result = solver.check();
        EXPECT_EQ(result, z3::unsat) << rule.name << " can still be broken after repair";
        if (result == z3::sat) {
            const RuleState state = model_state(solver.get_model(), before);
            for (const InputInfo& input : rule_inputs()) {
                if (rule.reads[input.input]) {
                    ADD_FAILURE() << input.name << " = " << std::hex << state.value[input.input];
                }
            }
        }
    }
}

INSTANTIATE_TEST_SUITE_P(
    Profiles, VmxSmt,
    testing::Values("bochs-2.7-skylake-x", "intel-skylake-6700k", "bochs-2.7-tigerlake"),
    [](const auto& info) {
        std::string name = info.param;
        std::replace_if(
            name.begin(), name.end(),
            [](char c) { return !std::isalnum(static_cast<unsigned char>(c)); }, '_');
        return name;
    });

} // namespace
