// One case run again, and made as small as the same divergence allows.
#include "campaign.hpp"

namespace horos::fuzz::vmx {

using namespace model::vmx;

std::optional<Divergence> Campaign::replay(const Test& test) {
    try {
        return judge(test, profile_, bochs_.host(), run_alone(test).at(0), triage_.deviations)
            .divergence;
    } catch (const TargetLost& lost) {
        start();
        ++report_.restarts;
        return Divergence{std::string("lost: ") + lost.what(), "an outcome", lost.what(), {}, {}};
    }
}

Test Campaign::at_home(Test test) {
    if (test.kind == Kind::ENTRY) {
        test.state = canonical(test.state, profile_, bochs_.host());
    } else if (test.kind == Kind::GUEST) {
        test.state = canonical_guest(test.state, profile_, bochs_.host());
    }
    return test;
}

bool Campaign::same(const Test& test, const Divergence& divergence) {
    const auto still = replay(test);
    return still && still->what == divergence.what && still->where == divergence.where &&
           still->overlooked == divergence.overlooked;
}

// Takes back what does not matter, piece by piece, as long as the same divergence stays.
Test Campaign::minimise(const Test& test, const Divergence& divergence) {
    const RuleState base = canonical(base_, profile_, bochs_.host());
    Test best = test;
    const auto attempt = [&](Test candidate) {
        candidate = at_home(std::move(candidate));
        if (Clock::now() < end_ && same(candidate, divergence)) {
            best = candidate;
        }
    };
    for (size_t i = 0; i < INPUTS && test.kind != Kind::SEQUENCE; ++i) {
        if (best.state.value[i] != base.value[i]) {
            Test candidate = best;
            candidate.state.value[i] = base.value[i];
            attempt(candidate);
        }
    }
    for (unsigned n = best.guest.pokes; n-- > 0;) {
        Test candidate = best;
        candidate.guest.poke[n] = candidate.guest.poke[--candidate.guest.pokes];
        attempt(candidate);
    }
    for (unsigned n = 0; n < 16 && test.kind == Kind::GUEST; ++n) {
        Test candidate = best;
        candidate.guest.gpr[n] = 0;
        attempt(candidate);
    }
    for (size_t n = best.steps.size(); n-- > 0;) {
        Test candidate = best;
        candidate.steps.erase(candidate.steps.begin() + std::ptrdiff_t(n));
        attempt(candidate);
    }
    return best;
}

} // namespace horos::fuzz::vmx
