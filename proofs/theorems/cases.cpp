// A step's paths apart: what is true of a path makes the terms of the state after it small.
#include "theorem.hpp"

#include <algorithm>

namespace horos::proofs {

namespace {

struct Split {
    std::vector<Guard> writes; // one for each set of conditions under which something is written
    size_t most;
    std::vector<Guard> cases;

    // The condition that most of the writes depend on, of those that are open; null: none is.
    Term next(const Guard& at) const {
        std::map<Term, size_t> uses;
        for (const Guard& w : writes) {
            if (at.excludes(w))
                continue;
            for (const Term literal : w.literals()) {
                const Term known = at.fold(literal);
                if (!is_true(known) && !is_false(known))
                    ++uses[std::min(literal, lnot(literal))];
            }
        }
        const auto best =
            std::max_element(uses.begin(), uses.end(), [](const auto& a, const auto& b) {
                return a.second != b.second
                           ? a.second < b.second
                           : Z3_get_ast_id(context(), a.first) > Z3_get_ast_id(context(), b.first);
            });
        return best == uses.end() ? nullptr : best->first;
    }
    bool writes_something(const Guard& at) const {
        return std::any_of(writes.begin(), writes.end(),
                           [&](const Guard& w) { return !at.excludes(w); });
    }
    void run(const Guard& start) {
        cases = {start};
        for (size_t i = 0; i < cases.size();) {
            const Term on = cases.size() < most ? next(cases[i]) : nullptr;
            if (on == nullptr) {
                ++i;
                continue;
            }
            const Guard both[] = {cases[i].with(on), cases[i].with(lnot(on))};
            cases.erase(cases.begin() + static_cast<long>(i));
            for (const Guard& g : both) {
                if (!g.impossible() && writes_something(g))
                    cases.push_back(g);
            }
        }
    }
};

} // namespace

std::vector<Guard> writing_cases(const Kernel& kernel, const std::vector<const World*>& worlds,
                                 const std::set<const Object*>& tables, size_t most) {
    Split split{{}, most, {}};
    for (const auto& object : kernel.objects.all()) {
        // Reading what is no table is not recorded: always taken to matter.
        const bool is_table = llvm::isa<llvm::ArrayType>(object->type);
        const bool is_global =
            object->storage == Storage::table || object->storage == Storage::view;
        if (!is_global || (is_table && !tables.contains(object.get())))
            continue;
        for (const World* world : worlds) {
            for (const Entry& e : world->log(*object)) {
                if (std::find(split.writes.begin(), split.writes.end(), e.guard) ==
                    split.writes.end())
                    split.writes.push_back(e.guard);
            }
        }
    }
    if (split.writes.empty())
        return {};
    std::vector<Term> common = split.writes[0].literals();
    for (const Guard& w : split.writes)
        std::erase_if(common, [&](Term literal) { return !is_true(w.fold(literal)); });
    Guard start;
    for (const Term literal : common)
        start = start.with(literal);
    split.run(start);
    return split.cases;
}

std::vector<Term> any_place(const Kernel::Invariant& invariant) {
    std::vector<Term> at;
    if (invariant.domain.first != Over::nothing)
        at.push_back(named_bits("any", 32));
    if (invariant.domain.second != Over::nothing)
        at.push_back(named_bits("any2", 32));
    return at;
}

std::optional<std::vector<Guard>> changing_cases(Step& step, const Kernel::Invariant& invariant,
                                                 const std::vector<Term>& at) {
    Kernel::Touches touched;
    if (step.kernel.instance(invariant, at, step.kernel.old, &touched) ==
        step.kernel.instance(invariant, at, step.now, &touched))
        return std::nullopt;
    std::set<const Object*> tables{step.kernel.objects.find("frames")};
    for (const auto& [object, indices] : touched)
        tables.insert(object);
    return writing_cases(step.kernel, {&step.now}, tables);
}

} // namespace horos::proofs
