// Names of struct fields, from the debug information of the modules that were loaded.
#pragma once
#include <llvm/IR/DerivedTypes.h>
#include <llvm/IR/Module.h>
#include <string>
#include <vector>

namespace horos::proofs {

void learn_names(const llvm::Module& module);
// The members of a structure, in their order, by its name without namespaces; none: it is not
// known.
std::vector<std::string> member_names(const std::string& plain);
std::string field_name(const llvm::StructType* type, unsigned field);

} // namespace horos::proofs
