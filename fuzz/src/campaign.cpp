#include "horos/fuzz/campaign.hpp"

#include "horos/fuzz/corpus.hpp"
#include "horos/model/svm/rules.hpp"

#include <algorithm>
#include <exception>
#include <filesystem>
#include <fmt/format.h>
#include <mutex>
#include <thread>
#include <utility>

#ifndef HOROS_FUZZ_TRIAGE_DIR
#define HOROS_FUZZ_TRIAGE_DIR "fuzz/triage"
#endif

#ifndef HOROS_FUZZ_SEED_DIR
#define HOROS_FUZZ_SEED_DIR "fuzz/seeds"
#endif

namespace horos::fuzz {

using namespace svm_model;
using Clock = std::chrono::steady_clock;

namespace {

constexpr unsigned MINIMISE_BUDGET = 600;
constexpr unsigned MINIMISE_BUDGET_FATAL = 8; // each step costs a restart

// Cases that kill the target cost a restart each. Once three of one cluster are known, cases that
// share all the model features that those have in common are mostly left out, and counted.
class Fatal {
public:
    void add(const std::string& cluster, const std::bitset<1024>& features) {
        Entry& entry = entries_[cluster];
        entry.common = entry.hits++ == 0 ? features : entry.common & features;
    }
    void survived(const std::bitset<1024>& features) {
        for (auto& [name, entry] : entries_)
            if (entry.hits >= 3 && (features & entry.common) == entry.common)
                ++entry.harmless;
    }
    bool avoid(const std::bitset<1024>& features, Random& random) {
        for (auto& [name, entry] : entries_)
            if (entry.hits >= 3 && entry.harmless < 20 * entry.hits &&
                (features & entry.common) == entry.common)
                return !random.oneIn(200);
        return false;
    }

private:
    struct Entry {
        std::bitset<1024> common;
        unsigned hits = 0, harmless = 0;
    };
    std::map<std::string, Entry> entries_;
};

// A case that is refused has no features; then the rules that it breaks say what it is.
std::bitset<1024> signature(const Prediction& p) {
    std::bitset<1024> bits = p.features;
    const RuleSet broken = p.broken & p.applicable;
    for (size_t i = 0; i < broken.size(); ++i)
        if (broken.test(i))
            bits.set(bits.size() - broken.size() + i);
    return bits;
}

struct Shared {
    const CampaignOptions& options;
    Clock::time_point begun = Clock::now();
    std::mutex mutex; // of all below
    Triage triage;
    Clusters clusters{triage};
    std::atomic<uint64_t> executed{0};
    std::atomic<bool> stop{false};
    std::exception_ptr failure;
    std::vector<Case> seeds;

    double elapsed() const { return std::chrono::duration<double>(Clock::now() - begun).count(); }
};

class Worker {
public:
    Worker(Shared& shared, const Profile& profile, unsigned number)
        : shared_(shared), oracle_(profile), random_(shared.options.seed * 977 + number),
          generator_(oracle_, shared.options.seed * 1000003 + number),
          target_(makeTarget(shared.options.target)),
          executor_(*target_, oracle_, [this](Run& run) { take(run); }), number_(number) {
        if (!shared.options.corpus.empty())
            corpus_ = Corpus(shared.options.corpus);
        oracle_.fault = shared.options.fault;
        executor_.leaveOut = [this](const Run& run) {
            bool out = fatal_.avoid(signature(run.prediction), random_);
            avoided_ += out;
            return out;
        };
    }

    void run() {
        executor_.start();
        for (const Case& c : shared_.seeds)
            generator_.addFirst(c);
        if (number_ == 0 && shared_.options.solve)
            generator_.startSolving(shared_.options.pairs);
        readCorpus();
        auto nextLook = Clock::now();
        while (!shared_.stop) {
            for (int i = 0; i < 256 && Clock::now() < nextLook + std::chrono::seconds(1); ++i)
                step();
            if (pending_)
                refine();
            if (std::exchange(dirty_, false))
                executor_.checkArena(); // the next cases shall not pay for this one
            if (Clock::now() < nextLook)
                continue;
            nextLook = Clock::now() + std::chrono::seconds(1);
            shared_.executed += executor_.executed() - reported_;
            reported_ = executor_.executed();
            look();
        }
        executor_.finish();
        refine();
        shared_.executed += executor_.executed() - reported_;
        reported_ = executor_.executed();
        target_->stop();
    }

    void addTo(CampaignResult& result) const;
    double rulesCompleteAt() const { return rulesCompleteAt_; }
    const Generator& generator() const { return generator_; }

private:
    void step() {
        Case c = generator_.next();
        Prediction p = oracle_.predict(c);
        ++predicted_;
        Unfit unfit = oracle_.fit(c, p);
        if (unfit != Unfit::No) {
            generator_.reject(c, unfit);
            return;
        }
        if (fatal_.avoid(signature(p), random_)) {
            ++avoided_;
            return;
        }
        if (generator_.learn(c, p, p.broken & p.applicable))
            corpus_.add(c);
        executor_.submit(std::move(c), std::move(p));
    }

