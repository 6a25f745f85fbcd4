// One run of the VMX fuzzer: witnesses first, then pairs, then mutations near the boundary, guests
// and sequences of VMX instructions.
#pragma once

#include "bochs.hpp"
#include "clusters.hpp"
#include "faults.hpp"

#include <atomic>
#include <chrono>
#include <set>

namespace horos::fuzz::vmx {

// Set by a signal: a campaign ends and reports what it has found.
inline std::atomic<bool> interrupted{false};

struct Options {
    std::string cpu;     // Bochs's name of the model
    std::string profile; // ours
    unsigned seconds = 60;
    uint64_t cases = 0; // 0: until the time is over
    uint64_t seed = 1;
    bool minimise = true;
    bool kill_table = false; // judge every case with each faulty model too
    std::optional<Kind> only;
};

struct RuleRow {
    std::string name, section;
    bool reachable = false, broken = false, held = false;
};

struct Report {
    Options options;
    uint64_t cases = 0, open = 0, avoided = 0, known_cases = 0;
    std::array<uint64_t, KINDS> by_kind{};
    double seconds = 0, rules_complete_at = -1;
    unsigned restarts = 0;
    size_t rules = 0, broken_side = 0, held_side = 0;
    std::vector<RuleRow> rows;
    std::vector<std::string> uncovered;
    std::map<std::string, Cluster> clusters;
    std::map<std::string, uint64_t> exits, paths, opens, deviations;
    std::map<std::string, Known> evidence;     // of the deviations
    std::vector<std::string> field_mismatches; // VMREAD does not agree with the field table
    std::vector<Kill> kills;
    size_t fresh() const;
};

class Campaign {
public:
    Campaign(const Options& options, Triage triage);
    Report run();
    std::optional<Divergence> replay(const Test& test); // one case by itself
    Test
    at_home(Test test); // with the host values of this harness: those of another would crash it
    Test launching();   // the entry that every run begins with
    const RuleState& base() const { return base_; }

private:
    using Clock = std::chrono::steady_clock;
    void probe_fields();
    void witnesses();
    void pairs();
    void random_tests();
    void start();
    void launch();
    bool over() const;
    void submit(Test test);
    void submit_entry(const RuleState& wanted);
    void dispatch();
    void post(unsigned lane);
    std::vector<Result> run_alone(const Test& test);
    void collect(unsigned lane);
    void finish();
    void rerun(const std::vector<Test>& tests);
    void judge_one(const Test& test, const Result& result);
    void try_faults(const Test& test, const Result& result);
    void record(const Test& test, const Divergence& divergence, const Result* result = nullptr);
    Test minimise(const Test& test, const Divergence& divergence);
    bool same(const Test& test, const Divergence& divergence);
    void check_memory(const Test& last);
    void note_lost(const Test& test, const std::string& how);
    void coverage();
    void progress();

    Options options_;
    const Profile& profile_;
    Triage triage_;
    Bochs bochs_;
    RuleState base_;
    std::vector<RuleState> pool_;
    std::vector<Test> pending_;
    std::array<std::vector<Test>, LANES> flying_;
    unsigned next_lane_ = 0;
    unsigned free_lane_ = 0; // nothing is in flight there
    unsigned unchecked_ = 0; // batches since the target's memory was last looked at
    RuleSet broken_seen_, held_seen_, fatal_;
    std::set<std::string> fatal_keys_;
    std::map<std::string, std::string> by_raw_; // unminimised key -> cluster key
    std::vector<Fault> faults_;
    Report report_;
    Clock::time_point begin_, last_, end_;
    std::mt19937_64 random_;
};

// Cases per second with all fields rewritten, and of entries that write nothing.
struct Rates {
    double full = 0, bare = 0;
};
Rates measure(const Options& options, double seconds);

} // namespace horos::fuzz::vmx
