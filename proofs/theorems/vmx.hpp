// Shared by the theorems about processors with VMX.
#pragma once
#include "theorem.hpp"

namespace horos::proofs::vmx {

// Of every VMWRITE of a step. With a virtual CPU: all go into its VMCS. Without: the step makes
// one.
Result writes(Step& step, Term vcpu);

} // namespace horos::proofs::vmx
