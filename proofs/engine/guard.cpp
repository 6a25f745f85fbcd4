#include "guard.hpp"
#include "term_shape.hpp"

#include <algorithm>

namespace horos::proofs {

namespace {

bool is_and(Term t) { return shape::is(t, Z3_OP_AND); }

constexpr int levels = 4;       // of a condition, or of an index, that are looked at
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
    more.literals_.insert(
        std::lower_bound(more.literals_.begin(), more.literals_.end(), condition, made_before),
        condition);
    return more;
}

Guard Guard::and_also(const Guard& other) const {
    if (impossible_ || other.impossible_)
        return never();
    if (other.implies(*this))
        return other;
    // What one knows of several conditions may contradict a condition of the other's made of them.
    const auto contradicts = [](const Guard& known, const Guard& by) {
        return std::any_of(by.literals_.begin(), by.literals_.end(),
                           [&](Term literal) { return is_false(known.fold(literal)); });
    };
    if (contradicts(*this, other) || contradicts(other, *this))
        return never();
    Guard both = *this;
    for (const Term literal : other.literals_)
        both = both.with(literal);
    return both;
}

bool Guard::implies(const Guard& other) const {
    if (impossible_)
        return true;
    return !other.impossible_ &&
           std::includes(literals_.begin(), literals_.end(), other.literals_.begin(),
                         other.literals_.end(), made_before);
}

bool Guard::excludes(const Guard& other) const {
    if (impossible_ || other.impossible_)
        return true;
    return std::any_of(literals_.begin(), literals_.end(), [&](Term l) {
        return std::binary_search(other.literals_.begin(), other.literals_.end(), lnot(l),
                                  made_before);
    });
}

bool Guard::knows(Term condition) const {
    return std::binary_search(literals_.begin(), literals_.end(), condition, made_before);
}

// The condition, or what it is known to be by itself or by its parts.
Term Guard::decide(Term condition, int depth) const {
    if (is_true(condition) || knows(condition))
        return truth(true);
    if (is_false(condition) || knows(lnot(condition)))
        return truth(false);
    if (depth == 0)
        return condition;
    if (shape::is(condition, Z3_OP_NOT)) {
        const Term inner = decide(shape::arg(condition, 0), depth - 1);
        return is_true(inner) || is_false(inner) ? lnot(inner) : condition;
    }
    if (!shape::is(condition, Z3_OP_AND) && !shape::is(condition, Z3_OP_OR))
        return condition;
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

Term Guard::pick(Term number, int depth) const {
    if (shape::is(number, Z3_OP_ITE)) {
        const Term on = fold(shape::arg(number, 0));
        if (is_true(on))
            return pick(shape::arg(number, 1), depth);
        if (is_false(on))
            return pick(shape::arg(number, 2), depth);
        if (depth == 0)
            return number;
        return ite(on, pick(shape::arg(number, 1), depth - 1),
                   pick(shape::arg(number, 2), depth - 1));
    }
    if (depth > 0 && shape::is(number, Z3_OP_ZERO_EXT))
        return zext(pick(shape::arg(number, 0), depth - 1), width_of(number));
    return number;
}

// An argument that is known to be small has one form, whatever part of it is taken: of extract(31,
// 0, x) and x < 2^10, what can be other than 0.
Term Guard::narrowed(Term number) const {
    const bool wider = shape::is(number, Z3_OP_ZERO_EXT);
    const Term part = wider ? shape::arg(number, 0) : number;
    if (!shape::is(part, Z3_OP_EXTRACT))
        return number;
    const Term whole = shape::arg(part, 0);
    if (shape::kind_of(whole) != Z3_OP_UNINTERPRETED || shape::arity(whole) != 0)
        return number;
    for (const Term literal : literals_) {
        if (!shape::is(literal, Z3_OP_ULT) || shape::arg(literal, 0) != whole)
            continue;
        const auto limit = constant(shape::arg(literal, 1));
        if (!limit || *limit < 2)
            continue;
        const unsigned bits = 64 - static_cast<unsigned>(__builtin_clzll(*limit - 1));
        const auto high = static_cast<unsigned>(shape::parameter(part, 0));
        const auto low = static_cast<unsigned>(shape::parameter(part, 1));
        if (bits > high)
            continue;
        return bits <= low ? num(width_of(number), 0)
                           : zext(extract(bits - 1, low, whole), width_of(number));
    }
    return number;
}

Term Guard::relative_to(const Guard& weaker) const {
    if (impossible_)
        return truth(false);
    std::vector<Term> rest;
    std::set_difference(literals_.begin(), literals_.end(), weaker.literals_.begin(),
                        weaker.literals_.end(), std::back_inserter(rest), made_before);
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
        std::vector<Term> both;
        std::set_intersection(common.literals_.begin(), common.literals_.end(), g.literals_.begin(),
                              g.literals_.end(), std::back_inserter(both), made_before);
        common.literals_ = both;
    }
    if (common.impossible_)
        return common;
    std::vector<Term> rests;
    for (const Guard& g : any)
        rests.push_back(g.relative_to(common));
    if (rests.size() == 2 && rests[0] == lnot(rests[1]))
        return common;
    return common.with(lor(rests));
}

} // namespace horos::proofs
