#include "horos/fuzz/executor.hpp"

#include <algorithm>
#include <cstring>

namespace horos::fuzz {

namespace {
constexpr unsigned FLIGHT = wire::SLOTS - 32; // in flight at most
constexpr unsigned PUBLISH = 16;              // cases made visible at a time
constexpr size_t BATCH = 1024;                // cases between two checks of the arena
constexpr std::chrono::milliseconds HANG_LIMIT{500}, CONFIRM_LIMIT{2000};
constexpr unsigned CODE_BYTES = 8 * wire::CODE_QWORDS;
} // namespace

Executor::Executor(Target& target, Oracle& oracle, Handler handler)
    : target_(target), oracle_(oracle), handler_(std::move(handler)) {
    target_.setHangLimit(HANG_LIMIT);
}

void Executor::start() {
    bringUp(target_);
    uint64_t baseline[wire::H_COUNT];
    target_.memory().read(wire::MAILBOX_PA + offsetof(wire::Mailbox, baseline), baseline,
                          sizeof baseline);
    oracle_.setBaseline(baseline);
    installedQwords_ = 0;
    collected_ = 0;
    unpublished_ = 0;
}

void Executor::restart() {
    ++restarts_;
    start();
}

void Executor::send(Run& run) {
    wire::CaseSlot slot = run.input.slot;
    slot.id = target_.submitted();
    // What is in place may be longer than this program: pad with HLT, as the model sees it.
    unsigned length =
        std::max(slot.codeQwords, installedQwords_ ? installedQwords_ : wire::CODE_QWORDS);
    for (unsigned i = slot.codeQwords; i < length; ++i)
        slot.code[i] = 0xf4f4f4f4f4f4f4f4;
    if (installedQwords_ && length == installedQwords_ &&
        std::memcmp(slot.code, installed_, 8 * length) == 0) {
        slot.flags &= ~uint32_t{wire::FRESH_CODE};
    } else {
        slot.flags |= wire::FRESH_CODE;
        slot.codeQwords = length;
        std::memcpy(installed_, slot.code, 8 * length);
        // trailing padding need not be written again
        installedQwords_ = length;
        while (installedQwords_ > 1 && installed_[installedQwords_ - 1] == 0xf4f4f4f4f4f4f4f4)
            --installedQwords_;
    }
    target_.submit(slot);
}

void Executor::submit(Case c, svm_model::Prediction p) {
    while (flying_.size() >= FLIGHT)
        collect(collected_ + flying_.size() - FLIGHT + 1 + FLIGHT / 4);
    flying_.push_back({std::move(c), std::move(p), TargetState::Running, {}, {}, {}});
    send(flying_.back());
    if (++unpublished_ >= PUBLISH) {
        target_.publish();
        unpublished_ = 0;
    }
    if (batch_.size() >= BATCH)
        checkArena();
}

// Takes results until ring index `until` is in, or the target is lost.
void Executor::collect(uint64_t until) {
    until = std::min(until, collected_ + flying_.size());
    target_.publish();
    unpublished_ = 0;
    TargetState state = target_.waitFor(until);
    uint64_t done = std::min(target_.finished(), collected_ + flying_.size());
    for (; collected_ < done; ++collected_) {
        Run run = std::move(flying_.front());
        flying_.pop_front();
        target_.fetch(collected_, run.result);
        ++executed_;
        batch_.push_back(run.input);
        handler_(run);
    }
    if (state != TargetState::Running)
        lost(state);
}

void Executor::finish() {
    while (!flying_.empty())
        collect(collected_ + flying_.size());
}

// The oldest unfinished case is the one that hung or killed the target.
void Executor::lost(TargetState state) {
    std::string log = target_.log();
    std::deque<Run> waiting = std::move(flying_);
    flying_.clear();
    if (waiting.empty()) {
        restart();
        return;
    }
    Run culprit = std::move(waiting.front());
    waiting.pop_front();
    culprit.state = state;
    culprit.log = std::move(log);
    ++executed_;
    restart();
    batch_.clear();
    if (state == TargetState::Hung) {
        // A busy machine can make a healthy target look hung: give it time, alone.
        target_.setHangLimit(CONFIRM_LIMIT);
        Run again = runAlone(culprit.input);
        target_.setHangLimit(HANG_LIMIT);
        if (again.state != TargetState::Hung)
            culprit = std::move(again);
    }
    handler_(culprit);
    for (Run& run : waiting) {
        if (leaveOut && leaveOut(run))
            continue;
        flying_.push_back(std::move(run));
        send(flying_.back());
    }
    target_.publish();
}

Run Executor::runAlone(const Case& c) {
    finish();
    Run run;
    run.input = c;
    run.prediction = oracle_.predict(c);
    run.input.slot.windows = changedWindows(c.slot);
    oracle_.fit(run.input, run.prediction);
    send(run);
    ++collected_;
    target_.publish();
    unpublished_ = 0;
    run.state = target_.waitFor(target_.submitted());
    ++executed_;
    if (run.state != TargetState::Running) {
        run.log = target_.log();
        restart();
        return run;
    }
    target_.fetch(target_.submitted() - 1, run.result);
    run.stray = strayWords(target_, CODE_ADDRESS, CODE_BYTES);
    if (!run.stray.empty()) {
        restoreArena(target_);
        installedQwords_ = 0;
    }
    return run;
}

void Executor::checkArena() {
    finish();
    std::vector<Case> cases = std::move(batch_);
    batch_.clear();
    if (strayWords(target_, CODE_ADDRESS, CODE_BYTES).empty())
        return;
    restoreArena(target_);
    installedQwords_ = 0;
    for (const Case& c : cases) {
        Run run = runAlone(c);
        if (run.state != TargetState::Running || !run.stray.empty())
            handler_(run);
    }
    batch_.clear();
}

} // namespace horos::fuzz
