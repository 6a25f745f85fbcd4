// The condition under which a block runs: a conjunction of literals. Kept as literals so that "this
// store is always before that load" and "never both" are mostly seen without a solver.
#pragma once
#include "terms.hpp"

namespace horos::proofs {

class Guard {
public:
    Guard() = default;
    static Guard never();

    const std::vector<Term>& literals() const { return literals_; }
    Term term() const;
    bool impossible() const { return impossible_; }

    Guard with(Term condition) const; // this and the condition
    Guard and_also(const Guard& other) const;
    bool implies(const Guard& other) const;      // seen from the literals; false = not known
    bool excludes(const Guard& other) const;     // likewise
    Term fold(Term condition) const;             // true or false if the literals decide it
    Term pick(Term number, int depth = 4) const; // without alternatives that they exclude
    Term narrowed(Term number) const;            // without bits of an argument that they exclude
    Term relative_to(const Guard& weaker) const; // the literals that the other has not
    static Guard join(const std::vector<Guard>& any);

    bool operator==(const Guard&) const = default;

private:
    bool knows(Term condition) const;
    Term decide(Term condition, int depth) const;

    std::vector<Term> literals_; // sorted by age
    bool impossible_ = false;
};

} // namespace horos::proofs
