// Instructions: what each does. An instruction that is not here is refused.
#include "execute.hpp"

namespace horos::proofs {

using llvm::Instruction;

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
        if (v.kind == Value::Kind::bits && !is_true(c.bits) && !is_false(c.bits)) {
            const Guard yes = guard.with(c.bits);
            const Guard no = guard.with(lnot(c.bits));
            const Value a = operand(s->getTrueValue());
            const Value b = operand(s->getFalseValue());
            v.origins = merged_origins({{&yes, &a}, {&no, &b}}, v);
        }
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
            v = Value::of(engine.volatile_value(operand(l->getPointerOperand()), size, guard),
                          v.poison);
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
            v.origins = nullptr;
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
