// libFuzzer entry point for the model side: the decoder of case files, the oracle and the model.
// ClusterFuzz and other engines that speak libFuzzer can drive it; its corpus folder is the same
// as that of horos-fuzz, because a case file is its own encoding.
#include "horos/fuzz/case.hpp"
#include "horos/fuzz/oracle.hpp"

#include <cstdio>
#include <cstdlib>

using namespace horos::fuzz;

namespace {

constexpr size_t FEATURES = 1024;
constexpr size_t RULES = 128;

// libFuzzer takes what it finds in this section for coverage, beside that of instrumented code.
[[gnu::section("__libfuzzer_extra_counters"), gnu::used]] uint8_t covered[FEATURES + 2 * RULES];

void cover(const svm_model::Prediction& p) {
    for (size_t i = 0; i < p.features.size(); ++i)
        covered[i] |= p.features.test(i);
    const auto broken = p.broken & p.applicable;
    const bool alone = broken.count() == 1;
    for (size_t i = 0; i < broken.size(); ++i)
        if (broken.test(i))
            covered[FEATURES + (alone ? RULES : 0) + i] = 1;
}

void require(bool condition, const char* what) {
    if (!condition) {
        std::fprintf(stderr, "property broken: %s\n", what);
        std::abort();
    }
}

// What must hold of every prediction, whatever the case.
void check(Oracle& oracle, Case& c) {
    using svm_model::OutcomeKind;
    const auto first = oracle.predict(c);
    const auto second = oracle.predict(c);
    cover(first);
    require(!first.allowed.empty(), "a prediction allows something");
    require(first.allowed.size() == second.allowed.size() && first.broken == second.broken &&
                first.allowed.front().kind == second.allowed.front().kind,
            "predict() is a function");
    const auto broken =
        svm_model::broken_rules(oracle.ruleState(c), svm_model::Params(oracle.profile()));
    bool mustFail = false;
    for (const auto& rule : svm_model::all_rules())
        mustFail |= broken.test(size_t(rule.id)) && rule.strength == svm_model::Strength::MUST;
    for (const auto& outcome : first.allowed) {
        const bool refused =
            outcome.kind == OutcomeKind::INVALID || outcome.kind == OutcomeKind::FAULT;
        require(!mustFail || refused, "a state that breaks a rule is refused");
        require(broken.any() || !refused, "a state that breaks no rule enters");
    }
    Case again = decode(encode(c));
    require(contentName(again) == contentName(c), "decode(encode(case)) is the case");
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static Oracle oracle(svm_model::builtin_profile("qemu-7.2-max"));
    try {
        Case c = decode({data, size});
        Oracle::settle(c);
        check(oracle, c);
    } catch (const CaseError&) {
        return -1; // not a case: not for the corpus
    }
    return 0;
}
