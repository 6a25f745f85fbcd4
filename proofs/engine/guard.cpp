#include "guard.hpp"
#include "term_shape.hpp"

#include <algorithm>

namespace horos::proofs {

namespace {

bool is_and(Term t) { return shape::is(t, Z3_OP_AND); }

// Made of other conditions: what is known of those may decide it.
bool is_compound(Term t) {
    const Term inner = shape::is(t, Z3_OP_NOT) ? shape::arg(t, 0) : t;
    return shape::is(inner, Z3_OP_AND) || shape::is(inner, Z3_OP_OR);
}

// Of which one holds, if the condition does; empty: it is none of these.
std::vector<Term> alternatives(Term t) {
    const bool negated = shape::is(t, Z3_OP_NOT);
    const Term inner = negated ? shape::arg(t, 0) : t;
    if (!shape::is(inner, negated ? Z3_OP_AND : Z3_OP_OR))
        return {};
    std::vector<Term> parts;
    for (unsigned i = 0; i < shape::arity(inner); ++i)
        parts.push_back(negated ? lnot(shape::arg(inner, i)) : shape::arg(inner, i));
    return parts;
}

void add(std::vector<Term>& sorted, Term t) {
    sorted.insert(std::lower_bound(sorted.begin(), sorted.end(), t), t);
}

constexpr int levels = 4;       // of a condition that are looked at
constexpr unsigned widest = 16; // how many parts

} // namespace

Guard Guard::never() {
    Guard g;
    g.impossible_ = true;
    return g;
}

Term Guard::term() const { return impossible_ ? truth(false) : land(literals_); }

Guard Guard::with(Term condition) const {
    if (impossible_ || is_true(condition))
        return *this;
    if (is_false(condition))
        return never();
    if (is_and(condition)) {
        Guard all = *this;
        Z3_app app = Z3_to_app(context(), condition);
        for (unsigned i = 0; i < Z3_get_app_num_args(context(), app); ++i)
            all = all.with(Z3_get_app_arg(context(), app, i));
        return all;
    }
    const Term known = fold(condition);
    if (is_true(known))
        return *this;
    if (is_false(known))
        return never();
    Guard more = *this;
    add(more.literals_, condition);
    more.conclude();
    return more.impossible_ ? never() : more;
}

bool Guard::knows(Term condition) const {
    return std::binary_search(literals_.begin(), literals_.end(), condition) ||
           std::binary_search(facts_.begin(), facts_.end(), condition);
}

void Guard::learn(Term fact) {
    if (is_and(fact)) {
        for (unsigned i = 0; i < shape::arity(fact); ++i)
            learn(shape::arg(fact, i));
    } else if (!knows(fact)) {
        add(facts_, fact);
    }
}

// What is left of an alternative when the others are known not to be.
void Guard::conclude() {
    for (bool more = true; more && !impossible_;) {
        more = false;
        std::vector<Term> known = literals_;
        known.insert(known.end(), facts_.begin(), facts_.end());
        for (const Term fact : known) {
            const std::vector<Term> parts = alternatives(fact);
            if (parts.empty() || parts.size() > widest)
                continue;
            std::vector<Term> open;
            bool holds = false;
            for (const Term part : parts) {
                const Term now = decide(part, levels);
                holds = holds || is_true(now);
                if (!is_true(now) && !is_false(now))
                    open.push_back(part);
            }
            if (holds || open.size() > 1)
                continue;
            if (open.empty()) {
                impossible_ = true;
                return;
            }
            learn(open[0]);
            more = true;
        }
    }
}

bool Guard::implies(const Guard& other) const {
    if (impossible_)
        return true;
    return !other.impossible_ &&
           std::all_of(other.literals_.begin(), other.literals_.end(),
                       [&](Term l) { return knows(l) || is_true(decide(l, levels)); });
}

bool Guard::contradicts(Term condition) const {
    return is_compound(condition) && is_false(decide(condition, levels));
}

bool Guard::excludes(const Guard& other) const {
    if (impossible_ || other.impossible_)
        return true;
    return std::any_of(literals_.begin(), literals_.end(),
                       [&](Term l) { return other.knows(lnot(l)) || other.contradicts(l); }) ||
           std::any_of(other.literals_.begin(), other.literals_.end(),
                       [&](Term l) { return knows(lnot(l)) || contradicts(l); });
}

// The condition, or what it is known to be.
Term Guard::decide(Term condition, int depth) const {
    if (is_true(condition) || knows(condition))
        return truth(true);
    if (knows(lnot(condition)))
        return truth(false);
    if (depth == 0 || !is_compound(condition))
        return condition;
    if (shape::is(condition, Z3_OP_NOT)) {
        const Term inner = decide(shape::arg(condition, 0), depth - 1);
        return is_true(inner) || is_false(inner) ? lnot(inner) : condition;
    }
    // One part decides it, or all together do.
    const Term deciding = truth(shape::is(condition, Z3_OP_OR));
    const unsigned parts = shape::arity(condition);
    unsigned others = 0;
    for (unsigned i = 0; i < std::min(parts, widest); ++i) {
        const Term part = decide(shape::arg(condition, i), depth - 1);
        if (part == deciding)
            return deciding;
        others += part == lnot(deciding) ? 1 : 0;
    }
    return others == parts ? lnot(deciding) : condition;
}

Term Guard::fold(Term condition) const { return decide(condition, levels); }

Term Guard::relative_to(const Guard& weaker) const {
    if (impossible_)
        return truth(false);
    std::vector<Term> rest;
    std::copy_if(literals_.begin(), literals_.end(), std::back_inserter(rest),
                 [&](Term l) { return !weaker.knows(l); });
    return land(rest);
}

Guard Guard::join(const std::vector<Guard>& any) {
    Guard common = never();
    for (const Guard& g : any) {
        if (g.impossible_)
            continue;
        if (common.impossible_) {
            common = g;
            continue;
        }
        std::erase_if(common.facts_, [&](Term l) { return !g.knows(l); });
        for (const Term l : common.literals_) {
            if (std::binary_search(g.facts_.begin(), g.facts_.end(), l))
                add(common.facts_, l);
        }
        std::erase_if(common.literals_, [&](Term l) {
            return !std::binary_search(g.literals_.begin(), g.literals_.end(), l);
        });
    }
    if (common.impossible_)
        return common;
    // The facts follow from what is common and the rests together.
    Guard without_facts = common;
    without_facts.facts_.clear();
    std::vector<Term> rests;
    for (const Guard& g : any)
        rests.push_back(g.relative_to(without_facts));
    if (rests.size() == 2 && rests[0] == lnot(rests[1]))
        return common;
    Guard joined = without_facts.with(lor(rests));
    for (const Term fact : common.facts_)
        joined.learn(fact);
    joined.conclude();
    return joined;
}

} // namespace horos::proofs
