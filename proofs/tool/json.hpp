// Results as JSON: from the process that proves, to the cache and the report.
#pragma once
#include "proofs/theorems/theorem.hpp"

namespace horos::proofs {

std::string to_json(const Result& result, double seconds = 0, long megabytes = 0);
bool from_json(const std::string& text, Result& result, double& seconds, long& megabytes);
const char* verdict_name(Verdict verdict);

} // namespace horos::proofs
