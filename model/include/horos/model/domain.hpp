// The value domains over which rules are written once.
//
// A domain D supplies:
//   D::Bits   a 64-bit number with & | ^ ~ == != and construction from uint64_t by D::bits()
//   D::Bool   a truth value with & | !
//   D::ult(a, b), D::shift_right(a, b), D::shift_left(a, b), D::add(a, b),
//   D::select(condition, a, b)
// Concrete makes a rule executable; Symbolic (src/symbolic.hpp) makes it a formula of Z3.
#pragma once

#include <cstdint>

namespace horos::model {

// Numbers as they are.
struct Concrete {
    struct Bool {
        bool value;
        friend Bool operator&(Bool a, Bool b) { return {a.value && b.value}; }
        friend Bool operator|(Bool a, Bool b) { return {a.value || b.value}; }
        friend Bool operator!(Bool a) { return {!a.value}; }
    };
    struct Bits {
        uint64_t value;
        friend Bits operator&(Bits a, Bits b) { return {a.value & b.value}; }
        friend Bits operator|(Bits a, Bits b) { return {a.value | b.value}; }
        friend Bits operator^(Bits a, Bits b) { return {a.value ^ b.value}; }
        friend Bits operator~(Bits a) { return {~a.value}; }
        friend Bool operator==(Bits a, Bits b) { return {a.value == b.value}; }
        friend Bool operator!=(Bits a, Bits b) { return {a.value != b.value}; }
    };
    static Bits bits(uint64_t value) { return {value}; }
    static Bool truth(bool value) { return {value}; }
    static Bool ult(Bits a, Bits b) { return {a.value < b.value}; }
    // Like the shifts of the bit-vector theory: a distance of 64 and more gives zero.
    static Bits shift_right(Bits a, Bits b) { return {b.value < 64 ? a.value >> b.value : 0}; }
    static Bits shift_left(Bits a, Bits b) { return {b.value < 64 ? a.value << b.value : 0}; }
    static Bits add(Bits a, Bits b) { return {a.value + b.value}; }
    static Bits select(Bool c, Bits a, Bits b) { return c.value ? a : b; }
};

} // namespace horos::model
