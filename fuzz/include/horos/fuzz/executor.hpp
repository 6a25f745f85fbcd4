// Runs cases on a target, many in flight, and says for each how it ended. Restarts a target that
// hangs or dies and names the case that did it; finds the case that wrote where none may.
#pragma once

#include "horos/fuzz/oracle.hpp"
#include "horos/fuzz/session.hpp"
#include "horos/fuzz/timing.hpp"

#include <deque>
#include <functional>
#include <span>

namespace horos::fuzz {

struct Run {
    Case input;
    svm_model::Prediction prediction;
    // With the target's known defects, where that is known already and differs.
    std::unique_ptr<svm_model::Prediction> withDefects = {};
    TargetState state = TargetState::Running;
    wire::ResultSlot result{};
    std::string log;              // of a target that died
    std::vector<StrayWord> stray; // words of the arena changed outside the windows
};

class Executor {
public:
    using Handler = std::function<void(Run&)>;

    Executor(Target& target, Oracle& oracle, Handler handler);

    void start(); // brings the target up and takes its baseline
    // Queues a case; hands finished ones to the handler.
    void submit(Run run);
    void finish(); // waits for all
    // One case by itself, with the whole arena checked. Keeps nothing queued.
    Run runAlone(const Case& c);

    // A newly started target, for what shall not depend on earlier cases. False: time is up.
    bool renew();
    // Runs these for what they leave behind in the target; the arena is put right afterwards.
    // False: the target was lost on the way (and started anew), or time is up.
    bool repeat(std::span<const Case> cases);

    // Waits for all, looks for writes where none may be, and puts the arena right. A divergence
    // may have left something behind: then what follows is checked from a clean state.
    void checkArena();

    // Asked of the cases that waited behind one that killed the target: true leaves one out.
    std::function<bool(const Run&)> leaveOut;
    // Time is up: nothing more is started, what is in flight is dropped and counted. Asked while
    // waiting and before each restart.
    std::function<bool()> expired;

    uint64_t executed() const { return executed_; } // by submit()
    uint64_t reruns() const { return reruns_; }     // alone, or to find a stray write
    uint64_t dropped() const { return dropped_; }
    unsigned restarts() const { return restarts_; }
    bool stopped() const { return stopped_; }
    Timing& timing() { return timing_; }

private:
    void send(Run& run);
    bool fetch(uint64_t index, Run& run);
    void collect(uint64_t until);
    void lost(TargetState state);
    void restart();
    bool restartUnlessOver(std::deque<Run>& waiting);
    void giveUp();
    bool over();
    void recheck(std::span<const Case> cases);
    bool runQuietly(std::span<const Case> cases);
    TargetState runThrough(std::span<const Case> cases);
    void putRight(const std::vector<StrayWord>& stray);

    Target& target_;
    Oracle& oracle_;
    Handler handler_;
    Timing timing_;
    std::deque<Run> flying_;  // submitted, oldest first
    uint64_t collected_ = 0;  // ring index of flying_.front()
    std::vector<Case> batch_; // since the last check of the arena
    uint64_t installed_[wire::CODE_QWORDS] = {};
    unsigned installedQwords_ = 0; // 0: nothing known to be in place
    unsigned unpublished_ = 0;
    uint64_t executed_ = 0, reruns_ = 0, dropped_ = 0;
    unsigned restarts_ = 0;
    bool stopped_ = false;
};

} // namespace horos::fuzz
