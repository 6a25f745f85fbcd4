// What a run says: on the terminal, as JSON, as a page, as docs/assurance.md.
#pragma once
#include "run.hpp"

namespace horos::proofs {

void write_assurance(const std::vector<Outcomes>& outcomes, const Options& options);
std::set<std::string> read_expected(const Options& options);
// Whether every way into the core has its theorems; says which has not.
int check_list(const Bitcode& bitcode, const Options& options);
int report(const std::vector<Outcomes>& outcomes, const Options& options);

} // namespace horos::proofs
