// The boot functions with loops over memory are not executed. What is shown of them is what makes
// that unnecessary: they touch no table themselves, but call the steps that have theorems, which
// keep what they keep for any arguments and in any order.
#include "init.hpp"

#include <llvm/Analysis/ValueTracking.h>

namespace horos::proofs::init {

namespace {

bool is_step(const std::string& plain) {
    static const std::set<std::string> names{"init_type",  "init_whole",       "init_split",
                                             "init_owner", "init_core_object", "init_root",
                                             "init_table", "init_leaf",        "shell_stop"};
    return names.contains(plain);
}

bool is_own_or_machine(const llvm::Value* pointer) {
    const llvm::Value* base = llvm::getUnderlyingObject(pointer);
    if (const auto* g = llvm::dyn_cast<llvm::GlobalVariable>(base))
        return Objects::plain_name(g->getName()) == "machine" || g->isConstant();
    return llvm::isa<llvm::AllocaInst>(base) || llvm::isa<llvm::Argument>(base);
}

void look(llvm::Function& f, Result& result, std::set<llvm::Function*>& seen) {
    if (!seen.insert(&f).second)
        return;
    const std::string name = Objects::plain_name(f.getName());
    const auto wrong = [&](const std::string& what) {
        result.verdict = Verdict::refuted;
        result.details.push_back("refuted: " + name + " " + what);
    };
    for (llvm::BasicBlock& block : f) {
        for (llvm::Instruction& i : block) {
            ++result.goals;
            if (const auto* s = llvm::dyn_cast<llvm::StoreInst>(&i)) {
                const llvm::Value* base = llvm::getUnderlyingObject(s->getPointerOperand());
                if (!llvm::isa<llvm::AllocaInst>(base))
                    wrong("writes to a table");
            } else if (const auto* l = llvm::dyn_cast<llvm::LoadInst>(&i)) {
                if (!is_own_or_machine(l->getPointerOperand()))
                    wrong("reads a table");
            } else if (auto* c = llvm::dyn_cast<llvm::CallBase>(&i)) {
                llvm::Function* callee = c->getCalledFunction();
                if (callee == nullptr)
                    wrong("calls through a pointer");
                else if (callee->isIntrinsic() && !callee->doesNotAccessMemory() &&
                         !i.isLifetimeStartOrEnd() && !i.isDebugOrPseudoInst())
                    wrong("uses " + callee->getName().str());
                else if (!callee->isIntrinsic() && callee->isDeclaration() &&
                         !is_step(Objects::plain_name(callee->getName())))
                    wrong("calls " + callee->getName().str());
                else if (!callee->isDeclaration() &&
                         !is_step(Objects::plain_name(callee->getName())))
                    look(*callee, result, seen);
            } else if (i.mayWriteToMemory()) {
                wrong("writes");
            }
        }
    }
}

} // namespace

Result only_steps_write(Bitcode& code) {
    Result result;
    result.verdict = Verdict::proved;
    result.bound = "every instruction of them";
    std::set<llvm::Function*> seen;
    for (const char* name :
         {"core_add_ram", "core_reserve", "core_split", "core_init_root", "core_root_map"})
        look(function(code, name), result, seen);
    return result;
}

} // namespace horos::proofs::init
