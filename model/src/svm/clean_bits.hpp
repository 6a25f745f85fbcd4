// VMCB state caching (APM vol. 2 rev. 3.42 §15.15).
#pragma once

#include "horos/model/svm/predict.hpp"

namespace horos::model::svm {

// One VMRUN whose VMCB is what the processor loads.
Prediction predict_loaded(const Machine& machine);
Outcome open_outcome(std::string why);
bool same_outcome(const Outcome& a, const Outcome& b);

// With fields of which the processor may hold another copy: every group of fields that a clean bit
// covers comes from memory or from the copy.
Prediction predict_cached(const Machine& machine);

} // namespace horos::model::svm