    void take(Run& run) {
        Judgement j = judge(oracle_, run, shared_.triage);
        if (run.state == TargetState::Running)
            fatal_.survived(signature(run.prediction));
        if (!j.explained.empty()) {
            std::lock_guard lock(shared_.mutex);
            for (const Triaged* entry : j.explained)
                shared_.clusters.addDeviation(entry, j.whole);
        }
        if (!j.divergence)
            return;
        if (run.state != TargetState::Running)
            fatal_.add(keyOf(*j.divergence).text(), signature(run.prediction));
        std::lock_guard lock(shared_.mutex);
        auto [cluster, fresh] = shared_.clusters.add(std::move(*j.divergence), shared_.elapsed());
        pending_ |= fresh && !cluster->known;
        dirty_ = true;
    }

    // Confirms what is new from a clean state, and makes it small.
    void refine() {
        pending_ = false;
        executor_.checkArena();
        while (shared_.elapsed() < shared_.options.seconds + 20) {
            std::optional<Divergence> todo;
            ClusterKey key;
            {
                std::lock_guard lock(shared_.mutex);
                for (auto& [k, cluster] : shared_.clusters.all())
                    if (!cluster.minimised && !cluster.known) {
                        cluster.minimised = true;
                        todo = cluster.example;
                        key = k;
                        break;
                    }
                if (!todo) {
                    shared_.clusters.rekey();
                    return;
                }
            }
            if (todo->observed.starts_with("died"))
                continue; // a death needs no confirmation, and costs a restart
            Judgement again = judge(oracle_, executor_.runAlone(todo->input), shared_.triage);
            if (!again.divergence) {
                std::lock_guard lock(shared_.mutex);
                shared_.clusters.drop(key);
                ++unconfirmed_;
                continue;
            }
            Divergence small = *again.divergence;
            if (shared_.options.minimise && shared_.elapsed() < shared_.options.seconds) {
                bool fatal = small.observed == "hang" || small.observed.starts_with("died");
                small = minimise(executor_, oracle_, shared_.triage, small,
                                 fatal ? MINIMISE_BUDGET_FATAL : MINIMISE_BUDGET);
            }
            std::lock_guard lock(shared_.mutex);
            auto at = shared_.clusters.all().find(key);
            if (at != shared_.clusters.all().end())
                at->second.example = std::move(small);
            shared_.clusters.rekey();
            if (shared_.options.stopAtNew && shared_.clusters.unknown() > 0)
                shared_.stop = true;
            if (shared_.stop && shared_.options.stopAtNew)
                return;
        }
    }

    void readCorpus() {
        for (Case& c : corpus_.newCases()) {
            Oracle::settle(c);
            generator_.addSeed(std::move(c));
        }
    }

    void look() {
        readCorpus();
        const RuleCoverage& rules = generator_.rules();
        if (rulesCompleteAt_ < 0 && rules.reachable() > 0 && rules.bothSides() == rules.reachable())
            rulesCompleteAt_ = shared_.elapsed();
        const CampaignOptions& options = shared_.options;
        if (shared_.elapsed() >= options.seconds || (options.stop && options.stop()))
            shared_.stop = true;
        if (number_ != 0 || !options.progress)
            return;
        std::lock_guard lock(shared_.mutex);
        double seconds = shared_.elapsed();
        options.progress(fmt::format(
            "{:5.0f} s  {:>9} cases {:>6.0f}/s  rules {}/{} both sides  exits {}  pairs {}  corpus "
            "{}  "
            "clusters {} ({} new)  restarts {}",
            seconds, shared_.executed.load(), double(shared_.executed) / seconds, rules.bothSides(),
            rules.reachable(), generator_.exitCodes(), generator_.pairsSeen(),
            generator_.corpusSize(), shared_.clusters.all().size(), shared_.clusters.unknown(),
            executor_.restarts()));
    }

