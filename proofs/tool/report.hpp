// What a run says: on the terminal, as JSON, as a page.
#pragma once
#include "run.hpp"

namespace horos::proofs {

int report(const std::vector<Outcomes>& outcomes, const Options& options);

} // namespace horos::proofs
