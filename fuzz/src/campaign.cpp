#include "horos/fuzz/campaign.hpp"

#include "horos/model/svm/rules.hpp"
#include "worker.hpp"

#include <algorithm>
#include <exception>
#include <filesystem>
#include <fmt/format.h>
#include <thread>

#ifndef HOROS_FUZZ_TRIAGE_DIR
#define HOROS_FUZZ_TRIAGE_DIR "fuzz/triage"
#endif

#ifndef HOROS_FUZZ_SEED_DIR
#define HOROS_FUZZ_SEED_DIR "fuzz/seeds"
#endif

namespace horos::fuzz {

using namespace svm_model;

namespace {

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

    // Witnesses that were found before (horos-fuzz witnesses).
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
