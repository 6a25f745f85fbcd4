// The value domain in which a rule becomes a formula.
#pragma once

#include <cstdint>
#include <z3++.h>

namespace horos::model {

struct Symbolic {
    // Constants need a context; set for the lifetime of a Scope, one a thread.
    static inline thread_local z3::context* context = nullptr;
    class Scope {
    public:
        explicit Scope(z3::context& c) : previous_(context) { context = &c; }
        ~Scope() { context = previous_; }
        Scope(const Scope&) = delete;
        Scope& operator=(const Scope&) = delete;

    private:
        z3::context* previous_;
    };

    struct Bool {
        z3::expr e;
        friend Bool operator&(const Bool& a, const Bool& b) { return {a.e && b.e}; }
        friend Bool operator|(const Bool& a, const Bool& b) { return {a.e || b.e}; }
        friend Bool operator!(const Bool& a) { return {!a.e}; }
    };
    struct Bits {
        z3::expr e = context->bv_val(static_cast<uint64_t>(0), 64);
        friend Bits operator&(const Bits& a, const Bits& b) { return {a.e & b.e}; }
        friend Bits operator|(const Bits& a, const Bits& b) { return {a.e | b.e}; }
        friend Bits operator^(const Bits& a, const Bits& b) { return {a.e ^ b.e}; }
        friend Bits operator~(const Bits& a) { return {~a.e}; }
        friend Bool operator==(const Bits& a, const Bits& b) { return {a.e == b.e}; }
        friend Bool operator!=(const Bits& a, const Bits& b) { return {a.e != b.e}; }
    };
    static Bits bits(uint64_t value) { return {context->bv_val(value, 64)}; }
    static Bool truth(bool value) { return {context->bool_val(value)}; }
    static Bool ult(const Bits& a, const Bits& b) { return {z3::ult(a.e, b.e)}; }
    static Bits shift_right(const Bits& a, const Bits& b) { return {z3::lshr(a.e, b.e)}; }
    static Bits shift_left(const Bits& a, const Bits& b) { return {z3::shl(a.e, b.e)}; }
    static Bits add(const Bits& a, const Bits& b) { return {a.e + b.e}; }
    static Bits select(const Bool& c, const Bits& a, const Bits& b) {
        return {z3::ite(c.e, a.e, b.e)};
    }
};

} // namespace horos::model
