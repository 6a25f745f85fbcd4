// Properties of the VMX rules on random states near the boundary.
#include "symbolic_rules.hpp"

#include "horos/model/vmx/smt.hpp"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

namespace {

using namespace horos::model::vmx;
using horos::vmx::EntryFailure;
using horos::vmx::InstructionError;

constexpr const char* PROFILES[] = {"bochs-2.7-skylake-x", "bochs-2.7-haswell", "bochs-2.7-icelake",
                                    "bochs-2.7-tigerlake", "intel-skylake-6700k"};

const Profile& any_profile() {
    return builtin_profile(PROFILES[*rc::gen::inRange<size_t>(0, std::size(PROFILES))]);
}
uint64_t within(const InputInfo& input, uint64_t value) {
    return input.bits >= 64 ? value : value & ((1ull << input.bits) - 1);
}
// A valid state with up to `most` inputs changed: a flipped bit, a boundary value or anything.
RuleState near_valid(const Profile& profile, unsigned most) {
    RuleState state = default_state(profile);
    const auto changes = *rc::gen::inRange(0u, most + 1);
    for (unsigned n = 0; n < changes; ++n) {
        const InputInfo& input = rule_inputs()[*rc::gen::inRange<size_t>(0, INPUTS)];
        if (input.bits == 0) {
            continue;
        }
        uint64_t& value = state.value[input.input];
        const uint64_t random = *rc::gen::arbitrary<uint64_t>();
        switch (*rc::gen::inRange(0, 4)) {
        case 0:
            value ^= 1ull << random % input.bits;
            break;
        case 1:
            value = within(input, random);
            break;
        case 2:
            value = within(input, ~0ull);
            break;
        default:
            value = 0;
        }
    }
    return state;
}
RuleState anything() {
    RuleState state;
    for (const InputInfo& input : rule_inputs()) {
        if (input.bits != 0) {
            state.value[input.input] = within(input, *rc::gen::arbitrary<uint64_t>());
        }
    }
    return state;
}

RC_GTEST_PROP(VmxRules, RepairMakesEveryStateValid, ()) {
    const Profile& profile = any_profile();
    const RuleState state = *rc::gen::arbitrary<bool>() ? anything() : near_valid(profile, 12);
    RC_ASSERT(broken_rules(repair(state, profile), profile).none());
}

RC_GTEST_PROP(VmxRules, RepairLeavesValidStatesAlone, ()) {
    const Profile& profile = any_profile();
    const RuleState valid = repair(near_valid(profile, 20), profile);
    RC_ASSERT(repair(valid, profile) == valid);
}

RC_GTEST_PROP(VmxRules, EntryGoesOnExactlyIfNoRuleIsBroken, ()) {
    const Profile& profile = any_profile();
    const RuleSet broken = broken_rules(near_valid(profile, 3), profile);
    const Failures failures = failures_of(broken);
    RC_ASSERT(failures.allowed.empty() == broken.none());
    for (const RuleInfo& rule : all_rules()) {
        if (broken[static_cast<size_t>(rule.id)] && rule.strength == Strength::MUST) {
            RC_ASSERT(!failures.may_enter);
        }
    }
}

RC_GTEST_PROP(VmxRules, ConcreteAndSymbolicReadingsAgree, ()) {
    const Profile& profile = any_profile();
    const RuleState state = *rc::gen::arbitrary<bool>() ? anything() : near_valid(profile, 8);
    static z3::context context;
    const SymbolicInputs inputs = partly_fresh_inputs(context, {}, state);
    for (const RuleInfo& rule : all_rules()) {
        const z3::expr formula = rule_formula(rule.id, inputs, profile);
        RC_ASSERT(formula.is_true() || formula.is_false());
        RC_ASSERT(formula.is_true() == rule_holds(rule.id, state, profile));
    }
}

// What a rule is said to read is all that decides it.
RC_GTEST_PROP(VmxRules, ARuleDependsOnlyOnWhatItReads, ()) {
    const Profile& profile = any_profile();
    const RuleState a = near_valid(profile, 6);
    const RuleState b = anything();
    for (const RuleInfo& rule : all_rules()) {
        RuleState mixed = b;
        for (size_t i = 0; i < INPUTS; ++i) {
            if (rule.reads[i]) {
                mixed.value[i] = a.value[i];
            }
        }
        RC_ASSERT(rule_holds(rule.id, a, profile) == rule_holds(rule.id, mixed, profile));
    }
}

TEST(VmxRules, TheDefaultStateIsValidOnEveryProfile) {
    for (const char* name : PROFILES) {
        const Profile& profile = builtin_profile(name);
        EXPECT_TRUE(broken_rules(default_state(profile), profile).none()) << name;
        EXPECT_NE(default_state(profile)[Field::GUEST_RIP], 0u);
    }
}

TEST(VmxRules, WitnessesCoverBothSidesOfEveryRule) {
    const Profile& profile = builtin_profile("bochs-2.7-skylake-x");
    const RuleState base = default_state(profile);
    RuleSet broken;
    RuleSet held;
    for (const Witness& witness : rule_witnesses(profile, base)) {
        const bool breaks = witness.name.ends_with(":broken");
        const RuleId id = witness.target[0];
        (breaks ? broken : held).set(static_cast<size_t>(id));
        EXPECT_EQ(rule_holds(id, witness.state, profile), !breaks) << witness.name;
        EXPECT_EQ(witness.broken.count(), breaks ? 1u : 0u) << witness.name;
    }
    for (const RuleInfo& rule : all_rules()) {
        const bool applies = rule_applies(rule.id, profile);
        EXPECT_EQ(broken[static_cast<size_t>(rule.id)], applies) << rule.name;
        EXPECT_EQ(held[static_cast<size_t>(rule.id)], applies) << rule.name;
    }
}

TEST(VmxRules, PairWitnessesBreakTheirTwoRules) {
    const Profile& profile = builtin_profile("bochs-2.7-skylake-x");
    const auto pairs = pair_witnesses(profile, default_state(profile));
    EXPECT_GT(pairs.size(), 10000u);
    for (const Witness& witness : pairs) {
        ASSERT_EQ(witness.broken.count(), 2u);
        ASSERT_EQ(broken_rules(witness.state, profile), witness.broken);
    }
}

TEST(VmxRules, ControlAndHostFailuresComeInAnyOrderGuestOnesAfter) {
    RuleSet broken;
    broken.set(static_cast<size_t>(RuleId::HOST_CR3));
    broken.set(static_cast<size_t>(RuleId::VPID_ZERO));
    broken.set(static_cast<size_t>(RuleId::GUEST_CR3));
    Failures failures = failures_of(broken);
    ASSERT_EQ(failures.allowed.size(), 2u);
    EXPECT_EQ(failures.allowed[0].error, InstructionError::ENTRY_CONTROLS);
    EXPECT_EQ(failures.allowed[1].error, InstructionError::ENTRY_HOST_STATE);
    broken.reset(static_cast<size_t>(RuleId::HOST_CR3));
    broken.reset(static_cast<size_t>(RuleId::VPID_ZERO));
    broken.set(static_cast<size_t>(RuleId::LINK_ADDRESS));
    failures = failures_of(broken);
    ASSERT_EQ(failures.allowed.size(), 2u);
    EXPECT_EQ(failures.allowed[0].kind, FailureKind::ENTRY_FAILURE);
    EXPECT_EQ(failures.allowed[1].qualification, EntryFailure::LINK_POINTER);
    broken.set(static_cast<size_t>(RuleId::INSN_CPL0));
    failures = failures_of(broken);
    ASSERT_EQ(failures.allowed.size(), 1u);
    EXPECT_EQ(failures.allowed[0].kind, FailureKind::GP);
}

TEST(VmxRules, ARuleOfStrengthMayAloneAllowsBoth) {
    RuleSet broken;
    broken.set(static_cast<size_t>(RuleId::BLOCKING_STI_NMI));
    const Failures failures = failures_of(broken);
    EXPECT_TRUE(failures.may_enter);
    ASSERT_EQ(failures.allowed.size(), 1u);
    EXPECT_EQ(failures.allowed[0].qualification, EntryFailure::NMI_BLOCKED_BY_STI);
}

TEST(VmxRules, TheSmallestRepairIsOneBitWhereOneBitWasFlipped) {
    const Profile& profile = builtin_profile("bochs-2.7-skylake-x");
    for (const Field field : {Field::HOST_CR0, Field::GUEST_RFLAGS, Field::GUEST_CS_RIGHTS}) {
        RuleState state = default_state(profile);
        state[field] ^= field == Field::GUEST_CS_RIGHTS ? 0x10 : field == Field::HOST_CR0 ? 1 : 2;
        const Repair repair = smallest_repair(state, profile);
        EXPECT_EQ(repair.changed.size(), 1u);
        EXPECT_EQ(repair.bits, 1u);
        EXPECT_TRUE(broken_rules(repair.state, profile).none());
    }
}

// Found by a case on Bochs: bit 47 of RIP is not looked at (§26.3.1.4), though such an address is
// not canonical.
TEST(VmxRules, RipIsCheckedAboveTheLinearWidthOnly) {
    const Profile& profile = builtin_profile("bochs-2.7-skylake-x");
    RuleState state = default_state(profile);
    state[Field::GUEST_RIP] = 0x0000800000200000;
    EXPECT_TRUE(broken_rules(state, profile).none());
    state[Field::GUEST_RIP] = 0x0001000000200000;
    EXPECT_EQ(broken_rules(state, profile),
              RuleSet().set(static_cast<size_t>(RuleId::GUEST_RIP_CANONICAL)));
    state[Field::GUEST_RIP] = 0xffff000000200000;
    EXPECT_TRUE(broken_rules(state, profile).none());
}

TEST(VmxProfile, SaysWhatIsWrong) {
    const auto message = [](const char* text) -> std::string {
        try {
            parse_profile(text, "x.json");
        } catch (const ProfileError& error) {
            return error.what();
        }
        return "";
    };
    EXPECT_NE(message("{").find("x.json: not JSON"), std::string::npos);
    EXPECT_NE(message("[]").find("not a JSON object"), std::string::npos);
    EXPECT_NE(message(R"({"name":"a"})").find("'description'"), std::string::npos);
    const std::string start = R"({"name":"a","description":"","debugctl_defined":"0","cpuid":{},)";
    EXPECT_NE(message((start + R"("msr":{}})").c_str()).find("'480'"), std::string::npos);
    EXPECT_NE(message((start + R"("msr":{"480":"xyz"}})").c_str()).find("msr '480'"),
              std::string::npos);
    EXPECT_THROW(builtin_profile("nothing"), ProfileError);
    EXPECT_THROW(find_profile("/nowhere.json"), ProfileError);
}

TEST(VmxFields, EveryFieldHasOneNameAndEncoding) {
    EXPECT_EQ(vmcs_fields().size(), FIELD_SLOTS - 1);
    for (const FieldInfo& field : vmcs_fields()) {
        EXPECT_EQ(find_field(field.name), &field);
        EXPECT_EQ(find_encoding(horos::vmx::encoding(field.field)), &field);
    }
    EXPECT_EQ(find_encoding(detail::HOLE), nullptr);
    EXPECT_EQ(find_field("guest.cs.selector")->field, Field::GUEST_CS_SELECTOR);
}

} // namespace
