// Divergences, the clusters that they fall into, and what is already known of them.
#pragma once

#include "horos/fuzz/oracle.hpp"

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

namespace horos::fuzz {

// One case that did not end as the model allows.
struct Divergence {
    Case input;
    std::string expected;           // "exit VMEXIT_CPUID", "invalid", "fault #GP", ...
    std::string observed;           // likewise, or "hang", "died: ..."
    std::vector<std::string> rules; // broken by the case, by name
    std::vector<Finding> findings;
    std::string log; // of a target that died
};

// What identifies the cause: the rules, what was expected and seen, the guest's instruction and the
// fields that differ ("flow" when the guest went another way, from which the rest follows).
struct ClusterKey {
    std::string rules; // "+"-joined, empty when the case breaks none
    std::string expected;
    std::string observed;
    std::string instruction; // first of the guest program, empty where it did not matter
    std::string fields;      // names of the fields that differ, without what follows from another
    auto operator<=>(const ClusterKey&) const = default;
    std::string text() const;
};
// "mov cr0,", "wrmsr", ...: the first instruction of the guest program.
std::string instructionOf(const Case& c);
// Properties of a case that triage can ask for: "cpl-mismatch", "segment-odd", "wide-pointer",
// "breakpoints", "real", "real-big", "virtual8086", "pae", "compat16", "noncanonical-base",
// "rflags-reserved".
std::vector<std::string> tagsOf(const Case& c);
ClusterKey keyOf(const Divergence& divergence);

// One entry of fuzz/triage/<target>-<version>.json: either a whole cluster ("match"), or one field
// that is wrong on this target in many cases ("field"), which is then left out of the comparison
// so that it does not hide what else may differ in the same case.
struct Triaged {
    std::string id;
    std::string verdict; // "target", "unspecified", "model"
    std::string section;
    std::string evidence;
    // Patterns over the parts of a key; "*" stands for any text, empty matches all.
    ClusterKey match;
    bool isField = false; // match.fields is a field name, `ignore` the bits that are wrong
    uint64_t ignore = ~0ull;
    std::optional<uint64_t> value; // what these bits must be instead; none: anything
    // Cases of this shape kill the target: once it has been seen to in a campaign, they are left
    // out (a few excepted) and counted. `match.rules` is then the pattern of one broken rule.
    bool isFatal = false;
    std::string tag; // the case must have it; empty: any case
    // A wrong behaviour that the model can predict with, or a rule that VMRUN does not check. Then
    // a case is known only if the model with these defects ends exactly as the target did.
    std::optional<svm_model::Deviation> deviation;
    std::optional<svm_model::RuleId> unchecked;
    bool isPattern() const { return !isField && !deviation && !unchecked; }
};

class Triage {
public:
    Triage() = default;
    // Throws std::runtime_error naming the entry and what is wrong with it.
    static Triage load(const std::string& path);
    const Triaged* find(const ClusterKey& key, const Case& c) const;
    // Takes the findings away that "field" entries explain; returns those entries.
    std::vector<const Triaged*> explain(Divergence& divergence) const;
    // The "fatal" entry that a case has the shape of, before it is run.
    const Triaged* fatal(const svm_model::Prediction& p, const Case& c) const;
    const std::vector<Triaged>& entries() const { return entries_; }
    // All wrong behaviours that entries name, and the entry of each.
    const svm_model::Deviations& deviations() const { return deviations_; }
    std::vector<const Triaged*> entriesOf(const svm_model::Deviations& some) const;

private:
    std::vector<Triaged> entries_;
    svm_model::Deviations deviations_;
};

struct Cluster {
    ClusterKey key;
    Divergence example; // minimised
    bool minimised = false;
    bool confirmed = false; // shown again on a newly started target
    // Then only after these: they leave something behind in the target.
    std::vector<Case> needs;
    uint64_t count = 0;
    double firstSeen = 0; // seconds into the campaign
    const Triaged* known = nullptr;
};

class Clusters {
public:
    explicit Clusters(const Triage& triage) : triage_(triage) {}
    // The cluster, and whether it is new in this run.
    std::pair<Cluster*, bool> add(Divergence divergence, double seconds);
    const std::map<ClusterKey, Cluster>& all() const { return clusters_; }
    std::map<ClusterKey, Cluster>& all() { return clusters_; }
    void addDeviation(const Triaged* entry, const Divergence& example);
    struct Deviation {
        uint64_t count = 0;
        Divergence example;
    };
    const std::map<std::string, Deviation>& deviations() const { return deviations_; }
    size_t unknown() const;
    size_t confirmedUnknown() const;
    uint64_t divergences() const { return divergences_; }
    // After minimisation keys can change: puts clusters with one key together.
    void rekey();
    void drop(const ClusterKey& key); // it did not show again from a clean state

private:
    const Triage& triage_;
    std::map<ClusterKey, Cluster> clusters_;
    std::map<std::string, Deviation> deviations_; // by triage ID
    uint64_t divergences_ = 0;
};

// "exit VMEXIT_CPUID", "VMEXIT_INVALID", "fault #GP", ...
std::string describe(const svm_model::Outcome& outcome);
std::string describe(const wire::ResultSlot& result);

bool matches(const std::string& pattern, const std::string& text);

} // namespace horos::fuzz
