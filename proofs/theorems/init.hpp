// Shared by the theorems about initialisation.
#pragma once
#include "theorem.hpp"

namespace horos::proofs::init {

llvm::Function& function(Bitcode& code, const std::string& plain); // of core.bc

// Of the bitcode: the loops of initialisation write nothing themselves.
Result only_steps_write(Bitcode& code);

} // namespace horos::proofs::init
