// Bitwise operations, shifts, and terms of another width.
#include "term_shape.hpp"

#include <map>

namespace horos::proofs {

using namespace shape;

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

// Of a term that is no number and not taken as a whole.
static Term extract_part(unsigned high, unsigned low, Term a) {
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

Term extract(unsigned high, unsigned low, Term a) {
    if (is_bool(a))
        return ite(a, num(1, 1), num(1, 0));
    if (low == 0 && high == width_of(a) - 1)
        return a;
    if (const auto k = constant(a))
        return num(high - low + 1, *k >> low);
    // Terms share their parts: without this, each would be taken apart once for every way to it.
    static std::map<std::tuple<Term, unsigned, unsigned>, Term> done;
    const auto at = done.find({a, high, low});
    if (at != done.end())
        return at->second;
    const Term part = extract_part(high, low, a);
    done.emplace(std::tuple{a, high, low}, part);
    return part;
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

} // namespace horos::proofs
