#include "terms.hpp"

#include <unordered_map>

namespace horos::proofs {

Z3_context context() {
    static Z3_context the = [] {
        Z3_config config = Z3_mk_config();
        Z3_context made = Z3_mk_context(config); // terms live as long as the process
        Z3_del_config(config);
        return made;
    }();
    return the;
}

namespace {

Z3_context c() { return context(); }

uint64_t mask(unsigned width) { return width >= 64 ? ~uint64_t{0} : (uint64_t{1} << width) - 1; }

Z3_decl_kind kind_of(Term t) {
    if (Z3_get_ast_kind(c(), t) != Z3_APP_AST)
        return Z3_OP_UNINTERPRETED;
    return Z3_get_decl_kind(c(), Z3_get_app_decl(c(), Z3_to_app(c(), t)));
}
bool is(Term t, Z3_decl_kind kind) { return kind_of(t) == kind; }
Term arg(Term t, unsigned i) { return Z3_get_app_arg(c(), Z3_to_app(c(), t), i); }
unsigned arity(Term t) { return Z3_get_app_num_args(c(), Z3_to_app(c(), t)); }
int parameter(Term t, unsigned i) {
    return Z3_get_decl_int_parameter(c(), Z3_get_app_decl(c(), Z3_to_app(c(), t)), i);
}
bool both(Term a, Term b, uint64_t& x, uint64_t& y) {
    const auto ca = constant(a);
    const auto cb = ca ? constant(b) : std::nullopt;
    if (!cb)
        return false;
    x = *ca;
    y = *cb;
    return true;
}
int64_t sign(uint64_t v, unsigned w) {
    return w >= 64 ? static_cast<int64_t>(v) : static_cast<int64_t>(v << (64 - w)) >> (64 - w);
}
// x in and(x, low mask) is as wide as the mask says.
unsigned low_mask(uint64_t v) {
    return v != 0 && (v & (v + 1)) == 0 ? static_cast<unsigned>(__builtin_popcountll(v)) : 0;
}

} // namespace

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
Term fresh_bits(const std::string& name, unsigned width) {
    return Z3_mk_fresh_const(c(), name.c_str(),
                             width == 1 ? Z3_mk_bool_sort(c()) : Z3_mk_bv_sort(c(), width));
}
Term fresh_bool(const std::string& name) { return fresh_bits(name, 1); }
Term named_bits(const std::string& name, unsigned width) {
    return Z3_mk_const(c(), Z3_mk_string_symbol(c(), name.c_str()),
                       width == 1 ? Z3_mk_bool_sort(c()) : Z3_mk_bv_sort(c(), width));
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
        if (constant(t) || constant(f))
            return ite(arg(a, 0), eq(t, b), eq(f, b));
    }
    return Z3_mk_eq(c(), a, b);
}

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
Term band(Term a, Term b) {
    if (is_bool(a))
        return land(a, b);
    uint64_t x = 0;
    uint64_t y = 0;
    const unsigned w = width_of(a);
    if (both(a, b, x, y))
        return num(w, x & y);
    if (a == b)
        return a;
    if (constant(a))
        std::swap(a, b);
    if (const auto k = constant(b)) {
        if (*k == 0)
            return b;
        if (*k == mask(w))
            return a;
        if (const unsigned low = low_mask(*k))
            return zext(extract(low - 1, 0, a), w);
        if (is(a, Z3_OP_ITE) && (constant(arg(a, 1)) || constant(arg(a, 2))))
            return ite(arg(a, 0), band(arg(a, 1), b), band(arg(a, 2), b));
        // One bit: name it, so that tests of the same bit become the same term.
        if ((*k & (*k - 1)) == 0) {
            const auto at = static_cast<unsigned>(__builtin_ctzll(*k));
            return shl(zext(extract(at, at, a), w), num(w, at));
        }
    }
    return Z3_mk_bvand(c(), a, b);
}
Term bor(Term a, Term b) {
    if (is_bool(a))
        return lor(a, b);
    uint64_t x = 0;
    uint64_t y = 0;
    if (both(a, b, x, y))
        return num(width_of(a), x | y);
    if (a == b)
        return a;
    if (constant(a))
        std::swap(a, b);
    if (const auto k = constant(b)) {
        if (*k == 0)
            return a;
        if (*k == mask(width_of(a)))
            return b;
    }
    return Z3_mk_bvor(c(), a, b);
}
Term bxor(Term a, Term b) {
    if (is_bool(a))
        return lxor(a, b);
    uint64_t x = 0;
    uint64_t y = 0;
    if (both(a, b, x, y))
        return num(width_of(a), x ^ y);
    if (a == b)
        return num(width_of(a), 0);
    if (constant(a))
        std::swap(a, b);
    if (const auto k = constant(b)) {
        if (*k == 0)
            return a;
        if (*k == mask(width_of(a)))
            return Z3_mk_bvnot(c(), a);
    }
    return Z3_mk_bvxor(c(), a, b);
}
Term shl(Term a, Term b) {
    uint64_t x = 0;
    uint64_t y = 0;
    const unsigned w = width_of(a);
    if (both(a, b, x, y))
        return num(w, y >= w ? 0 : x << y);
    if (const auto k = constant(b)) {
        if (*k == 0)
            return a;
        if (*k >= w)
            return num(w, 0);
    }
    return Z3_mk_bvshl(c(), a, b);
}
Term lshr(Term a, Term b) {
    uint64_t x = 0;
    uint64_t y = 0;
    const unsigned w = width_of(a);
    if (both(a, b, x, y))
        return num(w, y >= w ? 0 : x >> y);
    if (const auto k = constant(b)) {
        if (*k >= w)
            return num(w, 0);
        return zext(extract(w - 1, static_cast<unsigned>(*k), a), w);
    }
    return Z3_mk_bvlshr(c(), a, b);
}
Term ashr(Term a, Term b) {
    uint64_t x = 0;
    uint64_t y = 0;
    const unsigned w = width_of(a);
    if (both(a, b, x, y))
        return num(w, static_cast<uint64_t>(sign(x, w) >> (y >= w ? w - 1 : y)));
    return Z3_mk_bvashr(c(), a, b);
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
    if (const auto ka = constant(a); ka && is(b, Z3_OP_ZERO_EXT)) {
        const unsigned w = width_of(arg(b, 0));
        return *ka >= mask(w) ? truth(false) : ult(num(w, *ka), arg(b, 0));
    }
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

static bool pushes_down(Z3_decl_kind kind) {
    switch (kind) {
    case Z3_OP_BADD:
    case Z3_OP_BSUB:
    case Z3_OP_BMUL:
    case Z3_OP_BAND:
    case Z3_OP_BOR:
    case Z3_OP_BXOR:
        return true;
    default:
        return false;
    }
}

static Term extract_low(unsigned high, Term a) {
    const Z3_decl_kind kind = kind_of(a);
    if (pushes_down(kind) && arity(a) == 2) {
        Term x = extract(high, 0, arg(a, 0));
        Term y = extract(high, 0, arg(a, 1));
        switch (kind) {
        case Z3_OP_BADD:
            return add(x, y);
        case Z3_OP_BSUB:
            return sub(x, y);
        case Z3_OP_BMUL:
            return mul(x, y);
        case Z3_OP_BAND:
            return band(x, y);
        case Z3_OP_BOR:
            return bor(x, y);
        default:
            return bxor(x, y);
        }
    }
    if (kind == Z3_OP_BSHL && constant(arg(a, 1)) && *constant(arg(a, 1)) <= high)
        return shl(extract(high, 0, arg(a, 0)), num(high + 1, *constant(arg(a, 1))));
    return nullptr;
}

Term extract(unsigned high, unsigned low, Term a) {
    const unsigned w = width_of(a);
    if (is_bool(a))
        return ite(a, num(1, 1), num(1, 0));
    if (low == 0 && high == w - 1)
        return a;
    if (const auto k = constant(a))
        return num(high - low + 1, *k >> low);
    const Z3_decl_kind kind = kind_of(a);
    if (kind == Z3_OP_EXTRACT) {
        const auto inner = static_cast<unsigned>(parameter(a, 1));
        return extract(high + inner, low + inner, arg(a, 0));
    }
    if (kind == Z3_OP_ZERO_EXT) {
        Term x = arg(a, 0);
        const unsigned xw = width_of(x);
        if (low >= xw)
            return num(high - low + 1, 0);
        return high < xw ? extract(high, low, x) : zext(extract(xw - 1, low, x), high - low + 1);
    }
    if (kind == Z3_OP_SIGN_EXT && high < width_of(arg(a, 0)))
        return extract(high, low, arg(a, 0));
    if (kind == Z3_OP_CONCAT && arity(a) == 2) {
        const unsigned lw = width_of(arg(a, 1));
        if (low >= lw)
            return extract(high - lw, low - lw, arg(a, 0));
        if (high < lw)
            return extract(high, low, arg(a, 1));
        return concat(extract(high - lw, 0, arg(a, 0)), extract(lw - 1, low, arg(a, 1)));
    }
    if (kind == Z3_OP_ITE)
        return ite(arg(a, 0), extract(high, low, arg(a, 1)), extract(high, low, arg(a, 2)));
    if (kind == Z3_OP_BAND || kind == Z3_OP_BOR || kind == Z3_OP_BXOR) {
        if (arity(a) == 2) {
            Term x = extract(high, low, arg(a, 0));
            Term y = extract(high, low, arg(a, 1));
            return kind == Z3_OP_BAND ? band(x, y) : kind == Z3_OP_BOR ? bor(x, y) : bxor(x, y);
        }
    }
    if (kind == Z3_OP_BNOT)
        return Z3_mk_bvnot(c(), extract(high, low, arg(a, 0)));
    if (kind == Z3_OP_BSHL) {
        if (const auto k = constant(arg(a, 1))) {
            if (low >= *k)
                return extract(high - static_cast<unsigned>(*k), low - static_cast<unsigned>(*k),
                               arg(a, 0));
            if (high < *k)
                return num(high - low + 1, 0);
        }
    }
    if (low == 0) {
        if (Term pushed = extract_low(high, a))
            return pushed;
    }
    return Z3_mk_extract(c(), high, low, a);
}

Term zext(Term a, unsigned width) {
    if (is_bool(a))
        return ite(a, num(width, 1), num(width, 0));
    const unsigned w = width_of(a);
    if (w == width)
        return a;
    if (const auto k = constant(a); k && width <= 64)
        return num(width, *k);
    if (is(a, Z3_OP_ZERO_EXT))
        return zext(arg(a, 0), width);
    if (is(a, Z3_OP_ITE) && (constant(arg(a, 1)) && constant(arg(a, 2))))
        return ite(arg(a, 0), zext(arg(a, 1), width), zext(arg(a, 2), width));
    return Z3_mk_zero_ext(c(), width - w, a);
}
Term sext(Term a, unsigned width) {
    if (is_bool(a))
        return ite(a, num(width, ~uint64_t{0}), num(width, 0));
    const unsigned w = width_of(a);
    if (w == width)
        return a;
    if (const auto k = constant(a))
        return num(width, static_cast<uint64_t>(sign(*k, w)));
    if (is(a, Z3_OP_ZERO_EXT))
        return zext(a, width);
    return Z3_mk_sign_ext(c(), width - w, a);
}
Term concat(Term high, Term low) {
    const unsigned hw = width_of(high);
    const unsigned lw = width_of(low);
    uint64_t x = 0;
    uint64_t y = 0;
    if (hw + lw <= 64 && both(high, low, x, y))
        return num(hw + lw, x << lw | y);
    if (const auto k = constant(high); k && *k == 0)
        return zext(low, hw + lw);
    if (is(high, Z3_OP_EXTRACT) && is(low, Z3_OP_EXTRACT) && arg(high, 0) == arg(low, 0) &&
        parameter(high, 1) == parameter(low, 0) + 1)
        return extract(static_cast<unsigned>(parameter(high, 0)),
                       static_cast<unsigned>(parameter(low, 1)), arg(high, 0));
    if (is(high, Z3_OP_ITE) && is(low, Z3_OP_ITE) && arg(high, 0) == arg(low, 0))
        return ite(arg(high, 0), concat(arg(high, 1), arg(low, 1)),
                   concat(arg(high, 2), arg(low, 2)));
    return Z3_mk_concat(c(), high, low);
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
