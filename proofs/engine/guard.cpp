#include "guard.hpp"

#include <algorithm>

namespace horos::proofs {

namespace {

bool is_and(Term t) {
    return Z3_get_ast_kind(context(), t) == Z3_APP_AST &&
           Z3_get_decl_kind(context(), Z3_get_app_decl(context(), Z3_to_app(context(), t))) ==
               Z3_OP_AND;
}

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
    more.literals_.insert(std::lower_bound(more.literals_.begin(), more.literals_.end(), condition),
                          condition);
    return more;
}

bool Guard::implies(const Guard& other) const {
    if (impossible_)
        return true;
    return !other.impossible_ && std::includes(literals_.begin(), literals_.end(),
                                               other.literals_.begin(), other.literals_.end());
}

bool Guard::excludes(const Guard& other) const {
    if (impossible_ || other.impossible_)
        return true;
    return std::any_of(literals_.begin(), literals_.end(), [&](Term l) {
        return std::binary_search(other.literals_.begin(), other.literals_.end(), lnot(l));
    });
}

Term Guard::fold(Term condition) const {
    if (std::binary_search(literals_.begin(), literals_.end(), condition))
        return truth(true);
    if (std::binary_search(literals_.begin(), literals_.end(), lnot(condition)))
        return truth(false);
    return condition;
}

Term Guard::relative_to(const Guard& weaker) const {
    if (impossible_)
        return truth(false);
    std::vector<Term> rest;
    std::set_difference(literals_.begin(), literals_.end(), weaker.literals_.begin(),
                        weaker.literals_.end(), std::back_inserter(rest));
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
                              g.literals_.end(), std::back_inserter(both));
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
