// One worker of a campaign: its own generator, oracle and target. What the workers share is in
// Shared, under one lock.
#pragma once

#include "horos/fuzz/campaign.hpp"
#include "horos/fuzz/corpus.hpp"
#include "process.hpp"

#include <exception>
#include <mutex>

namespace horos::fuzz {

// Cases that kill the target cost a restart each. Two nets: shapes that the triage file names
// ("fatal" entries), left out once they were seen to kill in this campaign; and shapes learned
// here: once three deaths of one cluster are known, cases that share all the model features that
// those have in common are mostly left out. Both are counted, and both keep running a few.
class FatalShapes {
public:
    using Features = std::bitset<1024>;
    static Features signature(const svm_model::Prediction& p);

    void died(const std::string& cluster, const Features& features);
    void survived(const Features& features);
    bool avoid(const Features& features, Random& random) const;

    bool avoid(const Triaged& entry, Random& random);
    void died(const Triaged& entry) { ++triaged_[entry.id].died; }
    void survived(const Triaged& entry) { ++triaged_[entry.id].survived; }
    const std::map<std::string, FatalCount>& triaged() const { return triaged_; }

private:
    struct Entry {
        Features common;
        unsigned hits = 0, harmless = 0;
    };
    std::map<std::string, Entry> learned_;
    std::map<std::string, FatalCount> triaged_;
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
    bool leaveOut(const Case& c, const svm_model::Prediction& p);
    void refine();
    bool refineOne();
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
    FatalShapes fatal_;
    unsigned number_;
    Process solver_;
    std::unique_ptr<ScratchDirectory> solved_;
    Corpus witnesses_;
    bool pending_ = false;
    bool dirty_ = false;
    uint64_t unconfirmed_ = 0;
    uint64_t predicted_ = 0, avoided_ = 0, reported_ = 0;
    double rulesCompleteAt_ = -1;
};

} // namespace horos::fuzz
