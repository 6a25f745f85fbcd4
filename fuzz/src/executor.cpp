#include "horos/fuzz/executor.hpp"

#include <algorithm>
#include <cstring>

namespace horos::fuzz {

namespace {
constexpr unsigned FLIGHT = wire::SLOTS - 32; // in flight at most
constexpr unsigned PUBLISH = 16;              // cases made visible at a time
constexpr size_t BATCH = 1024;                // cases between two checks of the arena
constexpr size_t GROUP = 64;                  // cases rerun together to find a stray write
// Of the target's own processor time. A case takes some ten microseconds.
constexpr std::chrono::milliseconds HANG_LIMIT{100}, HANG_LIMIT_ALONE{400};
constexpr unsigned CODE_BYTES = 8 * wire::CODE_QWORDS;

// What the harness writes into the result of a case last: never zero, so that neither a slot that
// was not written nor the memory of a process that is gone can be taken for an answer.
constexpr uint64_t idOf(uint64_t ringIndex) { return ringIndex + 1; }

// The limit of CS ends inside the program. Bochs runs what it decoded under a larger limit without
// a look at this one (cpu/icache.cc), so the program is written again.
bool limitCutsCode(const wire::CaseSlot& slot) {
    using horos::svm::SaveArea;
    const uint64_t rip = slot.save[offsetof(SaveArea, rip) / 8];
    const uint64_t limit = slot.save[offsetof(SaveArea, cs) / 8] >> 32;
    return rip <= limit && limit - rip < 8ull * slot.codeQwords;
}
} // namespace

Executor::Executor(Target& target, Oracle& oracle, Handler handler)
    : target_(target), oracle_(oracle), handler_(std::move(handler)) {
    target_.setHangLimit(HANG_LIMIT);
    target_.interrupted = [this] { return over(); };
}

bool Executor::over() {
    if (!stopped_ && expired && expired())
        stopped_ = true;
    return stopped_;
}

void Executor::start() {
    PhaseScope phase(timing_, Phase::Restart);
    bringUp(target_);
    oracle_.setBaseline(target_.baseline());
    installedQwords_ = 0;
    collected_ = 0;
    unpublished_ = 0;
}

void Executor::restart() {
    ++restarts_;
    try {
        start();
    } catch (const Interrupted&) {
        giveUp();
    }
}

bool Executor::renew() {
    finish();
    batch_.clear();
    if (!over())
        try {
            start();
        } catch (const Interrupted&) {
            giveUp();
        }
    return !stopped_;
}

bool Executor::repeat(std::span<const Case> cases) {
    const unsigned restarts = restarts_;
    for (size_t first = 0; first < cases.size() && !over(); first += GROUP)
        (void)runQuietly(cases.subspan(first, std::min(GROUP, cases.size() - first)));
    return !stopped_ && restarts == restarts_;
}

// The ring and our idea of it have parted: nothing more can be run on this target.
void Executor::giveUp() {
    stopped_ = true;
    dropped_ += flying_.size();
    flying_.clear();
    batch_.clear();
}

void Executor::send(Run& run) {
    PhaseScope phase(timing_, Phase::Send);
    wire::CaseSlot slot = run.input.slot;
    slot.id = idOf(target_.submitted());
    // What is in place may be longer than this program: pad with HLT, as the model sees it.
    unsigned length =
        std::max(slot.codeQwords, installedQwords_ ? installedQwords_ : wire::CODE_QWORDS);
    for (unsigned i = slot.codeQwords; i < length; ++i)
        slot.code[i] = 0xf4f4f4f4f4f4f4f4;
    const bool again = limitCutsCode(slot);
    if (again)
        slot.flags |= wire::REWRITE_CODE;
    if (!again && installedQwords_ && length == installedQwords_ &&
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

void Executor::submit(Run run) {
    if (stopped_) {
        ++dropped_;
        return;
    }
    while (flying_.size() >= FLIGHT)
        collect(collected_ + flying_.size() - FLIGHT + 1 + FLIGHT / 4);
    if (stopped_) {
        ++dropped_;
        return;
    }
    flying_.push_back(std::move(run));
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
    TargetState state;
    {
        PhaseScope phase(timing_, Phase::Wait);
        state = target_.waitFor(until);
    }
    uint64_t done = std::min(target_.finished(), collected_ + flying_.size());
    for (; collected_ < done && !flying_.empty(); ++collected_) {
        if (!fetch(collected_, flying_.front())) {
            state = TargetState::Died; // since it said that this one is done
            break;
        }
        Run run = std::move(flying_.front());
        flying_.pop_front();
        ++executed_;
        batch_.push_back(run.input);
        handler_(run);
    }
    if (state == TargetState::Interrupted)
        giveUp();
    else if (state != TargetState::Running)
        lost(state);
}

// False: the result is not there, because the target and its memory are gone.
bool Executor::fetch(uint64_t index, Run& run) {
    PhaseScope phase(timing_, Phase::Send);
    target_.fetch(index, run.result);
    return run.result.id == idOf(index);
}

void Executor::finish() {
    while (!flying_.empty())
        collect(collected_ + flying_.size());
}

// The harness takes cases in order, so the oldest unfinished one hung or killed the target.
void Executor::lost(TargetState state) {
    std::string log = target_.log();
    std::deque<Run> waiting = std::move(flying_);
    flying_.clear();
    batch_.clear();
    if (!waiting.empty()) {
        Run culprit = std::move(waiting.front());
        waiting.pop_front();
        culprit.state = state;
        culprit.log = std::move(log);
        ++executed_;
        handler_(culprit);
    }
    if (!restartUnlessOver(waiting))
        return;
    for (Run& run : waiting) {
        if (leaveOut && leaveOut(run))
            continue;
        flying_.push_back(std::move(run));
        send(flying_.back());
    }
    target_.publish();
}

bool Executor::restartUnlessOver(std::deque<Run>& waiting) {
    if (!over())
        restart();
    if (stopped_) {
        dropped_ += waiting.size();
        giveUp();
    }
    return !stopped_;
}

Run Executor::runAlone(const Case& c) {
    finish();
    Run run;
    run.input = c;
    run.state = TargetState::Interrupted;
    if (over())
        return run;
    run.prediction = oracle_.predict(c);
    oracle_.fit(run.input, run.prediction);
    send(run);
    ++collected_;
    target_.publish();
    unpublished_ = 0;
    target_.setHangLimit(HANG_LIMIT_ALONE);
    run.state = target_.waitFor(target_.submitted());
    target_.setHangLimit(HANG_LIMIT);
    if (run.state == TargetState::Interrupted) {
        giveUp();
        return run;
    }
    ++reruns_;
    if (run.state == TargetState::Running) {
        const bool there = fetch(target_.submitted() - 1, run);
        run.stray = strayWords(target_, CODE_ADDRESS, CODE_BYTES);
        if (!there || !target_.alive()) // its memory reads as zeros then
            run.state = TargetState::Died;
    }
    if (run.state != TargetState::Running) {
        run.stray.clear();
        run.log = target_.log();
        restart();
        return run;
    }
    putRight(run.stray);
    return run;
}

// An emulator notices only what its own processor writes, and would go on with translations of the
// code that a guest wrote there. So the harness writes what is on the code page, by patches.
void Executor::putRight(const std::vector<StrayWord>& stray) {
    if (stray.empty())
        return;
    restoreArena(target_);
    installedQwords_ = 0;
    std::vector<Case> writers;
    for (const StrayWord& word : stray) {
        if (word.address < CODE_ADDRESS || word.address >= pageAddress(page::CODE + 1))
            continue;
        if (writers.empty() || writers.back().slot.patches == wire::PATCHES) {
            writers.emplace_back();
            writers.back().slot = baseCase(Mode::Long64, false);
        }
        wire::CaseSlot& slot = writers.back().slot;
        slot.patch[slot.patches++] = {word.address, word.expected, word.expected};
    }
    if (!writers.empty() && runThrough(writers) != TargetState::Running && !stopped_)
        restart();
}

void Executor::checkArena() {
    finish();
    std::vector<Case> cases = std::move(batch_);
    batch_ = {};
    batch_.reserve(BATCH + FLIGHT);
    if (stopped_)
        return;
    PinnedScope phase(timing_, Phase::Recheck);
    const auto stray = strayWords(target_, CODE_ADDRESS, CODE_BYTES);
    if (stray.empty())
        return;
    if (!target_.alive()) // its memory reads as zeros then; which case it was shows in a rerun
        restart();
    else
        putRight(stray);
    for (size_t first = 0; first < cases.size() && !over(); first += GROUP)
        recheck(std::span(cases).subspan(first, std::min(GROUP, cases.size() - first)));
    batch_.clear();
}

// Some of these wrote where none may: halves the group until single cases are left.
void Executor::recheck(std::span<const Case> cases) {
    if (cases.size() > 1) {
        if (!runQuietly(cases) || over())
            return;
        recheck(cases.first(cases.size() / 2));
        recheck(cases.subspan(cases.size() / 2));
        return;
    }
    Run run = runAlone(cases.front());
    if (run.state == TargetState::Interrupted)
        return;
    if (run.state != TargetState::Running || !run.stray.empty())
        handler_(run);
}

// Sends them all and waits for the last; what they result in is left alone.
TargetState Executor::runThrough(std::span<const Case> cases) {
    for (const Case& c : cases) {
        Run run;
        run.input = c;
        send(run);
        ++collected_;
    }
    target_.publish();
    unpublished_ = 0;
    TargetState state = target_.waitFor(target_.submitted());
    reruns_ += cases.size();
    if (state == TargetState::Interrupted)
        giveUp();
    return state;
}

// Runs them for their side effects only. True: the arena is not as it was, or the target is lost.
bool Executor::runQuietly(std::span<const Case> cases) {
    const TargetState state = runThrough(cases);
    if (stopped_)
        return false;
    if (state != TargetState::Running) {
        restart();
        return true;
    }
    const auto stray = strayWords(target_, CODE_ADDRESS, CODE_BYTES);
    if (stray.empty())
        return false;
    if (!target_.alive())
        restart();
    else
        putRight(stray);
    return true;
}

} // namespace horos::fuzz
