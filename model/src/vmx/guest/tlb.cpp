// Cached translations (SDM vol. 3C §28.4): linear, guest-physical and combined mappings, which an
// access may use although the tables say something else by now. A mapping that permits the access
// is used, or it is gone and the tables are walked; after the walk it is gone. Code and data have
// TLBs of their own.
#include "guest/machine.hpp"

#include <algorithm>

namespace horos::model::vmx {

namespace guest {

namespace {

using namespace horos::vmx;

constexpr uint64_t OFFSET = 0xfff;

} // namespace

// §28.4.3.1: without VPIDs, an entry invalidates the linear and combined mappings of VPID 0. Those
// of other contexts stay, and are of no use until the context changes.
void Guest::load_tlb() {
    for (const Mapping& m : input.tlb) {
        const bool flushed = m.kind != MappingKind::GUEST_PHYSICAL && m.vpid == 0;
        if (!flushed) {
            tlb_.push_back({m});
        }
    }
}

// Whether a mapping is one of the context that now is (§28.4.2).
bool Guest::tagged(const Mapping& m, bool physical) const {
    const bool own_root = !ept() || m.root == (eptp & ept::ADDR);
    if (physical) {
        return m.kind == MappingKind::GUEST_PHYSICAL && own_root;
    }
    const MappingKind kind = ept() ? MappingKind::COMBINED : MappingKind::LINEAR;
    return m.kind == kind && own_root && m.vpid == vpid() && (m.pcid == pcid() || m.global);
}

bool Guest::permits(const Mapping& m, Access access, bool as_write, const Linear& linear) const {
    if (ept()) {
        const bool mode_based = proc2(proc2::MODE_BASED_EPT_EXECUTE);
        const uint64_t runs = mode_based && linear.user ? ept::XU : ept::X;
        const uint64_t needed = (access.kind == Kind::FETCH ? runs : 0) |
                                (access.kind == Kind::READ || access.modify ? ept::R : 0) |
                                (as_write ? ept::W : 0);
        if ((m.ept_rights & needed) != needed) {
            return false;
        }
    }
    if (m.kind == MappingKind::GUEST_PHYSICAL) {
        return true;
    }
    const bool all_writable = !access.user && (cr0 & x86::cr0::WP) == 0;
    if ((access.kind == Kind::FETCH && !m.executable) ||
        (access.kind == Kind::WRITE && !m.writable && !all_writable)) {
        return false;
    }
    const bool smep = access.kind == Kind::FETCH && (cr4 & x86::cr4::SMEP) != 0;
    const bool smap = access.kind != Kind::FETCH && (cr4 & x86::cr4::SMAP) != 0 &&
                      (rflags & x86::rflags::AC) == 0;
    return access.user ? m.user : !(m.user && (smep || smap));
}

// The host-physical address that a cached mapping gives, if the access uses one.
std::optional<uint64_t> Guest::held(bool physical, uint64_t address, Access access, bool as_write,
                                    const Linear& linear) {
    const bool code = access.kind == Kind::FETCH;
    std::vector<const Mapping*> usable;
    bool forbidden = false;
    const auto concerns = [&](const Held& h) {
        return h.mapping.page == (address & ~OFFSET) && tagged(h.mapping, physical);
    };
    for (const Held& h : tlb_) {
        if (!concerns(h) || !(code ? h.code : h.data)) {
            continue;
        }
        const Mapping& m = h.mapping;
        const bool permitted = permits(m, access, as_write, linear);
        forbidden = forbidden || !permitted;
        const bool marked =
            (access.kind != Kind::WRITE || physical || m.dirty) && (!as_write || m.ept_dirty);
        if (permitted && marked) { // else a walk sets the flag
            usable.push_back(&m);
        }
    }
    if (forbidden && choices.flip()) {
        throw Open{"a fault by a cached translation that does not permit the access"};
    }
    if (const unsigned which = usable.empty() ? 0 : choices.pick(unsigned(usable.size()) + 1)) {
        path.push_back(physical ? "cached guest-physical mapping" : "cached mapping");
        return usable[which - 1]->address | (address & OFFSET);
    }
    for (Held& h : tlb_) {
        if (concerns(h)) {
            (code ? h.code : h.data) = false;
        }
    }
    return std::nullopt;
}

// INVLPG and INVPCID reach the linear and combined mappings of the current VPID, for every EP4TA.
void Guest::drop(const Dropped& what) {
    std::erase_if(tlb_, [&](const Held& h) {
        const Mapping& m = h.mapping;
        const bool named = (!what.page || m.page == (*what.page & ~OFFSET)) &&
                           (!what.pcid || m.pcid == *what.pcid || (m.global && what.globals));
        return m.kind != MappingKind::GUEST_PHYSICAL && m.vpid == vpid() && named &&
               (!m.global || what.globals);
    });
}

// What the tables alone say of a page: without the guards that a cached translation is held against
// at each access.
std::optional<Mapping> Guest::mapping_of(uint64_t page, bool physical) {
    cr0 |= paging() ? x86::cr0::WP : 0;
    cr4 &= ~(x86::cr4::SMEP | x86::cr4::SMAP);
    Linear from;
    if (!physical) {
        from.address = page;
    }
    struct Reached {
        uint64_t address;
        bool flags_stood; // nothing was set in the tables
    };
    const auto attempt = [&](auto reach) -> std::optional<Reached> {
        const auto before = writes;
        const uint16_t index = pml_index;
        std::optional<Reached> result;
        try {
            const uint64_t at = reach();
            result = Reached{at, writes.size() == before.size()};
        } catch (const Exception&) {
        } catch (const Exit&) {
        } catch (const Open&) {
        }
        writes = before;
        pml_index = index;
        return result;
    };
    const auto in_guest = [&](Kind kind, bool user) {
        return attempt([&] { return walk(page, {kind, user}); });
    };
    Mapping m;
    m.page = page;
    std::optional<Reached> gpa = Reached{page, true};
    if (!physical) {
        m.kind = ept() ? MappingKind::COMBINED : MappingKind::LINEAR;
        m.vpid = vpid();
        m.pcid = pcid();
        gpa = in_guest(Kind::READ, false);
        if (!gpa) {
            return std::nullopt;
        }
        m.global = (cr4 & x86::cr4::PGE) != 0 && (used_.back().value & x86::pte::G) != 0;
        const auto write = in_guest(Kind::WRITE, false);
        m.writable = write.has_value();
        m.dirty = write && write->flags_stood;
        m.user = in_guest(Kind::READ, true).has_value();
        m.executable = in_guest(Kind::FETCH, false).has_value();
    } else {
        m.kind = MappingKind::GUEST_PHYSICAL;
    }
    m.address = gpa->address;
    if (!ept()) {
        return m;
    }
    m.root = eptp & ept::ADDR;
    const auto in_ept = [&](Kind kind, bool user) {
        from.user = user;
        return attempt([&] { return ept_translate(gpa->address, {kind, user}, from); });
    };
    std::optional<Reached> host;
    const auto right = [&](Kind kind, bool user, uint64_t bit) {
        if (const auto reached = in_ept(kind, user)) {
            m.ept_rights |= bit;
            host = reached;
        }
    };
    right(Kind::READ, false, ept::R);
    right(Kind::FETCH, false, ept::X);
    right(Kind::FETCH, true, ept::XU);
    right(Kind::WRITE, false, ept::W);
    if (!host) {
        return std::nullopt;
    }
    m.address = host->address;
    m.ept_dirty = (m.ept_rights & ept::W) == 0 || host->flags_stood;
    return m;
}

} // namespace guest

std::vector<Mapping> mappings(const GuestInput& input, std::span<const uint64_t> linear_pages,
                              std::span<const uint64_t> physical_pages) {
    std::vector<Mapping> all;
    GuestInput fresh = input;
    fresh.tlb = {};
    Choices choices;
    const auto add = [&](uint64_t page, bool physical) {
        guest::Guest g(fresh, choices);
        if (!physical && !g.paging()) {
            return; // linear addresses are guest-physical ones (§28.4.2)
        }
        if (const auto mapping = g.mapping_of(page, physical)) {
            all.push_back(*mapping);
        }
    };
    for (const uint64_t page : linear_pages) {
        add(page, false);
    }
    for (const uint64_t page : physical_pages) {
        if (guest::Guest(fresh, choices).ept()) {
            add(page, true);
        }
    }
    return all;
}

void invalidate(std::vector<Mapping>& mappings, const Invalidation& by) {
    using horos::vmx::InveptType, horos::vmx::InvvpidType;
    std::erase_if(mappings, [&](const Mapping& m) {
        const bool linear_too = m.kind != MappingKind::GUEST_PHYSICAL;
        if (by.instruction == Invalidation::INVEPT) {
            const bool all = by.type == uint64_t(InveptType::ALL);
            const bool own = m.root == (by.operand & horos::vmx::ept::ADDR);
            return m.kind != MappingKind::LINEAR && (all || own);
        }
        if (by.instruction != Invalidation::INVVPID || !linear_too) {
            return false;
        }
        const bool own = m.vpid == uint16_t(by.operand);
        switch (InvvpidType(by.type)) {
        case InvvpidType::ADDRESS:
            return own && m.page == (by.linear & ~uint64_t{0xfff});
        case InvvpidType::SINGLE:
            return own;
        case InvvpidType::ALL:
            return m.vpid != 0;
        default:
            return own && !m.global;
        }
    });
}

} // namespace horos::model::vmx
