// One run of the VMX fuzzer: witnesses first, then pairs, then mutations near the boundary.
#pragma once

#include "bochs.hpp"
#include "judge.hpp"
#include "triage.hpp"

#include <chrono>
#include <map>

namespace horos::fuzz::vmx {

struct Options {
    std::string cpu;     // Bochs's name of the model
    std::string profile; // ours
    unsigned seconds = 60;
    uint64_t seed = 1;
    bool bench = false;
};

struct Cluster {
    std::string key;
    Divergence divergence;
    RuleState state; // minimised
    std::vector<std::string> broken, changed;
    uint64_t count = 0;
    bool known = false;
};

struct Report {
    uint64_t cases = 0;
    double seconds = 0;
    unsigned restarts = 0;
    size_t rules = 0, broken_side = 0, held_side = 0;
    std::vector<std::string> uncovered;
    std::map<std::string, Cluster> clusters;
    std::map<std::string, uint64_t> exits;
    std::vector<std::string> field_mismatches; // VMREAD does not agree with the field table
};

class Campaign {
public:
    Campaign(const Options& options, std::map<std::string, Known> known);
    Report run();
    // Cases per second with all fields rewritten, and of entries that write nothing.
    void bench();

private:
    void probe_fields();
    void witnesses();
    void pairs();
    void mutations(std::chrono::steady_clock::time_point end);
    void start();
    void submit(const RuleState& wanted);
    void flush();
    void run_alone(const RuleState& state);
    std::vector<Result> run_cases(const std::vector<Case>& cases);
    void record(const RuleState& state, const Divergence& divergence);
    RuleState minimise(const RuleState& state, const Divergence& divergence);
    std::optional<Divergence> try_one(const RuleState& state);
    void note_lost(const RuleState& state, const std::string& how);
    void progress();

    Options options_;
    const Profile& profile_;
    std::map<std::string, Known> known_;
    Bochs bochs_;
    RuleState base_;
    std::vector<RuleState> pool_;
    std::vector<RuleState> queue_;
    RuleSet broken_seen_, held_seen_, fatal_;
    std::map<std::string, std::string> by_raw_; // unminimised key -> cluster key
    Report report_;
    std::chrono::steady_clock::time_point begin_, last_;
};

} // namespace horos::fuzz::vmx
