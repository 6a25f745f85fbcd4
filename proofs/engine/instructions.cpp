// Instructions: what each does, and when its result is poison. An instruction that is not here is
// refused.
#include "execute.hpp"

#include <llvm/IR/Constants.h>
#include <llvm/IR/DebugInfoMetadata.h>
#include <llvm/IR/GetElementPtrTypeIterator.h>
#include <llvm/IR/Operator.h>

namespace horos::proofs {

using llvm::Instruction;

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

namespace {

Term overflow_signed_add(Term a, Term b, Term sum) {
    const unsigned w = width_of(a);
    const Term zero = num(w, 0);
    return land(eq(to_bool(slt(a, zero)), to_bool(slt(b, zero))),
                lxor(slt(sum, zero), slt(a, zero)));
}
Term overflow_signed_sub(Term a, Term b, Term difference) {
    const Term zero = num(width_of(a), 0);
    return land(lxor(slt(a, zero), slt(b, zero)), lxor(slt(difference, zero), slt(a, zero)));
}
Term overflow_mul(Term a, Term b, bool is_signed) {
    const unsigned w = width_of(a);
    if (constant(a) && constant(b) && w <= 32) {
        const Term wide =
            is_signed ? mul(sext(a, 2 * w), sext(b, 2 * w)) : mul(zext(a, 2 * w), zext(b, 2 * w));
        return lnot(eq(wide, is_signed ? sext(mul(a, b), 2 * w) : zext(mul(a, b), 2 * w)));
    }
    if (!is_signed)
        return lnot(Z3_mk_bvmul_no_overflow(context(), a, b, false));
    return lnot(land(Z3_mk_bvmul_no_overflow(context(), a, b, true),
                     Z3_mk_bvmul_no_underflow(context(), a, b)));
}

Term arithmetic_poison(llvm::BinaryOperator& i, Term a, Term b, Term r) {
    Term poison = truth(false);
    if (const auto* o = llvm::dyn_cast<llvm::OverflowingBinaryOperator>(&i)) {
        const bool u = o->hasNoUnsignedWrap();
        const bool s = o->hasNoSignedWrap();
        switch (i.getOpcode()) {
        case Instruction::Add:
            if (u)
                poison = lor(poison, ult(r, a));
            if (s)
                poison = lor(poison, overflow_signed_add(a, b, r));
            break;
        case Instruction::Sub:
            if (u)
                poison = lor(poison, ult(a, b));
            if (s)
                poison = lor(poison, overflow_signed_sub(a, b, r));
            break;
        case Instruction::Mul:
            if (u)
                poison = lor(poison, overflow_mul(a, b, false));
            if (s)
                poison = lor(poison, overflow_mul(a, b, true));
            break;
        case Instruction::Shl:
            if (u)
                poison = lor(poison, lnot(eq(lshr(r, b), a)));
            if (s)
                poison = lor(poison, lnot(eq(ashr(r, b), a)));
            break;
        default:
            break;
        }
    }
    if (const auto* o = llvm::dyn_cast<llvm::PossiblyExactOperator>(&i); o && o->isExact()) {
        if (i.getOpcode() == Instruction::LShr || i.getOpcode() == Instruction::AShr)
            poison = lor(poison, lnot(eq(shl(r, b), a)));
        else
            poison = lor(poison, lnot(eq(mul(r, b), a)));
    }
    if (const auto* o = llvm::dyn_cast<llvm::PossiblyDisjointInst>(&i); o && o->isDisjoint())
        poison = lor(poison, lnot(eq(band(a, b), num(width_of(a), 0))));
    return poison;
}

} // namespace

Value Activation::binary(llvm::BinaryOperator& i) {
    if (!i.getType()->isIntegerTy())
        throw Unsupported("vector or floating point in " + place(i));
    const Value x = operand(i.getOperand(0));
    const Value y = operand(i.getOperand(1));
    Term a = x.bits;
    Term b = y.bits;
    Term poison = lor(x.poison, y.poison);
    const bool boolean = is_bool(a);
    switch (i.getOpcode()) {
    case Instruction::And:
        return Value::of(band(a, b), poison);
    case Instruction::Or: {
        const auto* o = llvm::dyn_cast<llvm::PossiblyDisjointInst>(&i);
        if (boolean && o != nullptr && o->isDisjoint())
            poison = lor(poison, land(a, b));
        return Value::of(bor(a, b), boolean ? poison : lor(poison, arithmetic_poison(i, a, b, a)));
    }
    case Instruction::Xor:
        return Value::of(bxor(a, b), poison);
    default:
        break;
    }
    if (boolean)
        throw Unsupported("arithmetic on i1 in " + place(i));
    const unsigned w = width_of(a);
    Term r = nullptr;
    switch (i.getOpcode()) {
    case Instruction::Add:
        r = add(a, b);
        break;
    case Instruction::Sub:
        r = sub(a, b);
        break;
    case Instruction::Mul:
        r = mul(a, b);
        break;
    case Instruction::Shl:
        r = shl(a, b);
        break;
    case Instruction::LShr:
        r = lshr(a, b);
        break;
    case Instruction::AShr:
        r = ashr(a, b);
        break;
    case Instruction::UDiv:
        r = udiv(a, b);
        break;
    case Instruction::URem:
        r = urem(a, b);
        break;
    case Instruction::SDiv:
        r = sdiv(a, b);
        break;
    case Instruction::SRem:
        r = srem(a, b);
        break;
    default:
        throw Unsupported(std::string("instruction ") + i.getOpcodeName() + " in " + place(i));
    }
    if (i.isShift())
        poison = lor(poison, lnot(ult(b, num(w, w))));
    return Value::of(r, lor(poison, arithmetic_poison(i, a, b, r)));
}

Value Activation::cast(llvm::CastInst& i) {
    const Value x = operand(i.getOperand(0));
    if (!i.getType()->isIntegerTy() || x.kind != Value::Kind::bits)
        throw Unsupported(std::string("cast ") + i.getOpcodeName() + " in " + place(i));
    const unsigned w = i.getType()->getIntegerBitWidth();
    Term poison = x.poison;
    switch (i.getOpcode()) {
    case Instruction::ZExt:
        if (i.hasNonNeg() && !is_bool(x.bits))
            poison = lor(poison, slt(x.bits, num(width_of(x.bits), 0)));
        return Value::of(zext(x.bits, w), poison);
    case Instruction::SExt:
        return Value::of(sext(x.bits, w), poison);
    case Instruction::Trunc: {
        const Term low = extract(w - 1, 0, x.bits);
        const auto& t = llvm::cast<llvm::TruncInst>(i);
        if (t.hasNoUnsignedWrap())
            poison = lor(poison, lnot(eq(zext(low, width_of(x.bits)), x.bits)));
        if (t.hasNoSignedWrap())
            poison = lor(poison, lnot(eq(sext(low, width_of(x.bits)), x.bits)));
        return Value::of(w == 1 ? to_bool(low) : low, poison);
    }
    default:
        throw Unsupported(std::string("cast ") + i.getOpcodeName() + " in " + place(i));
    }
}

Value Activation::compare_pointers(llvm::CmpInst::Predicate p, const Value& a, const Value& b) {
    std::vector<Term> same;
    for (const Target& x : a.targets) {
        for (const Target& y : b.targets) {
            if (x.object != y.object)
                continue; // objects do not overlap, and null is none of them
            const auto sum = [](const Offset& o) {
                Term t = num(64, static_cast<uint64_t>(o.constant));
                for (const auto& [term, stride] : o.terms)
                    t = add(t, mul(term, num(64, static_cast<uint64_t>(stride))));
                return t;
            };
            same.push_back(land({x.condition, y.condition, eq(sum(x.offset), sum(y.offset))}));
        }
    }
    const Term equal = lor(same);
    const Term poison = lor(a.poison, b.poison);
    if (p == llvm::CmpInst::ICMP_EQ)
        return Value::of(equal, poison);
    if (p == llvm::CmpInst::ICMP_NE)
        return Value::of(lnot(equal), poison);
    throw Unsupported("order of pointers in " + function.getName().str());
}

Value Activation::compare(llvm::ICmpInst& i) {
    const Value a = operand(i.getOperand(0));
    const Value b = operand(i.getOperand(1));
    if (a.kind == Value::Kind::pointer)
        return compare_pointers(i.getPredicate(), a, b);
    if (a.kind != Value::Kind::bits)
        throw Unsupported("comparison in " + place(i));
    Term x = a.bits;
    Term y = b.bits;
    if (is_bool(x) && !i.isEquality()) {
        x = extract(0, 0, x);
        y = extract(0, 0, y);
    }
    const Term poison = lor(a.poison, b.poison);
    switch (i.getPredicate()) {
    case llvm::CmpInst::ICMP_EQ:
        return Value::of(eq(x, y), poison);
    case llvm::CmpInst::ICMP_NE:
        return Value::of(lnot(eq(x, y)), poison);
    case llvm::CmpInst::ICMP_ULT:
        return Value::of(ult(x, y), poison);
    case llvm::CmpInst::ICMP_ULE:
        return Value::of(ule(x, y), poison);
    case llvm::CmpInst::ICMP_UGT:
        return Value::of(ult(y, x), poison);
    case llvm::CmpInst::ICMP_UGE:
        return Value::of(ule(y, x), poison);
    case llvm::CmpInst::ICMP_SLT:
        return Value::of(slt(x, y), poison);
    case llvm::CmpInst::ICMP_SLE:
        return Value::of(sle(x, y), poison);
    case llvm::CmpInst::ICMP_SGT:
        return Value::of(slt(y, x), poison);
    case llvm::CmpInst::ICMP_SGE:
        return Value::of(sle(y, x), poison);
    default:
        throw Unsupported("comparison in " + place(i));
    }
}

bool Activation::execute(llvm::Instruction& i, Guard& guard) {
    const llvm::DataLayout& layout = engine.objects_.layout();
    if (auto* b = llvm::dyn_cast<llvm::BinaryOperator>(&i)) {
        names[&i] = binary(*b);
        if (i.isIntDivRem()) {
            const Value d = operand(i.getOperand(1));
            const unsigned w = width_of(d.bits);
            engine.require(guard, lnot(d.poison), "divisor is set", place(i));
            engine.require(guard, lnot(eq(d.bits, num(w, 0))), "divisor is not zero", place(i));
            if (i.getOpcode() == Instruction::SDiv || i.getOpcode() == Instruction::SRem) {
                const Term lowest = num(w, uint64_t{1} << (w - 1));
                const Term both = land(eq(operand(i.getOperand(0)).bits, lowest),
                                       eq(d.bits, num(w, ~uint64_t{0})));
                engine.require(guard, lnot(both), "quotient fits", place(i));
            }
        }
        return true;
    }
    if (auto* c = llvm::dyn_cast<llvm::CastInst>(&i)) {
        names[&i] = cast(*c);
        return true;
    }
    if (auto* c = llvm::dyn_cast<llvm::ICmpInst>(&i)) {
        names[&i] = compare(*c);
        return true;
    }
    if (auto* gep = llvm::dyn_cast<llvm::GetElementPtrInst>(&i)) {
        names[&i] = address(*llvm::cast<llvm::GEPOperator>(gep), operand(gep->getPointerOperand()));
        return true;
    }
    if (auto* s = llvm::dyn_cast<llvm::SelectInst>(&i)) {
        const Value c = operand(s->getCondition());
        Value v = choose(c.bits, operand(s->getTrueValue()), operand(s->getFalseValue()));
        v.poison = lor(c.poison, v.poison);
        names[&i] = v;
        return true;
    }
    if (auto* l = llvm::dyn_cast<llvm::LoadInst>(&i)) {
        const uint64_t size = layout.getTypeStoreSize(l->getType());
        const bool pointer = l->getType()->isPointerTy();
        if (!pointer && !l->getType()->isIntegerTy())
            throw Unsupported("load of an aggregate in " + place(i));
        Value v = engine.load(operand(l->getPointerOperand()), size, guard, place(i), pointer);
        if (l->isVolatile()) // others can write it at any time
            v = Value::of(engine.volatile_value(operand(l->getPointerOperand()), size), v.poison);
        if (!pointer && l->getType()->getIntegerBitWidth() != size * 8) {
            const Term low = extract(l->getType()->getIntegerBitWidth() - 1, 0, v.bits);
            v.bits = l->getType()->isIntegerTy(1) ? to_bool(low) : low;
        }
        if (i.hasMetadata(llvm::LLVMContext::MD_noundef))
            engine.require(guard, lnot(v.poison), "loaded value is set", place(i));
        names[&i] = v;
        return true;
    }
    if (auto* s = llvm::dyn_cast<llvm::StoreInst>(&i)) {
        Value v = operand(s->getValueOperand());
        const uint64_t size = layout.getTypeStoreSize(s->getValueOperand()->getType());
        if (v.kind == Value::Kind::aggregate)
            throw Unsupported("store of an aggregate in " + place(i));
        if (v.kind == Value::Kind::bits)
            v.bits = zext(v.bits, static_cast<unsigned>(size * 8));
        engine.store(operand(s->getPointerOperand()), v, size, guard, place(i));
        return true;
    }
    if (auto* a = llvm::dyn_cast<llvm::AllocaInst>(&i)) {
        if (a->isArrayAllocation() && !llvm::isa<llvm::ConstantInt>(a->getArraySize()))
            throw Unsupported("alloca of a variable size in " + place(i));
        if (a->isArrayAllocation() && !llvm::cast<llvm::ConstantInt>(a->getArraySize())->isOne())
            throw Unsupported("alloca of an array in " + place(i));
        names[&i] = Value::to(engine.objects_.local("local", a->getAllocatedType()));
        return true;
    }
    if (auto* f = llvm::dyn_cast<llvm::FreezeInst>(&i)) {
        Value v = operand(f->getOperand(0));
        if (v.kind != Value::Kind::bits)
            throw Unsupported("freeze in " + place(i));
        if (!is_false(v.poison))
            v.bits = ite(v.poison, fresh_bits("frozen", width_of(v.bits)), v.bits);
        v.poison = truth(false);
        names[&i] = v;
        return true;
    }
    if (auto* e = llvm::dyn_cast<llvm::ExtractValueInst>(&i)) {
        Value v = operand(e->getAggregateOperand());
        for (unsigned index : e->indices())
            v = Value(v.parts.at(index));
        names[&i] = v;
        return true;
    }
    if (auto* e = llvm::dyn_cast<llvm::InsertValueInst>(&i)) {
        Value v = operand(e->getAggregateOperand());
        Value* at = &v;
        for (unsigned index : e->indices())
            at = &at->parts.at(index);
        *at = operand(e->getInsertedValueOperand());
        names[&i] = v;
        return true;
    }
    if (auto* c = llvm::dyn_cast<llvm::CallBase>(&i)) {
        bool ends = false;
        const Value v = call(*c, guard, ends);
        if (!i.getType()->isVoidTy() && !ends)
            names[&i] = v;
        return !ends;
    }
    throw Unsupported(std::string("instruction ") + i.getOpcodeName() + " in " + place(i));
}

} // namespace horos::proofs
