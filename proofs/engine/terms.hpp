// Terms: Z3 expressions with the folding that keeps them small. One context per process: each
// theorem is proved in a process of its own.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>
#include <z3.h>

namespace horos::proofs {

using Term = Z3_ast; // bit vector or Bool; i1 is Bool

Z3_context context();

Term num(unsigned width, uint64_t value);
Term truth(bool value);
Term fresh_bits(const std::string& name, unsigned width); // a new constant each time
Term fresh_bool(const std::string& name);
// From here on they are the ones that were made from the start, as long as the same are asked for:
// what is executed again has the same terms.
void restart_fresh();
Term named_bits(const std::string& name, unsigned width); // the same for the same name

// An order by address would make questions, and how long they take, depend on what else the process
// has in memory.
bool made_before(Term a, Term b);
struct ByAge {
    bool operator()(const std::vector<Term>& a, const std::vector<Term>& b) const;
};

bool is_bool(Term t);
unsigned width_of(Term t); // 1 for Bool
std::optional<uint64_t> constant(Term t);
bool is_true(Term t);
bool is_false(Term t);
std::string text(Term t);

Term lnot(Term a);
Term land(Term a, Term b);
Term land(const std::vector<Term>& all);
Term lor(Term a, Term b);
Term lor(const std::vector<Term>& all);
Term lxor(Term a, Term b);
Term implies(Term a, Term b);
Term ite(Term c, Term a, Term b);
Term eq(Term a, Term b);

Term add(Term a, Term b);
Term sub(Term a, Term b);
Term mul(Term a, Term b);
Term band(Term a, Term b);
Term bor(Term a, Term b);
Term bxor(Term a, Term b);
Term shl(Term a, Term b);
Term lshr(Term a, Term b);
Term ashr(Term a, Term b);
Term udiv(Term a, Term b);
Term urem(Term a, Term b);
Term sdiv(Term a, Term b);
Term srem(Term a, Term b);
Term ult(Term a, Term b);
Term ule(Term a, Term b);
Term slt(Term a, Term b);
Term sle(Term a, Term b);
Term extract(unsigned high, unsigned low, Term a);
Term zext(Term a, unsigned width); // also from Bool
Term sext(Term a, unsigned width);
Term concat(Term high, Term low);
Term to_bool(Term a);                // of a 1-bit vector or Bool
Term resize(Term a, unsigned width); // zext or truncation
Term apply(Z3_func_decl f, const std::vector<Term>& args);

} // namespace horos::proofs
