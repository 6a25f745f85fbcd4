// Arithmetic, casts and comparisons, and when their result is poison.
#include "execute.hpp"

namespace horos::proofs {

using llvm::Instruction;

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

static Value with_origins(Value value, const Value& from,
                          const std::function<Term(Term)>& function) {
    value.origins = origins_of(from, function);
    return value;
}

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
        if (constant(b))
            return with_origins(Value::of(bxor(a, b), poison), x,
                                [b](Term t) { return bxor(t, b); });
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
    if (i.getOpcode() == Instruction::PtrToInt && i.getType()->isIntegerTy())
        return number_of(x, i.getType()->getIntegerBitWidth());
    if (!i.getType()->isIntegerTy() || x.kind != Value::Kind::bits)
        throw Unsupported(std::string("cast ") + i.getOpcodeName() + " in " + place(i));
    const unsigned w = i.getType()->getIntegerBitWidth();
    Term poison = x.poison;
    switch (i.getOpcode()) {
    case Instruction::ZExt:
        if (i.hasNonNeg() && !is_bool(x.bits))
            poison = lor(poison, slt(x.bits, num(width_of(x.bits), 0)));
        return with_origins(Value::of(zext(x.bits, w), poison), x,
                            [w](Term t) { return zext(t, w); });
    case Instruction::SExt:
        return Value::of(sext(x.bits, w), poison);
    case Instruction::Trunc: {
        const Term low = extract(w - 1, 0, x.bits);
        const auto& t = llvm::cast<llvm::TruncInst>(i);
        if (t.hasNoUnsignedWrap())
            poison = lor(poison, lnot(eq(zext(low, width_of(x.bits)), x.bits)));
        if (t.hasNoSignedWrap())
            poison = lor(poison, lnot(eq(sext(low, width_of(x.bits)), x.bits)));
        const auto cut = [w](Term t) {
            const Term part = extract(w - 1, 0, t);
            return w == 1 ? to_bool(part) : part;
        };
        return with_origins(Value::of(cut(x.bits), poison), x, cut);
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

static Term compared(llvm::CmpInst::Predicate p, Term x, Term y) {
    if (is_bool(x) && !llvm::ICmpInst::isEquality(p)) {
        x = extract(0, 0, x);
        y = extract(0, 0, y);
    }
    switch (p) {
    case llvm::CmpInst::ICMP_EQ:
        return eq(x, y);
    case llvm::CmpInst::ICMP_NE:
        return lnot(eq(x, y));
    case llvm::CmpInst::ICMP_ULT:
        return ult(x, y);
    case llvm::CmpInst::ICMP_ULE:
        return ule(x, y);
    case llvm::CmpInst::ICMP_UGT:
        return ult(y, x);
    case llvm::CmpInst::ICMP_UGE:
        return ule(y, x);
    case llvm::CmpInst::ICMP_SLT:
        return slt(x, y);
    case llvm::CmpInst::ICMP_SLE:
        return sle(x, y);
    case llvm::CmpInst::ICMP_SGT:
        return slt(y, x);
    case llvm::CmpInst::ICMP_SGE:
        return sle(y, x);
    default:
        throw Unsupported("comparison that is none of integers");
    }
}

Value Activation::compare(llvm::ICmpInst& i) {
    const Value a = operand(i.getOperand(0));
    const Value b = operand(i.getOperand(1));
    if (a.kind == Value::Kind::pointer)
        return compare_pointers(i.getPredicate(), a, b);
    if (a.kind != Value::Kind::bits)
        throw Unsupported("comparison in " + place(i));
    const auto p = i.getPredicate();
    Value v = Value::of(compared(p, a.bits, b.bits), lor(a.poison, b.poison));
    if (a.origins && constant(b.bits))
        v.origins = origins_of(a, [&](Term t) { return compared(p, t, b.bits); });
    else if (b.origins && constant(a.bits))
        v.origins = origins_of(b, [&](Term t) { return compared(p, a.bits, t); });
    return v;
}

} // namespace horos::proofs
