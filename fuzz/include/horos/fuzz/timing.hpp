// Where a campaign's time goes: one phase is current at any moment, and the time until the next
// change is its. Kept per worker; printed in every report, so that a slow campaign says why.
#pragma once

#include <array>
#include <chrono>
#include <string_view>

namespace horos::fuzz {

enum class Phase : unsigned {
    Generate, // making a case
    Predict,  // asking the model
    Send,     // copying cases in and results out
    Wait,     // waiting for the target
    Judge,    // comparing a result with the prediction
    Restart,  // starting the target again
    Recheck,  // looking for stray writes, and for the case that made them
    Refine,   // confirming and minimising what is new
    Other,
};
inline constexpr unsigned PHASES = 9;
constexpr std::string_view phaseName(Phase phase) {
    constexpr std::string_view NAMES[PHASES] = {"generate", "predict", "send",   "wait", "judge",
                                                "restart",  "recheck", "refine", "other"};
    return NAMES[unsigned(phase)];
}

using PhaseSeconds = std::array<double, PHASES>;

class Timing {
public:
    using Clock = std::chrono::steady_clock;

    Phase enter(Phase phase) {
        auto now = Clock::now();
        seconds_[unsigned(phase_)] += std::chrono::duration<double>(now - since_).count();
        since_ = now;
        Phase before = phase_;
        // what happens inside a recheck or a refinement belongs to it
        if (!pinned_)
            phase_ = phase;
        return before;
    }
    // Everything until unpin() belongs to `phase`, whatever is entered meanwhile.
    bool pin(Phase phase) {
        if (pinned_)
            return false;
        enter(phase);
        pinned_ = true;
        return true;
    }
    void unpin(Phase back) {
        pinned_ = false;
        enter(back);
    }
    const PhaseSeconds& seconds() {
        enter(phase_);
        return seconds_;
    }

private:
    PhaseSeconds seconds_{};
    Phase phase_ = Phase::Other;
    bool pinned_ = false;
    Clock::time_point since_ = Clock::now();
};

class PhaseScope {
public:
    PhaseScope(Timing& timing, Phase phase) : timing_(timing), before_(timing.enter(phase)) {}
    ~PhaseScope() { timing_.enter(before_); }
    PhaseScope(const PhaseScope&) = delete;
    PhaseScope& operator=(const PhaseScope&) = delete;

private:
    Timing& timing_;
    Phase before_;
};

class PinnedScope {
public:
    PinnedScope(Timing& timing, Phase phase)
        : timing_(timing), before_(timing.enter(phase)), mine_(timing.pin(phase)) {}
    ~PinnedScope() {
        if (mine_)
            timing_.unpin(before_);
    }
    PinnedScope(const PinnedScope&) = delete;
    PinnedScope& operator=(const PinnedScope&) = delete;

private:
    Timing& timing_;
    Phase before_;
    bool mine_;
};

} // namespace horos::fuzz
