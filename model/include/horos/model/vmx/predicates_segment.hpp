// The rules on the guest's segment registers (SDM vol. 3C 325384-077US §26.3.1.2).
#pragma once

#include "horos/model/vmx/view.hpp"

namespace horos::model::vmx::predicates {

using namespace horos::vmx;
using F = Field;

struct SegmentFields {
    F selector, base, limit, rights;
};
constexpr SegmentFields fields_of(Segment segment) {
    const unsigned n = static_cast<unsigned>(segment);
    return {plus(F::GUEST_ES_SELECTOR, n), plus(F::GUEST_ES_BASE, n), plus(F::GUEST_ES_LIMIT, n),
            plus(F::GUEST_ES_RIGHTS, n)};
}

// One register, with the words that the checks use.
template <class D>
struct SegmentView {
    using Bits = typename D::Bits;
    using Bool = typename D::Bool;

    const View<D>& v;
    Segment which;
    SegmentFields f = fields_of(which);

    const Bits& selector() const { return v[f.selector]; }
    const Bits& base() const { return v[f.base]; }
    const Bits& limit() const { return v[f.limit]; }
    const Bits& rights() const { return v[f.rights]; }
    Bits type() const { return rights() & D::bits(horos::vmx::rights::TYPE); }
    Bits dpl() const { return v.field(rights(), horos::vmx::rights::DPL_SHIFT, 3); }
    Bits rpl() const { return selector() & D::bits(3); }
    Bool usable() const { return v.none(rights(), horos::vmx::rights::UNUSABLE); }
    bool system() const { return which == Segment::LDTR || which == Segment::TR; }
    // Whether the access rights are looked at: CS and TR always, others where they are usable; code
    // and data segments not in virtual-8086 mode, which has a check of its own.
    Bool counts() const {
        const Bool present =
            which == Segment::CS || which == Segment::TR ? v.truth(true) : usable();
        return system() ? present : present & !v.v86();
    }
};

template <class D>
typename D::Bool segment_type(const SegmentView<D>& g) {
    const auto& v = g.v;
    switch (g.which) {
    case Segment::CS: // accessed code; 3 for an unrestricted guest
        return v.in(g.type(), 0xaa00) | (v.unrestricted() & v.is(g.type(), 3));
    case Segment::SS: // read/write data, expand-up or -down, accessed
        return v.in(g.type(), 0x0088);
    case Segment::LDTR:
        return v.is(g.type(), 2);
    case Segment::TR:
        return v.is(g.type(), 11) | (v.is(g.type(), 3) & !v.ia32e_guest());
    default: // accessed, and readable if code
        return v.has(g.rights(), rights::ACCESSED) &
               (v.none(g.rights(), rights::CODE) | v.has(g.rights(), rights::READABLE));
    }
}
template <class D>
typename D::Bool segment_dpl(const SegmentView<D>& g) {
    const auto& v = g.v;
    const SegmentView<D> ss{v, Segment::SS};
    switch (g.which) {
    case Segment::CS: { // 3: DPL 0; non-conforming: that of SS; conforming: not above it
        const auto same = g.dpl() == ss.dpl();
        return v.implies(v.is(g.type(), 3) & v.unrestricted(), v.is(g.dpl(), 0)) &
               v.implies(v.in(g.type(), 0x0a00), same) &
               v.implies(v.in(g.type(), 0xa000), v.at_most(g.dpl(), ss.dpl()));
    }
    case Segment::SS:
        return v.unrestricted() | (g.dpl() == g.rpl());
    default: // data and non-conforming code
        return v.implies(!v.unrestricted() & g.usable() & v.in(g.type(), 0x0fff),
                         v.at_most(g.rpl(), g.dpl()));
    }
}
template <class D>
typename D::Bool segment_dpl_real(const SegmentView<D>& ss) {
    const auto& v = ss.v;
    const SegmentView<D> cs{v, Segment::CS};
    const auto real = v.is(cs.type(), 3) | v.none(v[F::GUEST_CR0], x86::cr0::PE);
    return v.implies(real, v.is(ss.dpl(), 0));
}
// The limit as the descriptor could have given it (bit 15).
template <class D>
typename D::Bool segment_granularity(const SegmentView<D>& g) {
    const auto& v = g.v;
    const auto big = v.has(g.rights(), rights::G);
    return v.implies(!v.all(g.limit(), 0xfff), !big) & v.implies(v.has(g.limit(), 0xfff00000), big);
}
template <class D>
typename D::Bool segment_base(SegmentCheck check, const SegmentView<D>& g) {
    const auto& v = g.v;
    switch (check) {
    case SegmentCheck::BASE_V86:
        return v.implies(v.v86(), g.base() == D::shift_left(g.selector(), D::bits(4)));
    case SegmentCheck::BASE_HIGH:
        return v.implies(g.which == Segment::CS ? v.truth(true) : g.usable(),
                         v.none(g.base(), HIGH_HALF));
    default: // BASE_CANONICAL
        return v.implies(g.which == Segment::LDTR ? g.usable() : v.truth(true),
                         v.canonical(g.base()));
    }
}

template <class D>
typename D::Bool segment(RuleId id, const View<D>& v) {
    const SegmentView<D> g{v, segment_of(id)};
    const auto when_counting = [&](const typename D::Bool& condition) {
        return v.implies(g.counts(), condition);
    };
    switch (check_of(id)) {
    case SegmentCheck::SELECTOR_TI:
        return v.implies(g.which == Segment::TR ? v.truth(true) : g.usable(),
                         v.none(g.selector(), 4));
    case SegmentCheck::SELECTOR_RPL:
        return v.v86() | v.unrestricted() | (g.rpl() == (v[F::GUEST_CS_SELECTOR] & D::bits(3)));
    case SegmentCheck::BASE_V86:
    case SegmentCheck::BASE_HIGH:
    case SegmentCheck::BASE_CANONICAL:
        return segment_base(check_of(id), g);
    case SegmentCheck::LIMIT_V86:
        return v.implies(v.v86(), v.is(g.limit(), 0xffff));
    case SegmentCheck::RIGHTS_V86:
        return v.implies(v.v86(), v.is(g.rights(), 0xf3));
    case SegmentCheck::TYPE:
        return when_counting(segment_type(g));
    case SegmentCheck::S:
        return when_counting(g.system() ? v.none(g.rights(), rights::S)
                                        : v.has(g.rights(), rights::S));
    case SegmentCheck::DPL: // of SS also where it is unusable
        return v.v86() | segment_dpl(g);
    case SegmentCheck::DPL_REAL:
        return v.v86() | segment_dpl_real(g);
    case SegmentCheck::P:
        return when_counting(v.has(g.rights(), rights::P));
    case SegmentCheck::RESERVED_LOW:
        return when_counting(v.none(g.rights(), rights::RESERVED_LOW));
    case SegmentCheck::DB:
        return v.implies(!v.v86() & v.code64(), v.none(g.rights(), rights::DB));
    case SegmentCheck::G:
        return when_counting(segment_granularity(g));
    case SegmentCheck::RESERVED_HIGH:
        break;
    }
    // TR must be usable.
    return when_counting(v.none(g.rights(), g.which == Segment::TR
                                                ? rights::RESERVED_HIGH | rights::UNUSABLE
                                                : rights::RESERVED_HIGH));
}

} // namespace horos::model::vmx::predicates
