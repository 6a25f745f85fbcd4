#include "mutate.hpp"

#include <algorithm>
#include <cstddef>
#include <llvm/IR/CFG.h>
#include <llvm/IR/DebugInfoMetadata.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/InstIterator.h>

namespace horos::proofs {

const char* kind_name(MutantKind kind) {
    switch (kind) {
    case MutantKind::check_dropped:
        return "check dropped";
    case MutantKind::comparison_flipped:
        return "comparison flipped";
    case MutantKind::off_by_one:
        return "off by one";
    case MutantKind::wrong_mask:
        return "wrong mask";
    case MutantKind::wrong_index:
        return "wrong index";
    case MutantKind::update_dropped:
        return "update dropped";
    case MutantKind::wrong_amount:
        return "wrong amount";
    case MutantKind::wrong_answer:
        return "wrong answer";
    }
    return "";
}

namespace {

using llvm::Instruction;

const llvm::ConstantInt* constant_operand(const Instruction& i, unsigned n) {
    return n < i.getNumOperands() ? llvm::dyn_cast<llvm::ConstantInt>(i.getOperand(n)) : nullptr;
}

std::string place_of(const Instruction& i) {
    const llvm::DILocation* at = i.getDebugLoc().get();
    const auto plain = [](const std::string& name) { return name.substr(0, name.find('<')); };
    if (at == nullptr)
        return plain(Objects::plain_name(i.getFunction()->getName()));
    const std::string file = at->getFilename().str();
    return plain(at->getScope()->getSubprogram()->getName().str()) + " " +
           file.substr(file.rfind('/') + 1) + ":" + std::to_string(at->getLine());
}

bool is_in(const llvm::DIScope* scope, const char* folder) {
    return scope != nullptr &&
           (scope->getDirectory() + "/" + scope->getFilename()).str().find(folder) !=
               std::string::npos;
}

// It, or what it was inlined into, is the backend's.
bool is_of_backend(const Instruction& i) {
    for (const llvm::DILocation* at = i.getDebugLoc().get(); at != nullptr;
         at = at->getInlinedAt()) {
        if (is_in(at->getScope(), "kernel/svm/"))
            return true;
    }
    return is_in(i.getFunction()->getSubprogram(), "kernel/svm/");
}

// Operands of a phi or select that are small constants: answers, mostly.
std::vector<unsigned> small_constants(const Instruction& i) {
    std::vector<unsigned> all;
    if (!llvm::isa<llvm::PHINode>(i) && !llvm::isa<llvm::SelectInst>(i))
        return all;
    if (!i.getType()->isIntegerTy() || i.getType()->isIntegerTy(1))
        return all;
    for (unsigned n = 0; n < i.getNumOperands(); ++n) {
        const auto* k = constant_operand(i, n);
        if (k != nullptr && k->getBitWidth() <= 64 && k->getZExtValue() < 64)
            all.push_back(n);
    }
    return all;
}

bool is_counting(const Instruction& i) {
    const auto* k = constant_operand(i, 1);
    return (i.getOpcode() == Instruction::Add || i.getOpcode() == Instruction::Sub) &&
           k != nullptr && (k->isOne() || k->isMinusOne());
}

void add_of(const Instruction& i, unsigned number,
            const std::set<const llvm::BasicBlock*>& executed, std::vector<Mutant>& all) {
    const auto add = [&](MutantKind kind, unsigned variant, const std::string& says) {
        all.push_back({kind, i.getFunction()->getName().str(), number, variant, place_of(i), says,
                       is_of_backend(i)});
    };
    if (const auto* branch = llvm::dyn_cast<llvm::BranchInst>(&i)) {
        if (branch->isConditional()) {
            add(MutantKind::check_dropped, 0, "the branch is always taken");
            add(MutantKind::check_dropped, 1, "the branch is never taken");
        }
    } else if (const auto* compare = llvm::dyn_cast<llvm::ICmpInst>(&i)) {
        if (!compare->getOperand(0)->getType()->isIntegerTy())
            return;
        add(MutantKind::comparison_flipped, 0,
            std::string(llvm::CmpInst::getPredicateName(compare->getPredicate()).str()) +
                " becomes " +
                llvm::CmpInst::getPredicateName(compare->getInversePredicate()).str());
        if (!compare->isEquality())
            add(MutantKind::off_by_one, 0,
                llvm::CmpInst::getPredicateName(compare->getPredicate()).str() + " becomes " +
                    llvm::CmpInst::getPredicateName(
                        compare->isStrictPredicate(compare->getPredicate())
                            ? compare->getNonStrictPredicate()
                            : compare->getStrictPredicate())
                        .str());
    } else if (i.getOpcode() == Instruction::And || i.getOpcode() == Instruction::Or) {
        const auto* k = constant_operand(i, 1);
        if (k != nullptr && k->getBitWidth() > 1 && k->getBitWidth() <= 64)
            add(MutantKind::wrong_mask, 0, "the lowest bit of the mask moves up by one");
    } else if (const auto* gep = llvm::dyn_cast<llvm::GetElementPtrInst>(&i)) {
        for (unsigned n = 1; n < gep->getNumOperands(); ++n) {
            if (!llvm::isa<llvm::Constant>(gep->getOperand(n)) &&
                gep->getOperand(n)->getType()->isIntegerTy()) {
                add(MutantKind::wrong_index, n, "the index is one too large");
                break;
            }
        }
    } else if (llvm::isa<llvm::StoreInst>(i)) {
        add(MutantKind::update_dropped, 0, "the store does not happen");
    } else if (is_counting(i)) {
        add(MutantKind::wrong_amount, 0, "it moves by two");
        add(MutantKind::wrong_amount, 1, "it does not move");
    }
    const auto* phi = llvm::dyn_cast<llvm::PHINode>(&i);
    for (const unsigned n : small_constants(i)) {
        if (phi != nullptr && !executed.contains(phi->getIncomingBlock(n)))
            continue;
        add(MutantKind::wrong_answer, n,
            std::to_string(constant_operand(i, n)->getZExtValue()) + " becomes " +
                std::to_string(constant_operand(i, n)->getZExtValue() + 1));
    }
}

Instruction* find(llvm::Function& f, unsigned number) {
    for (Instruction& i : llvm::instructions(f)) {
        if (number-- == 0)
            return &i;
    }
    return nullptr;
}

void collect(const llvm::Function& f, std::set<const llvm::Function*>& all) {
    if (f.isDeclaration() || !all.insert(&f).second)
        return;
    for (const Instruction& i : llvm::instructions(f)) {
        if (const auto* call = llvm::dyn_cast<llvm::CallBase>(&i)) {
            if (const llvm::Function* callee = call->getCalledFunction())
                collect(*callee, all);
        }
    }
}

// What these theorems say, they say of processors with SVM, where machine.vendor is svm and guests
// have long-mode tables (docs/theorems.md). No mutant is made of what such a processor never
// executes: code of kernel/vmx/ and of EptFormat, also inlined, and blocks that can only be reached
// when one of the two fields says otherwise.
bool is_of_vmx(const llvm::DISubprogram* place, llvm::StringRef function) {
    if (place == nullptr)
        return Objects::plain_name(function).starts_with("vmx_");
    return is_in(place, "kernel/vmx/") || place->getLinkageName().contains("EptFormat");
}
bool is_of_vmx(const Instruction& i) {
    for (const llvm::DILocation* at = i.getDebugLoc().get(); at != nullptr;
         at = at->getInlinedAt()) {
        if (is_of_vmx(at->getScope()->getSubprogram(), ""))
            return true;
    }
    return is_of_vmx(i.getFunction()->getSubprogram(), i.getFunction()->getName());
}

// What a condition is on such a processor, as far as it is made of the two fields.
std::optional<uint64_t> on_svm(const llvm::Value* v, const llvm::DataLayout& layout) {
    if (const auto* k = llvm::dyn_cast<llvm::ConstantInt>(v))
        return k->getBitWidth() <= 64 ? std::optional(k->getZExtValue()) : std::nullopt;
    if (const auto* load = llvm::dyn_cast<llvm::LoadInst>(v)) {
        llvm::APInt offset(64, 0);
        const llvm::Value* base = load->getPointerOperand()->stripAndAccumulateConstantOffsets(
            layout, offset, /*AllowNonInbounds=*/true);
        if (!llvm::isa<llvm::GlobalVariable>(base) ||
            Objects::plain_name(base->getName()) != "machine" || !load->getType()->isIntegerTy(8))
            return std::nullopt;
        if (offset == offsetof(core::Machine, vendor))
            return static_cast<uint64_t>(core::Vendor::svm);
        if (offset == offsetof(core::Machine, guest_format))
            return static_cast<uint64_t>(core::TableFormat::long_mode);
        return std::nullopt;
    }
    const auto* compare = llvm::dyn_cast<llvm::ICmpInst>(v);
    if (compare == nullptr || !compare->isEquality())
        return std::nullopt;
    const auto a = on_svm(compare->getOperand(0), layout);
    const auto b = on_svm(compare->getOperand(1), layout);
    if (!a || !b)
        return std::nullopt;
    return (*a == *b) == (compare->getPredicate() == llvm::CmpInst::ICMP_EQ);
}

std::set<const llvm::BasicBlock*> executed_on_svm(const llvm::Function& f) {
    const llvm::DataLayout& layout = f.getParent()->getDataLayout();
    std::set<const llvm::BasicBlock*> reached;
    std::vector<const llvm::BasicBlock*> open{&f.getEntryBlock()};
    while (!open.empty()) {
        const llvm::BasicBlock* block = open.back();
        open.pop_back();
        if (!reached.insert(block).second)
            continue;
        const auto* branch = llvm::dyn_cast<llvm::BranchInst>(block->getTerminator());
        if (branch != nullptr && branch->isConditional()) {
            if (const auto known = on_svm(branch->getCondition(), layout)) {
                open.push_back(branch->getSuccessor(*known != 0 ? 0 : 1));
                continue;
            }
        }
        for (const llvm::BasicBlock* next : llvm::successors(block))
            open.push_back(next);
    }
    return reached;
}

std::vector<std::pair<std::string, const llvm::Function*>> entries(const Bitcode& bitcode) {
    std::vector<std::pair<std::string, const llvm::Function*>> all;
    for (const Hypercall& h : hypercalls())
        all.emplace_back(h.name, hypercall_entry(bitcode, h.number));
    for (const std::string& symbol : core_exports()) {
        const llvm::Function* f = bitcode.core().getFunction(symbol);
        if (f != nullptr && !f->isDeclaration() && !is_boot(Objects::plain_name(symbol)))
            all.emplace_back(Objects::plain_name(symbol), f);
    }
    return all;
}

} // namespace

std::vector<Mutant> all_mutants(const Bitcode& bitcode) {
    std::set<const llvm::Function*> reached;
    for (const auto& [name, f] : entries(bitcode))
        collect(*f, reached);
    std::vector<Mutant> all;
    for (const llvm::Function& f : bitcode.core()) {
        if (!reached.contains(&f) || is_of_vmx(f.getSubprogram(), f.getName()))
            continue;
        const auto executed = executed_on_svm(f);
        unsigned number = 0;
        for (const Instruction& i : llvm::instructions(f)) {
            if (executed.contains(i.getParent()) && !is_of_vmx(i))
                add_of(i, number, executed, all);
            ++number;
        }
    }
    return all;
}

namespace {

uint64_t hash_of(const std::string& text) {
    uint64_t hash = 0xcbf29ce484222325;
    for (const char c : text)
        hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3;
    return hash;
}

// Mutants of one kind in one function of the source, in an order of no meaning.
using Pile = std::vector<const Mutant*>;

} // namespace

std::vector<Mutant> choose_mutants(const std::vector<Mutant>& all, size_t count) {
    // Round after round, one of each function; of a function the kinds take turns. The order of
    // functions, of kinds, and of the mutants in a pile depends on nothing but their names.
    std::map<uint64_t, std::map<uint64_t, Pile>> functions;
    for (const Mutant& m : all) {
        const std::string function = m.place.substr(0, m.place.rfind(' '));
        functions[hash_of(function)][hash_of(function + kind_name(m.kind))].push_back(&m);
    }
    for (auto& [function, kinds] : functions) {
        for (auto& [hash, pile] : kinds)
            std::sort(pile.begin(), pile.end(), [](const Mutant* a, const Mutant* b) {
                const auto key = [](const Mutant& m) {
                    return hash_of(m.place + m.says + m.function + std::to_string(m.instruction) +
                                   std::to_string(m.variant));
                };
                return key(*a) < key(*b);
            });
    }
    std::vector<Mutant> chosen;
    for (size_t round = 0; chosen.size() < std::min(count, all.size()); ++round) {
        for (auto& [function, kinds] : functions) {
            const size_t turn = round / kinds.size();
            auto kind = kinds.begin();
            std::advance(kind, static_cast<long>(round % kinds.size()));
            if (turn < kind->second.size() && chosen.size() < count)
                chosen.push_back(*kind->second[turn]);
        }
    }
    return chosen;
}

bool apply(const Mutant& m, llvm::Module& module) {
    llvm::Function* f = module.getFunction(m.function);
    Instruction* i = f != nullptr ? find(*f, m.instruction) : nullptr;
    if (i == nullptr)
        return false;
    auto* constant =
        llvm::dyn_cast<llvm::ConstantInt>(i->getOperand(i->getNumOperands() > 1 ? 1 : 0));
    switch (m.kind) {
    case MutantKind::check_dropped:
        llvm::cast<llvm::BranchInst>(i)->setCondition(
            llvm::ConstantInt::getBool(module.getContext(), m.variant == 0));
        return true;
    case MutantKind::comparison_flipped: {
        auto* compare = llvm::cast<llvm::ICmpInst>(i);
        compare->setPredicate(compare->getInversePredicate());
        return true;
    }
    case MutantKind::off_by_one: {
        auto* compare = llvm::cast<llvm::ICmpInst>(i);
        compare->setPredicate(llvm::CmpInst::isStrictPredicate(compare->getPredicate())
                                  ? compare->getNonStrictPredicate()
                                  : compare->getStrictPredicate());
        return true;
    }
    case MutantKind::wrong_mask: {
        const uint64_t k = constant->getZExtValue();
        const uint64_t lowest = k & (~k + 1);
        i->setOperand(1, llvm::ConstantInt::get(constant->getType(), (k & ~lowest) | lowest << 1));
        return true;
    }
    case MutantKind::wrong_index: {
        llvm::IRBuilder<> build(i);
        llvm::Value* index = i->getOperand(m.variant);
        i->setOperand(m.variant,
                      build.CreateAdd(index, llvm::ConstantInt::get(index->getType(), 1)));
        return true;
    }
    case MutantKind::update_dropped:
        i->eraseFromParent();
        return true;
    case MutantKind::wrong_amount: {
        const int64_t by = constant->isOne() ? 1 : -1;
        i->setOperand(
            1, llvm::ConstantInt::getSigned(constant->getType(), m.variant == 0 ? 2 * by : 0));
        return true;
    }
    case MutantKind::wrong_answer: {
        auto* answer = llvm::cast<llvm::ConstantInt>(i->getOperand(m.variant));
        i->setOperand(m.variant,
                      llvm::ConstantInt::get(answer->getType(), answer->getZExtValue() + 1));
        return true;
    }
    }
    return false;
}

std::set<std::string> entries_reaching(const Bitcode& bitcode, const std::string& function) {
    std::set<std::string> all;
    for (const auto& [name, f] : entries(bitcode)) {
        std::set<const llvm::Function*> reached;
        collect(*f, reached);
        if (reached.contains(bitcode.core().getFunction(function)))
            all.insert(name);
    }
    return all;
}

std::map<std::string, size_t> sizes_of_entries(const Bitcode& bitcode) {
    std::map<std::string, size_t> sizes;
    for (const auto& [name, f] : entries(bitcode)) {
        std::set<const llvm::Function*> reached;
        collect(*f, reached);
        size_t size = 0;
        for (const llvm::Function* r : reached)
            size += r->getInstructionCount();
        sizes[name] = size;
    }
    return sizes;
}

} // namespace horos::proofs
