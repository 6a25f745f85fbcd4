// What the predicates of the rules are made of: the inputs and a few words over a value domain D.
#pragma once

#include "horos/defs/svm.hpp"
#include "horos/defs/x86.hpp"
#include "horos/model/domain.hpp"
#include "horos/model/svm/rules.hpp"

namespace horos::model::svm {

template <class D>
struct RuleInputs {
    std::array<typename D::Bits, RULE_FIELD_COUNT> value;
    const typename D::Bits& operator[](RuleField f) const { return value[static_cast<size_t>(f)]; }
    typename D::Bits& operator[](RuleField f) { return value[static_cast<size_t>(f)]; }
};

namespace predicates {

namespace ctl = horos::svm;
using F = RuleField;

template <class D>
typename D::Bool has(const typename D::Bits& x, uint64_t mask) {
    return (x & D::bits(mask)) != D::bits(0);
}
template <class D>
typename D::Bool none(const typename D::Bits& x, uint64_t mask) {
    return (x & D::bits(mask)) == D::bits(0);
}
template <class Bool>
Bool implies(const Bool& a, const Bool& b) {
    return !a | b;
}

inline constexpr uint64_t PAGE_OFFSET = 0xfff;
inline constexpr uint64_t ABOVE_52_BITS = 0xfff0000000000000ull;
inline constexpr uint64_t SYSCFG_MEM_ENCRYPTION = 1ull << 23;
inline constexpr uint64_t HWCR_SMMLOCK = 1ull << 0;
inline constexpr uint64_t U_CET_SHADOW_STACK = 1ull << 0;

} // namespace predicates

} // namespace horos::model::svm
