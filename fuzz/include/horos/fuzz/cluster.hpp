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

// What identifies the cause: the rules, what was expected and seen, and the first field.
struct ClusterKey {
    std::string rules; // "+"-joined, empty when the case breaks none
    std::string expected;
    std::string observed;
    std::string fields; // names of the fields that differ, without what follows from another
    auto operator<=>(const ClusterKey&) const = default;
    std::string text() const;
};
ClusterKey keyOf(const Divergence& divergence);

// One entry of fuzz/triage/<target>-<version>.json.
struct Triaged {
    std::string id;
    std::string verdict; // "target", "unspecified", "model"
    std::string section;
    std::string evidence;
    // Patterns over the four parts of a key; "*" stands for any text, empty matches all.
    ClusterKey match;
};

class Triage {
public:
    Triage() = default;
    // Throws std::runtime_error naming the entry and what is wrong with it.
    static Triage load(const std::string& path);
    const Triaged* find(const ClusterKey& key) const;
    const std::vector<Triaged>& entries() const { return entries_; }

private:
    std::vector<Triaged> entries_;
};

struct Cluster {
    ClusterKey key;
    Divergence example; // minimised
    bool minimised = false;
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
    size_t unknown() const;
    uint64_t divergences() const { return divergences_; }
    // After minimisation keys can change: puts clusters with one key together.
    void rekey();

private:
    const Triage& triage_;
    std::map<ClusterKey, Cluster> clusters_;
    uint64_t divergences_ = 0;
};

bool matches(const std::string& pattern, const std::string& text);

} // namespace horos::fuzz
