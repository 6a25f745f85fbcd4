// The context, constants, and logic.
#include "term_shape.hpp"

#include <algorithm>
#include <map>

namespace horos::proofs {

using namespace shape;

Z3_context context() {
    static Z3_context the = [] {
        Z3_config config = Z3_mk_config();
        Z3_context made = Z3_mk_context(config); // terms live as long as the process
        Z3_del_config(config);
        return made;
    }();
    return the;
}

Term num(unsigned width, uint64_t value) {
    if (width > 64) {
        return zext(num(64, value), width);
    }
    return Z3_mk_unsigned_int64(c(), value & mask(width), Z3_mk_bv_sort(c(), width));
}
Term truth(bool value) {
    static Term t = Z3_mk_true(c());
    static Term f = Z3_mk_false(c());
    return value ? t : f;
}

namespace {

struct Fresh {
    std::string name;
    unsigned width;
    Term term;
};
std::vector<Fresh> made; // by fresh_bits(), in order
size_t next_made = 0;

} // namespace

Term fresh_bits(const std::string& name, unsigned width) {
    const bool again =
        next_made < made.size() && made[next_made].name == name && made[next_made].width == width;
    if (!again) {
        made.resize(next_made);
        made.push_back(
            {name, width,
             Z3_mk_fresh_const(c(), name.c_str(),
                               width == 1 ? Z3_mk_bool_sort(c()) : Z3_mk_bv_sort(c(), width))});
    }
    return made[next_made++].term;
}
void restart_fresh() { next_made = 0; }
Term fresh_bool(const std::string& name) { return fresh_bits(name, 1); }
Term named_bits(const std::string& name, unsigned width) {
    return Z3_mk_const(c(), Z3_mk_string_symbol(c(), name.c_str()),
                       width == 1 ? Z3_mk_bool_sort(c()) : Z3_mk_bv_sort(c(), width));
}
bool made_before(Term a, Term b) { return a != b && Z3_get_ast_id(c(), a) < Z3_get_ast_id(c(), b); }
bool ByAge::operator()(const std::vector<Term>& a, const std::vector<Term>& b) const {
    return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end(), made_before);
}
bool is_bool(Term t) { return Z3_get_sort_kind(c(), Z3_get_sort(c(), t)) == Z3_BOOL_SORT; }
unsigned width_of(Term t) {
    Z3_sort s = Z3_get_sort(c(), t);
    return Z3_get_sort_kind(c(), s) == Z3_BOOL_SORT ? 1 : Z3_get_bv_sort_size(c(), s);
}
std::optional<uint64_t> constant(Term t) {
    if (t == truth(true))
        return 1;
    if (t == truth(false))
        return 0;
    uint64_t v = 0;
    if (Z3_get_ast_kind(c(), t) == Z3_NUMERAL_AST && Z3_get_numeral_uint64(c(), t, &v))
        return v;
    return std::nullopt;
}
bool is_true(Term t) { return t == truth(true); }
bool is_false(Term t) { return t == truth(false); }
std::string text(Term t) { return Z3_ast_to_string(c(), t); }

Term lnot(Term a) {
    if (is_true(a))
        return truth(false);
    if (is_false(a))
        return truth(true);
    if (is(a, Z3_OP_NOT))
        return arg(a, 0);
    return Z3_mk_not(c(), a);
}
Term land(Term a, Term b) {
    if (is_false(a) || is_false(b))
        return truth(false);
    if (is_true(a) || a == b)
        return b;
    if (is_true(b))
        return a;
    if (lnot(a) == b)
        return truth(false);
    Term both[] = {a, b};
    return Z3_mk_and(c(), 2, both);
}
Term land(const std::vector<Term>& all) {
    std::vector<Term> kept;
    for (Term t : all) {
        if (is_false(t))
            return t;
        if (!is_true(t))
            kept.push_back(t);
    }
    if (kept.empty())
        return truth(true);
    return kept.size() == 1 ? kept[0]
                            : Z3_mk_and(c(), static_cast<unsigned>(kept.size()), kept.data());
}
Term lor(Term a, Term b) { return lnot(land(lnot(a), lnot(b))); }
Term lor(const std::vector<Term>& all) {
    std::vector<Term> kept;
    for (Term t : all) {
        if (is_true(t))
            return t;
        if (!is_false(t))
            kept.push_back(t);
    }
    if (kept.empty())
        return truth(false);
    return kept.size() == 1 ? kept[0]
                            : Z3_mk_or(c(), static_cast<unsigned>(kept.size()), kept.data());
}
Term lxor(Term a, Term b) {
    if (is_true(a))
        return lnot(b);
    if (is_true(b))
        return lnot(a);
    if (is_false(a))
        return b;
    if (is_false(b))
        return a;
    return a == b ? truth(false) : Z3_mk_xor(c(), a, b);
}
Term implies(Term a, Term b) { return lnot(land(a, lnot(b))); }

