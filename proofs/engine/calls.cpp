// Calls: in place, intrinsics, and functions outside whose effect the policy names.
#include "execute.hpp"

#include <llvm/IR/InlineAsm.h>
#include <llvm/IR/Intrinsics.h>

namespace horos::proofs {

Value Activation::call(llvm::CallBase& i, Guard& guard, bool& ends) {
    if (auto* known = llvm::dyn_cast<llvm::IntrinsicInst>(&i)) {
        Value result;
        if (!intrinsic(*known, guard, result, ends))
            throw Unsupported("intrinsic " + i.getCalledFunction()->getName().str() + " in " +
                              place(i));
        return result;
    }
    Call c;
    c.place = place(i);
    c.instruction = &i;
    c.guard = guard;
    for (unsigned n = 0; n < i.arg_size(); ++n) {
        c.arguments.push_back(operand(i.getArgOperand(n)));
        if (i.paramHasAttr(n, llvm::Attribute::NoUndef))
            engine.require(guard, lnot(c.arguments.back().poison), "argument is set", c.place);
    }
    if (const auto* text = llvm::dyn_cast<llvm::InlineAsm>(i.getCalledOperand())) {
        c.name = "asm " + text->getAsmString();
    } else {
        auto* callee = llvm::dyn_cast<llvm::Function>(i.getCalledOperand());
        if (callee == nullptr)
            throw Unsupported("call through a pointer in " + c.place);
        c.name = Objects::plain_name(callee->getName());
        Value known;
        if (engine.policy_.summary && engine.policy_.summary(engine, c, known))
            return known;
        if (!callee->isDeclaration()) {
            const Outcome out = engine.run(*callee, c.arguments, guard);
            steps += out.steps;
            guard = out.returns;
            ends = guard.impossible();
            return out.value;
        }
    }
    Value result;
    if (!engine.policy_.external || !engine.policy_.external(engine, c, result))
        throw Unsupported("no effect is declared for '" + c.name + "', called in " + c.place);
    if (i.doesNotReturn() || c.ends) {
        engine.stops.push_back(guard);
        ends = true;
    }
    return result;
}

namespace {

Term count_trailing(Term a, unsigned w) {
    Term n = num(w, w);
    for (unsigned i = w; i-- > 0;)
        n = ite(to_bool(extract(i, i, a)), num(w, i), n);
    return n;
}
Term count_leading(Term a, unsigned w) {
    Term n = num(w, w);
    for (unsigned i = 0; i < w; ++i)
        n = ite(to_bool(extract(i, i, a)), num(w, w - 1 - i), n);
    return n;
}
Term population(Term a, unsigned w) {
    Term n = num(w, 0);
    for (unsigned i = 0; i < w; ++i)
        n = add(n, zext(extract(i, i, a), w));
    return n;
}
Term byte_swap(Term a, unsigned w) {
    Term r = extract(7, 0, a);
    for (unsigned i = 8; i < w; i += 8)
        r = concat(r, extract(i + 7, i, a));
    return r;
}

} // namespace

bool Activation::intrinsic(llvm::IntrinsicInst& i, const Guard& guard, Value& result, bool& ends) {
    const auto argument = [&](unsigned n) { return operand(i.getArgOperand(n)); };
    const auto length = [&] {
        const auto k = constant(argument(2).bits);
        if (!k)
            throw Unsupported("memory intrinsic of a variable length in " + place(i));
        return *k;
    };
    Term a = nullptr;
    Term b = nullptr;
    Term poison = truth(false);
    const bool on_bits = i.arg_size() > 0 && i.getType()->isIntegerTy() &&
                         i.getArgOperand(0)->getType()->isIntegerTy();
    if (on_bits) {
        a = argument(0).bits;
        poison = argument(0).poison;
        if (i.arg_size() > 1) {
            b = argument(1).bits;
            poison = lor(poison, argument(1).poison);
        }
    }
    const unsigned w = a != nullptr ? width_of(a) : 0;
    switch (i.getIntrinsicID()) {
    case llvm::Intrinsic::lifetime_start:
    case llvm::Intrinsic::lifetime_end:
    case llvm::Intrinsic::experimental_noalias_scope_decl:
    case llvm::Intrinsic::dbg_value:
    case llvm::Intrinsic::dbg_declare:
    case llvm::Intrinsic::dbg_assign:
        return true;
    case llvm::Intrinsic::memset: {
        const Value byte = argument(1);
        const auto k = constant(byte.bits);
        if (!k)
            throw Unsupported("memset to a variable byte in " + place(i));
        engine.fill(argument(0), static_cast<uint8_t>(*k), length(), guard, place(i));
        return true;
    }
    case llvm::Intrinsic::memcpy:
    case llvm::Intrinsic::memmove:
        engine.copy(argument(0), argument(1), length(), guard, place(i));
        return true;
    case llvm::Intrinsic::assume:
        engine.require(guard, land(argument(0).bits, lnot(argument(0).poison)),
                       "compiler's assumption holds", place(i));
        return true;
    case llvm::Intrinsic::trap:
    case llvm::Intrinsic::ubsantrap:
    case llvm::Intrinsic::debugtrap:
        engine.require(guard, truth(false), "trap is not reached", place(i));
        engine.stops.push_back(guard);
        ends = true;
        return true;
    case llvm::Intrinsic::umin:
        result = Value::of(ite(ult(a, b), a, b), poison);
        return true;
    case llvm::Intrinsic::umax:
        result = Value::of(ite(ult(a, b), b, a), poison);
        return true;
    case llvm::Intrinsic::smin:
        result = Value::of(ite(slt(a, b), a, b), poison);
        return true;
    case llvm::Intrinsic::smax:
        result = Value::of(ite(slt(a, b), b, a), poison);
        return true;
    case llvm::Intrinsic::usub_sat:
        result = Value::of(ite(ult(a, b), num(w, 0), sub(a, b)), poison);
        return true;
    case llvm::Intrinsic::uadd_sat:
        result = Value::of(ite(ult(add(a, b), a), num(w, ~uint64_t{0}), add(a, b)), poison);
        return true;
    case llvm::Intrinsic::cttz:
    case llvm::Intrinsic::ctlz:
        poison = lor(argument(0).poison, land(argument(1).bits, eq(a, num(w, 0))));
        result = Value::of(i.getIntrinsicID() == llvm::Intrinsic::cttz ? count_trailing(a, w)
                                                                       : count_leading(a, w),
                           poison);
        return true;
    case llvm::Intrinsic::ctpop:
        result = Value::of(population(a, w), poison);
        return true;
    case llvm::Intrinsic::bswap:
        result = Value::of(byte_swap(a, w), poison);
        return true;
    case llvm::Intrinsic::abs:
        poison =
            lor(argument(0).poison, land(argument(1).bits, eq(a, num(w, uint64_t{1} << (w - 1)))));
        result = Value::of(ite(slt(a, num(w, 0)), sub(num(w, 0), a), a), poison);
        return true;
    case llvm::Intrinsic::fshl:
    case llvm::Intrinsic::fshr: {
        const Value by = argument(2);
        const bool left = i.getIntrinsicID() == llvm::Intrinsic::fshl;
        const Term n = urem(by.bits, num(w, w));
        const Term rest = sub(num(w, w), n);
        const Term r = left ? bor(shl(a, n), lshr(b, rest)) : bor(lshr(b, n), shl(a, rest));
        result = Value::of(ite(eq(n, num(w, 0)), left ? a : b, r), lor(poison, by.poison));
        return true;
    }
    default:
        return with_overflow(i, result);
    }
}

// Arithmetic that says whether it overflowed: at twice the width.
bool Activation::with_overflow(llvm::IntrinsicInst& i, Value& result) {
    const auto* known = llvm::dyn_cast<llvm::WithOverflowInst>(&i);
    if (known == nullptr)
        return false;
    const Value x = operand(known->getLHS());
    const Value y = operand(known->getRHS());
    const unsigned w = width_of(x.bits);
    const auto wide = [&](Term t) { return known->isSigned() ? sext(t, 2 * w) : zext(t, 2 * w); };
    Term r = nullptr;
    switch (known->getBinaryOp()) {
    case llvm::Instruction::Add:
        r = add(wide(x.bits), wide(y.bits));
        break;
    case llvm::Instruction::Sub:
        r = sub(wide(x.bits), wide(y.bits));
        break;
    default:
        r = mul(wide(x.bits), wide(y.bits));
    }
    const Term low = extract(w - 1, 0, r);
    const Term poison = lor(x.poison, y.poison);
    result = Value::of_parts({Value::of(low, poison), Value::of(lnot(eq(wide(low), r)), poison)});
    return true;
}

} // namespace horos::proofs
