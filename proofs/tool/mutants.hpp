// The prover's teeth: mutants of the kernel, each of which a theorem must refute, or show to do
// exactly what the specification says all the same.
#pragma once
#include "run.hpp"

namespace horos::proofs {

int run_mutants(Bitcode& bitcode, const Options& options);

} // namespace horos::proofs
