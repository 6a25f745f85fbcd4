// Arithmetic and comparisons.
#include "term_shape.hpp"

namespace horos::proofs {

using namespace shape;

Term add(Term a, Term b) {
    uint64_t x = 0;
    uint64_t y = 0;
    if (both(a, b, x, y))
        return num(width_of(a), x + y);
    if (constant(a))
        std::swap(a, b);
    if (const auto k = constant(b)) {
        if (*k == 0)
            return a;
        if (is(a, Z3_OP_BADD) && arity(a) == 2) {
            if (const auto inner = constant(arg(a, 1)))
                return add(arg(a, 0), num(width_of(a), *inner + *k));
        }
    }
    return Z3_mk_bvadd(c(), a, b);
}
Term sub(Term a, Term b) {
    if (a == b)
        return num(width_of(a), 0);
    if (const auto k = constant(b))
        return add(a, num(width_of(a), ~*k + 1));
    return Z3_mk_bvsub(c(), a, b);
}
Term mul(Term a, Term b) {
    uint64_t x = 0;
    uint64_t y = 0;
    if (both(a, b, x, y))
        return num(width_of(a), x * y);
    if (constant(a))
        std::swap(a, b);
    if (const auto k = constant(b)) {
        if (*k == 0)
            return b;
        if (*k == 1)
            return a;
        if ((*k & (*k - 1)) == 0)
            return shl(a, num(width_of(a), static_cast<uint64_t>(__builtin_ctzll(*k))));
    }
    return Z3_mk_bvmul(c(), a, b);
}
// By zero the value does not matter: it is an obligation that it does not happen.
Term udiv(Term a, Term b) {
    uint64_t x = 0;
    uint64_t y = 0;
    if (both(a, b, x, y) && y != 0)
        return num(width_of(a), x / y);
    if (const auto k = constant(b); k && *k != 0 && (*k & (*k - 1)) == 0)
        return lshr(a, num(width_of(a), static_cast<uint64_t>(__builtin_ctzll(*k))));
    return Z3_mk_bvudiv(c(), a, b);
}
Term urem(Term a, Term b) {
    uint64_t x = 0;
    uint64_t y = 0;
    if (both(a, b, x, y) && y != 0)
        return num(width_of(a), x % y);
    if (const auto k = constant(b); k && *k != 0 && (*k & (*k - 1)) == 0)
        return band(a, num(width_of(a), *k - 1));
    return Z3_mk_bvurem(c(), a, b);
}
Term sdiv(Term a, Term b) {
    uint64_t x = 0;
    uint64_t y = 0;
    const unsigned w = width_of(a);
    if (both(a, b, x, y) && y != 0 && sign(y, w) != -1)
        return num(w, static_cast<uint64_t>(sign(x, w) / sign(y, w)));
    return Z3_mk_bvsdiv(c(), a, b);
}
Term srem(Term a, Term b) {
    uint64_t x = 0;
    uint64_t y = 0;
    const unsigned w = width_of(a);
    if (both(a, b, x, y) && y != 0 && sign(y, w) != -1)
        return num(w, static_cast<uint64_t>(sign(x, w) % sign(y, w)));
    return Z3_mk_bvsrem(c(), a, b);
}
Term ult(Term a, Term b) {
    uint64_t x = 0;
    uint64_t y = 0;
    if (a == b)
        return truth(false);
    if (both(a, b, x, y))
        return truth(x < y);
    const auto kb = constant(b);
    if (kb && *kb == 0)
        return truth(false);
    if (kb && *kb == 1)
        return eq(a, num(width_of(a), 0));
    if (is(a, Z3_OP_ZERO_EXT)) {
        const unsigned w = width_of(arg(a, 0));
        if (kb)
            return *kb > mask(w) ? truth(true) : ult(arg(a, 0), num(w, *kb));
        if (is(b, Z3_OP_ZERO_EXT)) {
            const unsigned common = std::max(w, width_of(arg(b, 0)));
            return ult(zext(arg(a, 0), common), zext(arg(b, 0), common));
        }
    }
    // One form for each: a constant is on the right; several below a power of two are each.
    if (const auto ka = constant(a); ka && width_of(a) <= 64)
        return *ka >= mask(width_of(a)) ? truth(false) : lnot(ult(b, num(width_of(a), *ka + 1)));
    if (kb && (*kb & (*kb - 1)) == 0 && is(a, Z3_OP_BOR) && arity(a) == 2)
        return land(ult(arg(a, 0), b), ult(arg(a, 1), b));
    return Z3_mk_bvult(c(), a, b);
}
Term ule(Term a, Term b) { return lnot(ult(b, a)); }
Term slt(Term a, Term b) {
    uint64_t x = 0;
    uint64_t y = 0;
    const unsigned w = width_of(a);
    if (both(a, b, x, y))
        return truth(sign(x, w) < sign(y, w));
    return a == b ? truth(false) : Z3_mk_bvslt(c(), a, b);
}
Term sle(Term a, Term b) { return lnot(slt(b, a)); }

} // namespace horos::proofs
