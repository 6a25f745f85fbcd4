// Random sequences of hypercalls and events on two cores, every invariant checked after each step.
// A failure is shrunk to a short list of calls (HOROS_CORE_SHRINK seconds, default 60). RapidCheck
// prints its seed; to repeat a run:
//   RC_PARAMS="seed=... max_size=... max_success=..." core-tests --gtest_filter='Random*'
// HOROS_CORE_STEPS overrides the number of steps that a run must reach (default 100,000).
#include "shrink.hpp"

#include <cstdlib>
#include <cstring>
#include <gtest/gtest.h>
#include <iomanip>
#include <iostream>
#include <rapidcheck.h>
#include <rapidcheck/detail/Configuration.h>
#include <string>

namespace horos::test {
void showValue(const Step& step, std::ostream& os) {
    os << "core " << u32{step.core} << " seed " << step.seed;
}
} // namespace horos::test

// RapidCheck draws; shrink.hpp shortens, because it knows where a sequence failed.
template <>
struct rc::Arbitrary<horos::test::Step> {
    static Gen<horos::test::Step> arbitrary() {
        return gen::noShrink(
            gen::map(gen::resize(100, gen::arbitrary<std::uint64_t>()), [](std::uint64_t w) {
                return horos::test::Step{static_cast<std::uint8_t>(w >> 32 & 1),
                                         static_cast<std::uint32_t>(w)};
            }));
    }
};

namespace horos::test {

namespace {

void print_table() {
    std::cout << "steps " << statistics.steps << ", hypercalls " << statistics.calls << ", ok "
              << 100 * statistics.successes / (statistics.calls + 1) << " %, events "
              << statistics.events << " (" << statistics.idle
              << " with nothing to do), guest entries " << statistics.guest_entries << '\n';
    for (const auto& [call, answers] : statistics.answers) {
        std::cout << std::setw(20) << std::left << call_table[static_cast<u32>(call)].name;
        for (const auto& [answer, count] : answers)
            std::cout << ' ' << answer << ':' << count;
        std::cout << '\n';
    }
}

std::string describe(const Failure& f) {
    std::string text = f.what + "\nafter:\n";
    const size_t from = f.log.size() > 60 ? f.log.size() - 60 : 0;
    for (size_t i = from; i < f.log.size(); ++i)
        text += "  " + f.log[i] + "\n";
    return text;
}

double shrink_seconds() {
    const char* text = std::getenv("HOROS_CORE_SHRINK");
    return text != nullptr ? std::strtod(text, nullptr) : 60;
}

u64 wanted_steps() {
    const char* text = std::getenv("HOROS_CORE_STEPS");
    return text != nullptr ? std::strtoull(text, nullptr, 10) : 100'000;
}

} // namespace

TEST(Random, SequencesKeepAllInvariants) {
    // A seed alone (as the CI gives) leaves the size of the run as it is. RapidCheck reads its
    // parameters once in a process, so the size is given to this check and not to the environment.
    const char* given = std::getenv("RC_PARAMS");
    const bool own_parameters = given != nullptr && std::strstr(given, "max_") != nullptr;
    rc::detail::TestParams parameters = rc::detail::configuration().testParams;
    if (!own_parameters) {
        parameters.maxSize = 2400;
        parameters.maxSuccess = 200;
    }
    const rc::detail::TestMetadata name{"sequences", "sequences keep all invariants"};
    const auto result = rc::detail::checkTestable(
        [] {
            const auto steps = *rc::gen::noShrink(rc::gen::arbitrary<std::vector<Step>>());
            const Failure f = try_sequence(steps);
            if (f.failed)
                RC_FAIL(describe(shrink_sequence(steps, f, shrink_seconds())));
        },
        name, parameters);
    rc::detail::printResultMessage(result, std::cerr);
    const bool passed = result.is<rc::detail::SuccessResult>();
    print_table();
    ASSERT_TRUE(passed);
    if (own_parameters)
        return;
    EXPECT_GE(statistics.steps, wanted_steps());
    EXPECT_GE(100 * statistics.successes, 35 * statistics.calls);
    for (u32 i = 0; i < call_count; ++i) {
        auto& answers = statistics.answers[static_cast<Call>(i)];
        EXPECT_GT(answers["ok"] + answers["blocks"], 0u) << call_table[i].name;
    }
}

} // namespace horos::test
