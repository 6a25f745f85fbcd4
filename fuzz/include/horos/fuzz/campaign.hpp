// A campaign: generate, run, compare, minimise, cluster, report.
#pragma once

#include "horos/fuzz/cluster.hpp"
#include "horos/fuzz/executor.hpp"
#include "horos/fuzz/generator.hpp"

#include <atomic>
#include <chrono>
#include <functional>
#include <string>

namespace horos::fuzz {

struct CampaignOptions {
    TargetOptions target;
    std::string profile; // empty: the target's own
    double seconds = 60;
    uint64_t cases = 0; // made per worker, 0: as time allows; a run that repeats exactly
    uint64_t seed = 1;
    unsigned jobs = 1;
    std::string corpus; // folder, empty: none
    std::string triage; // file, empty: by target and version
    // A command that writes more witnesses into the folder given as its last argument, run beside
    // the campaign ("horos-fuzz witnesses --out"); empty: the stored ones are enough.
    std::vector<std::string> solver;
    bool minimise = true;
    // Asked now and then; true ends the campaign early.
    std::function<bool()> stop;
    // Called about once a second with a line for people.
    std::function<void(const std::string&)> progress;
    // For the kill table (one job): sees every run that came back and is no new divergence; and,
    // every 256 cases, may run some alone. False ends the campaign.
    std::function<void(Oracle&, Run&, const Triage&)> observe;
    std::function<bool(Executor&, Oracle&)> between;
};

// What became of the cases that are known to end the target in one way.
struct FatalCount {
    uint64_t died = 0, survived = 0, leftOut = 0;
};

struct RuleRow {
    std::string name, section;
    bool reachable, broken, held;
};

struct CampaignResult {
    std::string target, version, profile, triageFile;
    uint64_t seed = 0;
    double seconds = 0;
    uint64_t executed = 0, predicted = 0;
    uint64_t avoided = 0;                    // known to end the target: `fatal` says of what
    uint64_t reruns = 0;                     // to confirm, to minimise, to find a stray write
    uint64_t dropped = 0;                    // in flight when time was up
    std::map<std::string, FatalCount> fatal; // by what the target says as it dies
    PhaseSeconds phases{};                   // of all workers together
    // Clusters that did not show again on a new target, nor after the cases before them there.
    std::map<std::string, unsigned> unconfirmed;
    uint64_t unspecified = 0, neverReturns = 0, writesOutside = 0;
    uint64_t imported = 0; // cases that the corpus folder held or others put there
    unsigned restarts = 0;
    double casesPerSecond = 0;
    double rulesCompleteAt = -1; // seconds until both sides of every reachable rule, -1: never
    std::vector<RuleRow> rules;
    unsigned rulesBothSides = 0, rulesReachable = 0, rulesApplicable = 0;
    std::vector<std::string> exits;
    size_t features = 0, corpus = 0, pairs = 0;
    uint64_t divergences = 0;
    std::vector<Cluster> clusters;                         // new ones first
    std::map<std::string, Clusters::Deviation> deviations; // single fields, by triage ID
    Triage triage;                                         // `known` in the clusters points into it
    size_t unknown() const;
};

std::string defaultProfile(TargetKind kind);
std::string triageFileFor(TargetKind kind, const std::string& version);

// Where the witnesses of a profile are kept (written by `horos-fuzz witnesses`).
std::string seedFolder(const std::string& profile);

CampaignResult runCampaign(const CampaignOptions& options);

// How a run ended: a divergence if triage does not explain all of it.
struct Judgement {
    std::optional<Divergence> divergence;
    std::vector<const Triaged*> explained; // single fields that are known to be wrong
    Divergence whole;                      // when anything was explained: all of it
    // A known defect wrote where the harness does not put things right after each case.
    bool leaves = false;
};
Judgement judge(Oracle& oracle, const Run& run, const Triage& triage);
// The smallest change of a base case that still falls into the same cluster.
Divergence minimise(Executor& executor, Oracle& oracle, const Triage& triage,
                    const Divergence& divergence, unsigned budget);

} // namespace horos::fuzz