    Shared& shared_;
    Oracle oracle_;
    Random random_;
    Generator generator_;
    std::unique_ptr<Target> target_;
    Executor executor_;
    Corpus corpus_;
    Fatal fatal_;
    unsigned number_;
    bool pending_ = false;
    bool dirty_ = false;
    uint64_t unconfirmed_ = 0;
    uint64_t predicted_ = 0, avoided_ = 0, reported_ = 0;
    double rulesCompleteAt_ = -1;
};

void Worker::addTo(CampaignResult& r) const {
    r.predicted += predicted_;
    r.unconfirmed += unconfirmed_;
    r.avoided += avoided_;
    r.restarts += executor_.restarts();
    r.unspecified += generator_.rejected(Unfit::Unspecified);
    r.neverReturns += generator_.rejected(Unfit::NeverReturns);
    r.writesOutside += generator_.rejected(Unfit::WritesOutside);
    r.features = std::max(r.features, generator_.features());
    r.corpus = std::max(r.corpus, generator_.corpusSize());
    r.pairs = std::max(r.pairs, generator_.pairsSeen());
    for (uint64_t exit : generator_.exits()) {
        std::string name = exit >= 0x10000 && exit < 0x10100
                               ? fmt::format("fault of VMRUN, vector {}", exit - 0x10000)
                               : exit_code_name(ExitCode(exit));
        if (std::find(r.exits.begin(), r.exits.end(), name) == r.exits.end())
            r.exits.push_back(name);
    }
    if (rulesCompleteAt_ >= 0)
        r.rulesCompleteAt = r.rulesCompleteAt < 0 ? rulesCompleteAt_
                                                  : std::min(r.rulesCompleteAt, rulesCompleteAt_);
}

void addRules(CampaignResult& r, const std::vector<std::unique_ptr<Worker>>& workers) {
    RuleCoverage all = workers.front()->generator().rules();
    for (const auto& worker : workers) {
        all.broken |= worker->generator().rules().broken;
        all.held |= worker->generator().rules().held;
    }
    r.rulesBothSides = all.bothSides();
    r.rulesReachable = all.reachable();
    r.rulesApplicable = unsigned(all.applicable.count());
    for (const RuleInfo& rule : all_rules()) {
        size_t i = size_t(rule.id);
        if (all.applicable.test(i))
            r.rules.push_back({std::string(rule.name), std::string(rule.section),
                               !all.unreachable.test(i), all.broken.test(i), all.held.test(i)});
    }
}

} // namespace

size_t CampaignResult::unknown() const {
    return size_t(std::count_if(clusters.begin(), clusters.end(),
                                [](const Cluster& c) { return c.known == nullptr; }));
}

std::string defaultProfile(TargetKind kind) {
    return kind == TargetKind::QemuSvm ? "qemu-7.2-max" : "bochs-2.7-ryzen";
}

std::string triageFileFor(TargetKind kind, const std::string& version) {
    return fmt::format("{}/{}-{}.json", HOROS_FUZZ_TRIAGE_DIR, name(kind), version);
}

std::string seedFolder(const std::string& profile) {
    return fmt::format("{}/{}", HOROS_FUZZ_SEED_DIR, profile);
}

CampaignResult runCampaign(const CampaignOptions& options) {
    CampaignResult result;
    result.target = name(options.target.kind);
    result.version = versionOf(options.target.kind);
    result.seed = options.seed;
    result.triageFile = options.triage.empty() ? triageFileFor(options.target.kind, result.version)
                                               : options.triage;
    Shared shared{options};
    if (!options.triage.empty() || std::filesystem::exists(result.triageFile))
        shared.triage = Triage::load(result.triageFile);
    const Profile profile = find_profile(
        options.profile.empty() ? defaultProfile(options.target.kind) : options.profile);
    result.profile = profile.name;

    // Witnesses that were found before (horos-fuzz witnesses); Z3 runs again beside the campaign.
    shared.seeds = Corpus(seedFolder(profile.name)).newCases();

    std::vector<std::unique_ptr<Worker>> workers(options.jobs);
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < options.jobs; ++i)
        threads.emplace_back([&, i] {
            try {
                // made where it runs: an oracle's scratch arena belongs to its thread
                workers[i] = std::make_unique<Worker>(shared, profile, i);
                workers[i]->run();
            } catch (...) {
                std::lock_guard lock(shared.mutex);
                shared.failure = std::current_exception();
                shared.stop = true;
            }
        });
    for (std::thread& thread : threads)
        thread.join();
    if (shared.failure)
        std::rethrow_exception(shared.failure);

    result.seconds = shared.elapsed();
    result.executed = shared.executed;
    result.casesPerSecond = double(result.executed) / result.seconds;
    for (const auto& worker : workers)
        worker->addTo(result);
    addRules(result, workers);
    result.divergences = shared.clusters.divergences();
    result.triage = shared.triage;
    result.deviations = shared.clusters.deviations();
    for (const auto& [key, cluster] : shared.clusters.all()) {
        result.clusters.push_back(cluster);
        result.clusters.back().known = result.triage.find(cluster.key, cluster.example.input);
    }
    std::stable_sort(
        result.clusters.begin(), result.clusters.end(), [](const Cluster& a, const Cluster& b) {
            return std::pair(a.known != nullptr, b.count) < std::pair(b.known != nullptr, a.count);
        });
    return result;
}

} // namespace horos::fuzz
