// Shared by the theorems about processors with VMX.
#pragma once
#include "theorem.hpp"

namespace horos::proofs::vmx {

// Of every VMWRITE of a step. With a virtual CPU: all go into its VMCS. Without: the step makes
// one.
Result writes(Step& step, Term vcpu);

// Of the moment of an entry: vmx_entry.cpp.
std::vector<Theorem> entry_theorems();
std::vector<Theorem> exit_theorems(); // vmx_exit.cpp

} // namespace horos::proofs::vmx
