// Between cases and the reference model: what the model is told, what it is asked, and how the
// harness's result is held against its answer.
#pragma once

#include "horos/fuzz/arena.hpp"
#include "horos/fuzz/case.hpp"
#include "horos/model/svm/predict.hpp"
#include "horos/model/svm/rules.hpp"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace horos::fuzz {

namespace svm_model = horos::model::svm;

// One value that is not as the model allows.
struct Finding {
    std::string field;
    uint64_t expected = 0;
    uint64_t known = ~0ull;
    uint64_t observed = 0;
    std::string section;
};

// Why a case is not given to the target.
enum class Unfit {
    No,            // it is fit
    Unspecified,   // the model allows anything
    NeverReturns,  // the guest would wait, spin or shut the machine down
    WritesOutside, // predicted guest writes lie outside the windows
};

class Oracle {
public:
    explicit Oracle(const svm_model::Profile& profile);

    const svm_model::Profile& profile() const { return profile_; }
    // Fills in what follows from the case: whether VMLOAD is needed.
    static void settle(Case& c);
    // With `deviations`: how a part with these defects ends the case.
    svm_model::Prediction predict(const Case& c, const svm_model::Deviations& deviations = {});
    struct Both {
        svm_model::Prediction plain;
        // With the defects, where they make a difference.
        std::unique_ptr<svm_model::Prediction> withDefects;
    };
    // Both at the price of one for cases that meet no defect.
    Both predictBoth(const Case& c, const svm_model::Deviations& defects);
    using FaultFunction = std::function<void(const svm_model::Machine&, svm_model::Prediction&)>;
    // The case as the model is told of it, what an earlier VMRUN left included; valid during the
    // call only.
    void withMachine(const Case& c, const std::function<void(const svm_model::Machine&)>& use);
    // Also decides which windows the harness has to handle.
    Unfit fit(Case& c, const svm_model::Prediction& prediction) const;
    std::vector<Finding> compare(const Case& c, const svm_model::Prediction& prediction,
                                 const wire::ResultSlot& result,
                                 const svm_model::Deviations& deviations = {});
    // The numbers that rules read, of this case.
    svm_model::RuleState ruleState(const Case& c);

    // The registers of the harness as it reports them when it starts.
    void setBaseline(const uint64_t (&host)[wire::H_COUNT]);
    // A test build replaces the prediction by one with a seeded fault in it.
    FaultFunction fault;
    // All cases have the same tables, so that without a flush nothing is stale either.
    bool sameTables = false;

private:
    void place(const Case& c);
    void unplace(const Case& c);
    svm_model::Machine machine(const Case& c);
    // Of a case with TWICE (oracle_twice.cpp).
    struct Kept;
    Kept runEarlier(const Case& c, const svm_model::Deviations& deviations);
    void withSecond(const Case& c, const svm_model::Deviations& deviations,
                    const std::function<void(svm_model::Machine&, const Kept&)>& use);
    svm_model::Prediction predictSecond(const Case& c, const svm_model::Deviations& deviations);
    svm_model::Prediction ask(svm_model::Machine& m, const svm_model::Deviations& deviations);
    void compareHost(const Case& c, const wire::ResultSlot& r, bool exited,
                     const svm_model::Deviations& deviations, std::vector<Finding>& findings) const;
    void compareEvents(const Case& c, const svm_model::Prediction& p, const wire::ResultSlot& r,
                       std::vector<Finding>& findings) const;

    const svm_model::Profile& profile_;
    std::unique_ptr<svm_model::Memory> memory_;
    uint64_t baseline_[wire::H_COUNT];
};

// Makes a case out of a rule state, from `base`. False when the harness cannot set that state up
// (host registers out of its reach).
bool applyRuleState(const svm_model::RuleState& from, const svm_model::RuleState& to, Case& base);

// The outcome that the harness saw, in the model's words.
svm_model::OutcomeKind observedKind(const wire::ResultSlot& result);

} // namespace horos::fuzz
