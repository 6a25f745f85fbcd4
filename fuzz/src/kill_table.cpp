#include "horos/fuzz/faults.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

namespace horos::fuzz {

using namespace svm_model;

namespace {

bool sameOutcome(const Outcome& a, const Outcome& b) {
    const auto masked = [](const Masked& x, const Masked& y) {
        return x.value == y.value && x.known == y.known;
    };
    const auto write = [](const MemoryWrite& x, const MemoryWrite& y) {
        return x.address == y.address && x.value == y.value && x.known == y.known;
    };
    return a.kind == b.kind && a.exit_code == b.exit_code && a.vmcb.value == b.vmcb.value &&
           a.vmcb.known == b.vmcb.known &&
           std::equal(a.gpr.begin(), a.gpr.end(), b.gpr.begin(), masked) &&
           std::equal(a.writes.begin(), a.writes.end(), b.writes.begin(), b.writes.end(), write);
}

bool samePrediction(const Prediction& a, const Prediction& b) {
    return std::equal(a.allowed.begin(), a.allowed.end(), b.allowed.begin(), b.allowed.end(),
                      sameOutcome);
}

class KillTable {
public:
    KillTable(const Profile& profile) : faults_(seededFaults(profile)), table_(faults_.size()) {
        for (size_t i = 0; i < faults_.size(); ++i) {
            table_[i].fault = faults_[i].name;
            table_[i].kind = faults_[i].kind;
            alive_.push_back(i);
        }
    }

    void observe(Oracle& oracle, const Run& run, const Triage& triage) {
        triage_ = &triage;
        ++seen_;
        std::vector<std::pair<size_t, Prediction>> changed;
        oracle.withMachine(run.input, [&](const Machine& machine) {
            for (size_t i : alive_) {
                Prediction p = run.prediction;
                faults_[i].apply(machine, p);
                if (!samePrediction(p, run.prediction))
                    changed.emplace_back(i, std::move(p));
            }
        });
        for (auto& [i, prediction] : changed) {
            ++table_[i].touched;
            if (std::string by = divergence(oracle, i, run, std::move(prediction)); !by.empty())
                suspects_.push_back({i, run.input, seen_, elapsed()});
        }
    }

    // Runs the suspects alone. False: every fault is found.
    bool confirm(Executor& executor, Oracle& oracle) {
        std::vector<Suspect> suspects = std::move(suspects_);
        suspects_.clear();
        for (const Suspect& s : suspects) {
            if (table_[s.fault].killed)
                continue;
            const Run run = executor.runAlone(s.input);
            if (run.state != TargetState::Running || judge(oracle, run, *triage_).divergence)
                continue;
            Prediction p = run.prediction;
            oracle.withMachine(run.input, [&](const Machine& m) { faults_[s.fault].apply(m, p); });
            std::string by = divergence(oracle, s.fault, run, std::move(p));
            if (by.empty())
                continue;
            Kill& kill = table_[s.fault];
            kill.killed = true;
            kill.by = std::move(by);
            kill.cases = s.cases;
            kill.seconds = s.seconds;
            std::erase(alive_, s.fault);
        }
        return !alive_.empty();
    }

    std::vector<Kill> finish(const CampaignResult& result) {
        for (size_t i = 0; i < faults_.size(); ++i) {
            if (!table_[i].killed) {
                table_[i].cases = seen_;
                table_[i].seconds = elapsed();
            }
            for (const RuleRow& row : result.rules)
                if (!faults_[i].rule.empty() && row.name == faults_[i].rule)
                    table_[i].outOfReach = !row.reachable && !table_[i].killed;
        }
        return std::move(table_);
    }

private:
    using Clock = std::chrono::steady_clock;
    struct Suspect {
        size_t fault;
        Case input;
        uint64_t cases;
        double seconds;
    };

    double elapsed() const { return std::chrono::duration<double>(Clock::now() - begun_).count(); }

    // The new divergence that the model with this fault sees in a run; empty: none.
    std::string divergence(Oracle& oracle, size_t fault, const Run& run, Prediction faulty) {
        Run copy;
        copy.input = run.input;
        copy.prediction = std::move(faulty);
        copy.result = run.result;
        copy.stray = run.stray;
        oracle.fault = faults_[fault].apply;
        const Judgement j = judge(oracle, copy, *triage_);
        oracle.fault = nullptr;
        if (!j.divergence)
            return {};
        const ClusterKey key = keyOf(*j.divergence);
        return triage_->find(key, copy.input) ? std::string() : key.text();
    }

    std::vector<Fault> faults_;
    std::vector<Kill> table_;
    std::vector<size_t> alive_;
    std::vector<Suspect> suspects_;
    const Triage* triage_ = nullptr;
    uint64_t seen_ = 0;
    Clock::time_point begun_ = Clock::now();
};

} // namespace

std::vector<Kill> killTable(const CampaignOptions& options) {
    KillTable table(find_profile(options.profile.empty() ? defaultProfile(options.target.kind)
                                                         : options.profile));
    CampaignOptions run = options;
    run.minimise = false;
    run.solver.clear(); // the stored witnesses are enough
    run.jobs = 1;
    run.observe = [&](Oracle& oracle, Run& r, const Triage& triage) {
        table.observe(oracle, r, triage);
    };
    run.between = [&](Executor& executor, Oracle& oracle) {
        return table.confirm(executor, oracle);
    };
    return table.finish(runCampaign(run));
}

} // namespace horos::fuzz
