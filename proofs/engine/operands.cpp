// What operands stand for: names, constants, addresses; and where an instruction is in the source.
#include "execute.hpp"

#include <llvm/IR/Constants.h>
#include <llvm/IR/DebugInfoMetadata.h>
#include <llvm/IR/GetElementPtrTypeIterator.h>

namespace horos::proofs {

std::string Activation::place(const llvm::Instruction& i) const {
    const auto plain = [](const llvm::DISubprogram* of, llvm::StringRef symbol) {
        std::string name = of != nullptr ? of->getName().str() : symbol.str();
        return name.substr(0, name.find('<'));
    };
    std::string text = plain(function.getSubprogram(), function.getName());
    if (const llvm::DILocation* at = i.getDebugLoc().get()) {
        const llvm::DISubprogram* inner = at->getScope()->getSubprogram();
        if (inner != function.getSubprogram())
            text += " > " + plain(inner, "");
        const std::string file = at->getFilename().str();
        text += " " + file.substr(file.rfind('/') + 1) + ":" + std::to_string(at->getLine());
    }
    return text;
}

Value Activation::operand(const llvm::Value* v) {
    if (const auto* c = llvm::dyn_cast<llvm::Constant>(v))
        return constant_value(c);
    const auto at = names.find(v);
    if (at == names.end() || at->second.kind == Value::Kind::nothing)
        throw Unsupported("value without definition in " + function.getName().str());
    return at->second;
}

// An address as a number could be any, but a global object has one.
Value Activation::number_of(const Value& pointer, unsigned width) const {
    const bool one = pointer.kind == Value::Kind::pointer && pointer.targets.size() == 1;
    const Object* object = one ? pointer.targets[0].object : nullptr;
    if (object == nullptr || width != 64 ||
        (object->storage == Storage::local && object->name != this_core_area))
        return Value::of(fresh_bits("address", width), pointer.poison);
    Term all = named_bits("address of " + object->name, width);
    all = add(all, num(width, static_cast<uint64_t>(pointer.targets[0].offset.constant)));
    for (const auto& [index, stride] : pointer.targets[0].offset.terms)
        all = add(all, mul(resize(index, width), num(width, static_cast<uint64_t>(stride))));
    return Value::of(all, pointer.poison);
}

Value Activation::constant_value(const llvm::Constant* v) {
    llvm::Type* type = v->getType();
    if (const auto* i = llvm::dyn_cast<llvm::ConstantInt>(v)) {
        if (i->getBitWidth() == 1)
            return Value::of(truth(i->isOne()));
        if (i->getBitWidth() > 64)
            throw Unsupported("constant wider than 64 bits");
        return Value::of(num(i->getBitWidth(), i->getZExtValue()));
    }
    if (llvm::isa<llvm::ConstantPointerNull>(v))
        return Value::of_pointer({{truth(true), nullptr, {}}});
    if (const auto* g = llvm::dyn_cast<llvm::GlobalVariable>(v))
        return Value::to(engine.objects_.global(*g));
    if (const auto* e = llvm::dyn_cast<llvm::ConstantExpr>(v)) {
        if (e->getOpcode() == llvm::Instruction::PtrToInt)
            return number_of(constant_value(e->getOperand(0)), type->getIntegerBitWidth());
        if (const auto* gep = llvm::dyn_cast<llvm::GEPOperator>(e))
            return address(*gep,
                           constant_value(llvm::cast<llvm::Constant>(gep->getPointerOperand())));
    }
    if (llvm::isa<llvm::UndefValue>(v)) { // poison too
        if (type->isPointerTy())
            return Value::of_pointer({}, truth(true));
        if (type->isIntegerTy())
            return Value::of(type->isIntegerTy(1) ? truth(false)
                                                  : num(type->getIntegerBitWidth(), 0),
                             truth(true));
    }
    if (type->isStructTy() || type->isArrayTy()) {
        std::vector<Value> parts;
        const unsigned n = type->isStructTy() ? type->getStructNumElements()
                                              : static_cast<unsigned>(type->getArrayNumElements());
        for (unsigned i = 0; i < n; ++i)
            parts.push_back(constant_value(v->getAggregateElement(i)));
        return Value::of_parts(std::move(parts));
    }
    throw Unsupported("constant of an unknown kind in " + function.getName().str());
}

// The cases of an if-then-else between constants; none when the term is something else.
static std::vector<std::pair<Term, uint64_t>> constant_choice(Term t) {
    if (Z3_get_ast_kind(context(), t) != Z3_APP_AST)
        return {};
    Z3_app app = Z3_to_app(context(), t);
    if (Z3_get_decl_kind(context(), Z3_get_app_decl(context(), app)) != Z3_OP_ITE)
        return {};
    const Term condition = Z3_get_app_arg(context(), app, 0);
    std::vector<std::pair<Term, uint64_t>> all;
    for (unsigned i = 1; i <= 2; ++i) {
        const Term side = Z3_get_app_arg(context(), app, i);
        const Term when = i == 1 ? condition : lnot(condition);
        if (const auto k = constant(side)) {
            all.emplace_back(when, *k);
            continue;
        }
        const auto inner = constant_choice(side);
        if (inner.empty())
            return {};
        for (const auto& [c, k] : inner)
            all.emplace_back(land(when, c), k);
    }
    return all.size() <= 8 ? all : std::vector<std::pair<Term, uint64_t>>{};
}

Value Activation::address(const llvm::GEPOperator& gep, Value base) {
    const llvm::DataLayout& layout = engine.objects_.layout();
    Offset more;
    Term poison = base.poison;
    for (auto at = llvm::gep_type_begin(gep); at != llvm::gep_type_end(gep); ++at) {
        if (auto* record = at.getStructTypeOrNull()) {
            const auto field = llvm::cast<llvm::ConstantInt>(at.getOperand())->getZExtValue();
            more.add(static_cast<int64_t>(
                layout.getStructLayout(record)->getElementOffset(static_cast<unsigned>(field))));
            continue;
        }
        const Value index = operand(at.getOperand());
        poison = lor(poison, index.poison);
        more.add(sext(index.bits, 64),
                 static_cast<int64_t>(layout.getTypeAllocSize(at.getIndexedType())));
    }
    // An index chosen among constants is a choice of addresses.
    std::vector<std::pair<Term, Offset>> ways{{truth(true), Offset{more.constant, {}}}};
    for (const auto& [term, stride] : more.terms) {
        const auto parts = constant_choice(term);
        std::vector<std::pair<Term, Offset>> next;
        for (const auto& [when, so_far] : ways) {
            if (parts.empty()) {
                next.emplace_back(when, so_far);
                next.back().second.add(term, stride);
                continue;
            }
            for (const auto& [condition, value] : parts) {
                next.emplace_back(land(when, condition), so_far);
                next.back().second.constant += static_cast<int64_t>(value) * stride;
            }
        }
        ways = std::move(next);
    }
    std::vector<Target> targets;
    for (const Target& t : base.targets) {
        for (const auto& [when, way] : ways) {
            Target one = t;
            one.condition = land(t.condition, when);
            one.offset.constant += way.constant;
            for (const auto& [term, stride] : way.terms)
                one.offset.add(term, stride);
            if (!is_false(one.condition))
                targets.push_back(std::move(one));
        }
    }
    base.targets = std::move(targets);
    base.poison = poison;
    return base;
}

} // namespace horos::proofs
