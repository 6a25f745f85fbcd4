// Control flow: blocks in topological order under guards, joins as if-then-else, loops unrolled.
#include "execute.hpp"

#include <llvm/ADT/PostOrderIterator.h>
#include <llvm/IR/CFG.h>

namespace horos::proofs {

llvm::Function* Program::find(const std::string& symbol, const llvm::Module* prefer) const {
    if (prefer != nullptr) {
        llvm::Function* f = prefer->getFunction(symbol);
        if (f != nullptr && !f->isDeclaration())
            return f;
    }
    for (const auto& module : modules) {
        llvm::Function* f = module->getFunction(symbol);
        if (f != nullptr && !f->isDeclaration() && !f->hasLocalLinkage())
            return f;
    }
    return nullptr;
}

Shape& shape_of(llvm::Function& function, Objects& objects) {
    std::shared_ptr<Shape>& shape = objects.shapes[&function];
    if (!shape) {
        shape = std::make_shared<Shape>();
        shape->dominators.recalculate(function);
        shape->post_dominators.recalculate(function);
        shape->loops.analyze(shape->dominators);
        llvm::ReversePostOrderTraversal<llvm::Function*> order(&function);
        shape->order.assign(order.begin(), order.end());
    }
    return *shape;
}

Outcome Executor::run(llvm::Function& function, const std::vector<Value>& arguments,
                      const Guard& guard) {
    if (function.isDeclaration())
        throw Unsupported("no body: " + function.getName().str());
    if (++depth_ > 64)
        throw Unsupported("recursion in " + function.getName().str());
    Activation a(*this, function);
    for (size_t i = 0; i < function.arg_size(); ++i)
        a.names[function.getArg(static_cast<unsigned>(i))] = arguments.at(i);
    a.pending[&function.getEntryBlock()].push_back({nullptr, guard, {}, 0});
    const size_t stops_before = stops.size();
    a.run_blocks(a.shape.order, nullptr);
    --depth_;

    Outcome out;
    std::vector<Guard> guards;
    for (const auto& r : a.returns) {
        guards.push_back(r.guard);
        out.steps = std::max(out.steps, r.steps);
    }
    out.returns = stops.size() == stops_before && !a.returns.empty() ? guard : Guard::join(guards);
    for (size_t i = a.returns.size(); i-- > 0;)
        out.value = out.value.kind == Value::Kind::nothing
                        ? a.returns[i].value
                        : choose(a.returns[i].guard.relative_to(out.returns), a.returns[i].value,
                                 out.value);
    if (a.returns.size() > 1) {
        std::vector<std::pair<const Guard*, const Value*>> from;
        for (const auto& r : a.returns)
            from.emplace_back(&r.guard, &r.value);
        out.value.origins = merged_origins(from, out.value);
    }
    return out;
}

void Activation::run_blocks(const std::vector<llvm::BasicBlock*>& blocks, const llvm::Loop* loop) {
    for (llvm::BasicBlock* block : blocks) {
        const llvm::Loop* own = shape.loops.getLoopFor(block);
        if (loop != nullptr && (!loop->contains(block) || block == loop->getHeader()))
            continue; // the header starts the round
        if (own != loop) {
            const bool child =
                own != nullptr && own->getHeader() == block && own->getParentLoop() == loop;
            if (child && !pending[block].empty())
                run_loop(*own);
            continue;
        }
        if (!pending[block].empty())
            run_block(*block);
    }
}

void Activation::run_loop(const llvm::Loop& loop) {
    llvm::BasicBlock* header = loop.getHeader();
    std::vector<const llvm::Instruction*> live; // used after the loop
    for (llvm::BasicBlock* block : loop.blocks()) {
        for (llvm::Instruction& i : *block) {
            for (const llvm::User* u : i.users()) {
                if (!loop.contains(llvm::cast<llvm::Instruction>(u)->getParent())) {
                    live.push_back(&i);
                    break;
                }
            }
        }
    }
    std::vector<std::pair<Term, std::vector<Value>>> rounds; // values at each round's exits
    for (unsigned round = 0; !pending[header].empty(); ++round) {
        if (round >= engine.policy_.max_iterations)
            throw Unsupported("no bound found for a loop in " + function.getName().str());
        if (round > 0) {
            std::vector<Guard> guards;
            for (const Edge& e : pending[header])
                guards.push_back(e.guard);
            const Guard again = Guard::join(guards);
            if (round >= engine.policy_.rounds_before_asking && engine.policy_.feasible &&
                !engine.policy_.feasible(again)) {
                pending[header].clear();
                break;
            }
        }
        leaving.push_back({&loop, {}});
        for (llvm::BasicBlock* block : loop.blocks()) {
            if (block != header)
                finished.erase(block);
        }
        run_block(*header);
        run_blocks(shape.order, &loop);
        std::vector<Term> exits;
        for (const Guard& g : leaving.back().second)
            exits.push_back(g.term());
        leaving.pop_back();
        std::vector<Value> values;
        for (const llvm::Instruction* i : live)
            values.push_back(names[i]);
        rounds.emplace_back(lor(exits), std::move(values));
    }
    for (size_t i = 0; i < live.size(); ++i) {
        Value all;
        for (size_t r = rounds.size(); r-- > 0;) {
            const Value& v = rounds[r].second[i];
            if (is_false(rounds[r].first) || v.kind == Value::Kind::nothing)
                continue;
            all = all.kind == Value::Kind::nothing ? v : choose(rounds[r].first, v, all);
        }
        names[live[i]] = all;
    }
}

// Joins the edges into the block: its guard, and its phis' values.
Guard Activation::enter(llvm::BasicBlock& block, std::vector<Edge> edges) {
    std::vector<Guard> guards;
    uint64_t longest = 0;
    for (const Edge& e : edges) {
        guards.push_back(e.guard);
        longest = std::max(longest, e.steps);
    }
    steps = longest;
    Guard guard = Guard::join(guards);
    // A block that always follows an earlier one runs whenever that did. (Of the same round of a
    // loop, and if no path has stopped in between.)
    const auto* node = shape.dominators.getNode(&block);
    const auto* dominator = edges.size() > 1 ? node->getIDom() : nullptr;
    while (dominator != nullptr &&
           shape.loops.getLoopFor(dominator->getBlock()) != shape.loops.getLoopFor(&block))
        dominator = dominator->getIDom();
    if (dominator != nullptr) {
        const auto known = finished.find(dominator->getBlock());
        if (known != finished.end() && known->second.second == engine.stops.size() &&
            shape.post_dominators.dominates(&block, dominator->getBlock()))
            guard = known->second.first;
    }
    size_t n = 0;
    for (llvm::PHINode& phi : block.phis()) {
        Value value;
        for (size_t e = edges.size(); e-- > 0;)
            value = value.kind == Value::Kind::nothing
                        ? edges[e].phis[n]
                        : choose(edges[e].guard.relative_to(guard), edges[e].phis[n], value);
        if (edges.size() > 1) {
            std::vector<std::pair<const Guard*, const Value*>> from;
            for (const Edge& e : edges)
                from.emplace_back(&e.guard, &e.phis[n]);
            value.origins = merged_origins(from, value);
        }
        names[&phi] = value;
        ++n;
    }
    return guard;
}

void Activation::go(llvm::BasicBlock& from, llvm::BasicBlock& to, const Guard& guard) {
    if (guard.impossible())
        return;
    Edge edge{&from, guard, {}, steps};
    for (llvm::PHINode& phi : to.phis())
        edge.phis.push_back(operand(phi.getIncomingValueForBlock(&from)));
    for (auto& [loop, guards] : leaving) {
        if (loop->contains(&from) && !loop->contains(&to))
            guards.push_back(guard);
    }
    pending[&to].push_back(std::move(edge));
}

void Activation::run_block(llvm::BasicBlock& block) {
    std::vector<Edge> edges = std::move(pending[&block]);
    pending[&block].clear();
    Guard guard = enter(block, std::move(edges));
    if (guard.impossible())
        return;
    for (llvm::Instruction& i : block) {
        if (llvm::isa<llvm::PHINode>(i) || i.isDebugOrPseudoInst())
            continue;
        ++steps;
        if (i.isTerminator()) {
            finished[&block] = {guard, engine.stops.size()};
            leave(block, i, guard);
            return;
        }
        if (!execute(i, guard))
            return;
    }
}

namespace {

// The condition as what makes the one path of those that it came about by on which it holds, or on
// which it does not, if there is but one: known are then all conditions of that path.
Term only_origin(const Value& condition, const Guard& guard) {
    const Term known = guard.fold(condition.bits);
    if (!condition.origins || is_true(known) || is_false(known))
        return known;
    for (const bool side : {true, false}) {
        std::vector<Guard> paths;
        for (const Origin& origin : *condition.origins) {
            const Guard path =
                guard.and_also(origin.path).with(side ? origin.bits : lnot(origin.bits));
            if (!path.impossible())
                paths.push_back(path);
            if (paths.size() > 1)
                break;
        }
        if (paths.empty())
            return truth(!side);
        if (paths.size() == 1) {
            const Term rest = paths[0].relative_to(guard);
            return side ? rest : lnot(rest);
        }
    }
    return known;
}

} // namespace

void Activation::leave(llvm::BasicBlock& block, llvm::Instruction& last, Guard guard) {
    if (auto* branch = llvm::dyn_cast<llvm::BranchInst>(&last)) {
        if (branch->isUnconditional())
            return go(block, *branch->getSuccessor(0), guard);
        const Value condition = operand(branch->getCondition());
        engine.require(guard, lnot(condition.poison), "condition is set", place(last));
        const Term known = only_origin(condition, guard);
        go(block, *branch->getSuccessor(0), guard.with(known));
        go(block, *branch->getSuccessor(1), guard.with(lnot(known)));
        return;
    }
    if (auto* choice = llvm::dyn_cast<llvm::SwitchInst>(&last)) {
        const Value on = operand(choice->getCondition());
        engine.require(guard, lnot(on.poison), "condition is set", place(last));
        Guard rest = guard;
        // Cases with the same target make one edge, as their phis agree.
        std::vector<std::pair<llvm::BasicBlock*, std::vector<Term>>> targets;
        for (const auto& one : choice->cases()) {
            const Term is = eq(on.bits, num(width_of(on.bits), one.getCaseValue()->getZExtValue()));
            rest = rest.with(lnot(is));
            auto at = std::find_if(targets.begin(), targets.end(), [&](const auto& t) {
                return t.first == one.getCaseSuccessor();
            });
            if (at == targets.end())
                at = targets.insert(targets.end(), {one.getCaseSuccessor(), {}});
            at->second.push_back(is);
        }
        for (const auto& [target, conditions] : targets) {
            const Term any = lor(conditions);
            if (target == choice->getDefaultDest())
                continue;
            go(block, *target, guard.with(any));
        }
        std::vector<Term> others;
        for (const auto& [target, conditions] : targets) {
            if (target == choice->getDefaultDest())
                others = conditions;
        }
        if (others.empty())
            return go(block, *choice->getDefaultDest(), rest);
        others.push_back(rest.relative_to(guard));
        return go(block, *choice->getDefaultDest(), guard.with(lor(others)));
    }
    if (auto* ret = llvm::dyn_cast<llvm::ReturnInst>(&last)) {
        Value value;
        if (ret->getReturnValue() != nullptr)
            value = operand(ret->getReturnValue());
        if (function.hasRetAttribute(llvm::Attribute::NoUndef) &&
            value.kind != Value::Kind::nothing)
            engine.require(guard, lnot(value.poison), "result is set", place(last));
        returns.push_back({guard, value, steps});
        return;
    }
    if (llvm::isa<llvm::UnreachableInst>(last)) {
        engine.require(guard, truth(false), "unreachable code is not reached", place(last));
        return;
    }
    throw Unsupported(std::string("terminator ") + last.getOpcodeName() + " in " + place(last));
}

} // namespace horos::proofs
