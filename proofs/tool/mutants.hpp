// The prover's teeth: mutants of the kernel, each of which a theorem must refute, or show to do
// exactly what the specification says all the same.
#pragma once
#include "mutate.hpp"
#include "run.hpp"

namespace horos::proofs {

struct Tried {
    Mutant mutant;
    Outcomes outcome;
};
const char* verdict_of(const Tried& tried);
std::string reason_of(const Tried& tried);

int run_mutants(Bitcode& bitcode, const Options& options);
// docs/mutants.md; what --remarks says of single mutants goes in.
void write_table(const std::vector<Tried>& tried, size_t theorems, const Options& options);

} // namespace horos::proofs
