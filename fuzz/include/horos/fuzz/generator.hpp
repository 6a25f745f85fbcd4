// Where cases come from: Z3 witnesses of the model's rules first (each rule on both sides, then
// pairs), a tour of every snippet in every mode, then mutation near the boundary, guided by what
// the model's predictions have covered.
#pragma once

#include "horos/fuzz/oracle.hpp"
#include "horos/fuzz/random.hpp"

#include <deque>
#include <functional>
#include <set>

namespace horos::fuzz {

struct RuleCoverage {
    svm_model::RuleSet applicable;
    svm_model::RuleSet unreachable; // needs host state that the harness cannot set
    svm_model::RuleSet broken;      // run with this rule broken
    svm_model::RuleSet held;        // run with no rule broken, this one's witness included
    // Both sides done, out of the reachable rules.
    unsigned bothSides() const;
    unsigned reachable() const;
};

class Generator {
public:
    Generator(Oracle& oracle, uint64_t seed);

    // Asks Z3 for witnesses: of every rule on both sides from several base cases, then of pairs.
    void solve(bool pairs, const std::function<void(const Case&)>& found);
    // A case to run before any that is made up.
    void addFirst(Case c);
    Case next();
    // The case is going to be run: remember what it covers, keep it if that is new.
    bool learn(const Case& c, const svm_model::Prediction& p, svm_model::RuleSet broken);
    // The case could not be run.
    void reject(const Case& c, Unfit why);
    void addSeed(Case c) { corpus_.push_back(std::move(c)); }

    const RuleCoverage& rules() const { return rules_; }
    size_t corpusSize() const { return corpus_.size(); }
    size_t exitCodes() const { return exits_.size(); }
    const std::set<uint64_t>& exits() const { return exits_; }
    size_t features() const { return features_.count(); }
    size_t pairsSeen() const { return pairs_.size(); }
    size_t pairsWanted() const { return pairsWanted_; }
    uint64_t rejected(Unfit why) const { return rejected_[unsigned(why)]; }

private:
    Case fresh();
    Case mutate(const Case& parent);
    void makeTwice(Case& c);
    void editLeaf(Case& c);
    void editVmcb(Case& c);
    void mutateOnce(Case& c);
    void mutateField(Case& c);
    void mutateControl(Case& c);
    void mutateMemory(Case& c);
    void mutateEvent(Case& c);
    void mutateHost(Case& c);
    void repairAlmost(Case& c);

    Oracle& oracle_;
    Random random_;
    std::deque<Case> queue_;
    std::vector<Case> corpus_;
    Case parent_;
    unsigned energy_ = 0;
    size_t tour_ = 0;
    RuleCoverage rules_;
    std::bitset<1024> features_;
    std::set<uint64_t> exits_;
    std::set<uint64_t> keys_; // exit x broken, for novelty
    std::set<std::pair<unsigned, unsigned>> pairs_;
    size_t pairsWanted_ = 0;
    uint64_t rejected_[4] = {};
};

} // namespace horos::fuzz
