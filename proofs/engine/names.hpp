// Names of struct fields, from the debug information of the modules that were loaded.
#pragma once
#include <llvm/IR/DerivedTypes.h>
#include <llvm/IR/Module.h>
#include <string>

namespace horos::proofs {

void learn_names(const llvm::Module& module);
std::string field_name(const llvm::StructType* type, unsigned field);

} // namespace horos::proofs
