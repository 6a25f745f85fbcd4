// The fuzzer's own teeth: faults seeded into a copy of the model's prediction. A campaign in which
// the model is wrong in this way must report a new divergence. Only the test build and the
// kill-table command use them.
#pragma once

#include "horos/fuzz/campaign.hpp"

#include <functional>
#include <string>
#include <vector>

namespace horos::fuzz {

struct Fault {
    std::string name;
    std::string kind; // "missing rule", "wrong mask", "wrong exit", ...
    std::function<void(const svm_model::Machine&, svm_model::Prediction&)> apply;
    std::string rule = {}; // the one that is missing, if one is
};

// All faults that make sense for a profile.
std::vector<Fault> seededFaults(const svm_model::Profile& profile);

struct Kill {
    std::string fault, kind;
    bool killed = false;
    bool outOfReach = false; // the harness cannot set up the host state that breaks this rule
    double seconds = 0;
    uint64_t cases = 0;
    std::string by; // the cluster that gave it away
};

// Runs a campaign of at most `limit` seconds for each fault. `report` is called after each.
std::vector<Kill> killTable(const CampaignOptions& options, double limit,
                            const std::function<void(const Kill&)>& report);

} // namespace horos::fuzz