Term ite(Term condition, Term a, Term b) {
    if (is_true(condition) || a == b)
        return a;
    if (is_false(condition))
        return b;
    if (is(condition, Z3_OP_NOT))
        return ite(arg(condition, 0), b, a);
    if (is_bool(a)) {
        if (is_true(a))
            return lor(condition, b);
        if (is_false(a))
            return land(lnot(condition), b);
        if (is_true(b))
            return lor(lnot(condition), a);
        if (is_false(b))
            return land(condition, a);
    }
    if (is(a, Z3_OP_ITE) && arg(a, 0) == condition)
        a = arg(a, 1);
    if (is(b, Z3_OP_ITE) && arg(b, 0) == condition)
        b = arg(b, 2);
    return a == b ? a : Z3_mk_ite(c(), condition, a, b);
}

// A number that conditions choose among few.
static bool is_choice_of_constants(Term t, int depth = 6) {
    return constant(t) ||
           (depth > 0 && is(t, Z3_OP_ITE) && is_choice_of_constants(arg(t, 1), depth - 1) &&
            is_choice_of_constants(arg(t, 2), depth - 1));
}
static bool arity_two(Term t, Z3_decl_kind kind) { return is(t, kind) && arity(t) == 2; }

Term eq(Term a, Term b) {
    if (a == b)
        return truth(true);
    uint64_t x = 0;
    uint64_t y = 0;
    if (is_bool(a))
        return lnot(lxor(a, b));
    if (both(a, b, x, y))
        return truth(x == y);
    if (constant(a))
        std::swap(a, b);
    const auto k = constant(b);
    if (is(a, Z3_OP_ZERO_EXT)) {
        Term inner = arg(a, 0);
        const unsigned w = width_of(inner);
        if (k)
            return *k > mask(w) ? truth(false) : eq(inner, num(w, *k));
        if (is(b, Z3_OP_ZERO_EXT)) {
            Term other = arg(b, 0);
            const unsigned common = std::max(w, width_of(other));
            return eq(zext(inner, common), zext(other, common));
        }
    }
    if (k && is(a, Z3_OP_ITE)) {
        Term t = arg(a, 1);
        Term f = arg(a, 2);
        if (constant(t) || constant(f) || is_choice_of_constants(t) || is_choice_of_constants(f)) {
            static std::map<std::pair<Term, Term>, Term> done; // terms share their parts
            if (const auto at = done.find({a, b}); at != done.end())
                return at->second;
            const Term all = ite(arg(a, 0), eq(t, b), eq(f, b));
            done.emplace(std::pair{a, b}, all);
            return all;
        }
    }
    if (k && *k == 0 && arity_two(a, Z3_OP_BOR))
        return land(eq(arg(a, 0), b), eq(arg(a, 1), b));
    if (k && *k == 0 && arity_two(a, Z3_OP_BXOR))
        return eq(arg(a, 0), arg(a, 1));
    return Z3_mk_eq(c(), a, b);
}
Term to_bool(Term a) { return is_bool(a) ? a : eq(a, num(1, 1)); }
Term resize(Term a, unsigned width) {
    const unsigned w = width_of(a);
    return width <= w ? extract(width - 1, 0, a) : zext(a, width);
}
Term apply(Z3_func_decl f, const std::vector<Term>& args) {
    return Z3_mk_app(c(), f, static_cast<unsigned>(args.size()), args.data());
}

} // namespace horos::proofs
