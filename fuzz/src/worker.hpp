// One worker of a campaign: its own generator, oracle and target. What the workers share is in
// Shared, under one lock.
#pragma once

#include "horos/fuzz/campaign.hpp"
#include "horos/fuzz/corpus.hpp"
#include "process.hpp"

#include <deque>
#include <exception>
#include <map>
#include <mutex>
#include <optional>
#include <vector>

namespace horos::fuzz {

// Cases that kill the target cost a restart each. Left out are those, and only those, of which the
// model with the target's known defects says that they end so, once that message was seen in this
// campaign; and shapes that the triage file names ("fatal" entries). Both are counted by cause, and
// both keep running a few, to see whether that is still so.
class FatalCases {
public:
    // What of the target's end the case is predicted to be; empty: it is not.
    std::string cause(const Triage& triage, const Run& run) const;
    bool avoid(const std::string& cause, Random& random);
    void ran(const std::string& cause, bool died) {
        ++(died ? counts_[cause].died : counts_[cause].survived);
    }
    const std::map<std::string, FatalCount>& counts() const { return counts_; }

private:
    std::map<std::string, FatalCount> counts_;
};

struct Shared {
    using Clock = std::chrono::steady_clock;
    explicit Shared(const CampaignOptions& o) : options(o) {}

    const CampaignOptions& options;
    Clock::time_point begun = Clock::now();
    std::mutex mutex; // of all below
    Triage triage;
    Clusters clusters{triage};
    std::atomic<uint64_t> executed{0};
    std::atomic<bool> stop{false};
    std::atomic<double> hardEnd{1e18};
    std::exception_ptr failure;
    std::vector<Case> seeds;

    double elapsed() const { return std::chrono::duration<double>(Clock::now() - begun).count(); }
    // No new cases; what is in flight may come in.
    bool ending();
    // Not even that: drop everything and end.
    bool over() { return ending() && elapsed() >= hardEnd; }
};

class Worker {
public:
    Worker(Shared& shared, const svm_model::Profile& profile, unsigned number);
    void run();
    void addTo(CampaignResult& result);
    const Generator& generator() const { return generator_; }

private:
    void step();
    void take(Run& run);
    bool leaveOut(const Run& run);
    void note(Divergence divergence);
    void cleanUp();
    void remember(const Case& c);
    void refine();
    bool refineOne();
    std::optional<Divergence> onNewTarget(const Case& c, const std::vector<Case>& before);
    std::optional<Divergence> confirm(const Case& c, std::vector<Case>& needs);
    void shrink(Divergence& divergence);
    void startSolver();
    void readCorpora();
    void look();

    Shared& shared_;
    Oracle oracle_;
    Random random_;
    Generator generator_;
    std::unique_ptr<Target> target_;
    Executor executor_;
    Corpus corpus_;
    FatalCases fatal_;
    unsigned number_;
    Process solver_;
    std::unique_ptr<ScratchDirectory> solved_;
    Corpus witnesses_;
    bool pending_ = false;
    bool dirty_ = false;
    // A known defect wrote where only a check of the arena puts it right: what diverges before that
    // is run once more afterwards.
    bool disturbed_ = false;
    std::vector<Run> again_;
    // What ran since the target was started, newest last, and how that was where a cluster began.
    std::deque<Case> history_;
    unsigned historyOf_ = 0; // Executor::restarts()
    std::map<ClusterKey, std::vector<Case>> before_;
    std::map<ClusterKey, unsigned> unconfirmed_; // clusters that did not show again
    uint64_t predicted_ = 0, avoided_ = 0, reported_ = 0, imported_ = 0;
    double rulesCompleteAt_ = -1;
};

} // namespace horos::fuzz
