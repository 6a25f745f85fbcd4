// The fuzzer's own teeth: faults seeded into a copy of the model's prediction. A campaign in which
// the model is wrong in this way must report a new divergence. Only the test build and the
// kill-table command use them.
#pragma once

#include "horos/fuzz/campaign.hpp"

#include <string>
#include <vector>

namespace horos::fuzz {

struct Fault {
    std::string name;
    std::string kind; // "missing rule", "wrong mask", "wrong exit", ...
    Oracle::FaultFunction apply;
    std::string rule = {}; // the one that is missing, if one is
};

// All faults that make sense for a profile.
std::vector<Fault> seededFaults(const svm_model::Profile& profile);

struct Kill {
    std::string fault, kind;
    bool killed = false;
    bool outOfReach = false; // the harness cannot set up the host state that breaks this rule
    double seconds = 0;      // into the campaign, when it was found
    uint64_t cases = 0;      // likewise
    uint64_t touched = 0;    // cases whose prediction it changed, until then
    std::string by;          // the cluster that gave it away
};

// One campaign on the target, with the right model; each result is held against every faulty
// prediction as well. That is what a campaign with the faulty model would see of the same cases:
// a fault changes predictions only, never what runs. A fault is found when a case that shows
// nothing new with the right model is a divergence that triage does not know with the faulty one,
// and is so again when run alone from a clean state.
std::vector<Kill> killTable(const CampaignOptions& options);

} // namespace horos::fuzz
