#include "names.hpp"

#include <llvm/BinaryFormat/Dwarf.h>
#include <llvm/IR/DebugInfo.h>
#include <map>
#include <vector>

namespace horos::proofs {

namespace {

using Members = std::map<uint64_t, std::string>; // by byte offset
std::map<std::string, Members>& types() {
    static std::map<std::string, Members> all;
    return all;
}

std::string scope_of(const llvm::DIScope* scope) {
    if (scope == nullptr || llvm::isa<llvm::DIFile>(scope) || llvm::isa<llvm::DICompileUnit>(scope))
        return "";
    std::string name = scope->getName().str();
    if (llvm::isa<llvm::DINamespace>(scope) && name.empty())
        name = "(anonymous namespace)";
    return scope_of(scope->getScope()) + name + "::";
}

} // namespace

void learn_names(const llvm::Module& module) {
    llvm::DebugInfoFinder finder;
    finder.processModule(module);
    for (const llvm::DIType* type : finder.types()) {
        const auto* record = llvm::dyn_cast<llvm::DICompositeType>(type);
        if (record == nullptr || record->getTag() != llvm::dwarf::DW_TAG_structure_type ||
            record->isForwardDecl())
            continue;
        Members& members = types()[scope_of(record->getScope()) + record->getName().str()];
        for (const llvm::DINode* node : record->getElements()) {
            const auto* member = llvm::dyn_cast<llvm::DIDerivedType>(node);
            if (member != nullptr && member->getTag() == llvm::dwarf::DW_TAG_member)
                members[member->getOffsetInBits() / 8] = member->getName().str();
        }
    }
}

std::vector<std::string> member_names(const std::string& plain) {
    const std::string inner = "::" + plain;
    for (const auto& [name, members] : types()) {
        if (!name.ends_with(inner))
            continue;
        std::vector<std::string> all;
        for (const auto& [offset, member] : members)
            all.push_back(member);
        return all;
    }
    return {};
}

// The n-th field of the LLVM type is the n-th member: state has no bit-fields, unions or padding.
std::string field_name(const llvm::StructType* type, unsigned field) {
    std::string name = type->hasName() ? type->getName().str() : "";
    for (const char* prefix : {"struct.", "class."}) {
        if (name.starts_with(prefix))
            name = name.substr(std::string(prefix).size());
    }
    auto known = types().find(name);
    if (known == types().end()) { // "struct.T.12"
        if (const auto dot = name.rfind('.'); dot != std::string::npos)
            known = types().find(name.substr(0, dot));
    }
    if (known != types().end() && field < known->second.size()) {
        auto at = known->second.begin();
        std::advance(at, field);
        return at->second;
    }
    // Of extern tables alone there is no debug information of the row.
    static const std::map<std::string, std::string> rows{{"horos::core::CapTable", "slots"},
                                                         {"horos::core::PageTable", "entries"}};
    const auto row = rows.find(name);
    return row != rows.end() && field == 0 ? row->second : std::to_string(field);
}

} // namespace horos::proofs
