// Is a divergence what the target's known defects lead to?
#pragma once

#include "horos/fuzz/campaign.hpp"

namespace horos::fuzz {

// The triage entries that together, and none of them without need, predict exactly what was seen;
// empty if they do not.
// `leaves` is set if they leave something behind in memory that no window brings back.
std::vector<const Triaged*> explainByDefects(Oracle& oracle, const Run& run, const Triage& triage,
                                             bool& leaves);

// What a target says as it dies of a case, if with its defects the model predicts that; else empty.
std::string deathMessage(const svm_model::Prediction& withDefects);
// Whether that is what a dead target's output says.
bool saysInTheEnd(const std::string& log, const std::string& message);

// For people who triage: what the model says with all known defects on, and what still differs.
std::string defectsSay(Oracle& oracle, const Run& run, const Triage& triage);

// The allowed outcome that the target seems to have taken.
const svm_model::Outcome& nearest(const Run& run, const svm_model::Prediction& prediction);

} // namespace horos::fuzz
