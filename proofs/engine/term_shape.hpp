// What the functions that build terms need to look at one. Included by those only.
#pragma once
#include "terms.hpp"

#include <algorithm>

namespace horos::proofs::shape {

inline Z3_context c() { return context(); }

inline uint64_t mask(unsigned width) {
    return width >= 64 ? ~uint64_t{0} : (uint64_t{1} << width) - 1;
}

inline Z3_decl_kind kind_of(Term t) {
    if (Z3_get_ast_kind(c(), t) != Z3_APP_AST)
        return Z3_OP_UNINTERPRETED;
    return Z3_get_decl_kind(c(), Z3_get_app_decl(c(), Z3_to_app(c(), t)));
}
inline bool is(Term t, Z3_decl_kind kind) { return kind_of(t) == kind; }
inline Term arg(Term t, unsigned i) { return Z3_get_app_arg(c(), Z3_to_app(c(), t), i); }
inline unsigned arity(Term t) { return Z3_get_app_num_args(c(), Z3_to_app(c(), t)); }
inline int parameter(Term t, unsigned i) {
    return Z3_get_decl_int_parameter(c(), Z3_get_app_decl(c(), Z3_to_app(c(), t)), i);
}
inline bool both(Term a, Term b, uint64_t& x, uint64_t& y) {
    const auto ca = constant(a);
    const auto cb = ca ? constant(b) : std::nullopt;
    if (!cb)
        return false;
    x = *ca;
    y = *cb;
    return true;
}
inline int64_t sign(uint64_t v, unsigned w) {
    return w >= 64 ? static_cast<int64_t>(v) : static_cast<int64_t>(v << (64 - w)) >> (64 - w);
}
// x in and(x, low mask) is as wide as the mask says.
inline unsigned low_mask(uint64_t v) {
    return v != 0 && (v & (v + 1)) == 0 ? static_cast<unsigned>(__builtin_popcountll(v)) : 0;
}

} // namespace horos::proofs::shape
