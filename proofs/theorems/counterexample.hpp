// A model in which a theorem fails, in the kernel's terms: as text, and as a GoogleTest of the same
// sources compiled for the host (tests/prover/counterexample.hpp).
#pragma once
#include "theorem.hpp"

namespace horos::proofs {

std::string counterexample_text(Step& step, const Model& model);
// `goal`: what is refuted, as the theorem names it.
std::string counterexample_test(Step& step, const Model& model, const std::string& goal);

} // namespace horos::proofs
