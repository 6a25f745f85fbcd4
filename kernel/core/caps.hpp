// Capabilities: lookup, and the calls that copy and remove them.
#pragma once
#include "kernel/core/caller.hpp"

namespace horos::core {

inline constexpr u32 no_slot = ~u32{0};

// The capability in a domain's slot, if it is there, alive, of that type and has those rights.
Error lookup(Frame domain, u32 selector, ObjectType type, u8 rights, CapSlot& out);
// The same, for the calls whose every instruction counts. Not for blocks.
[[gnu::always_inline]] inline Error lookup_fast(Frame domain, u32 selector, ObjectType type,
                                                u8 rights, CapSlot& out) {
    if (selector >= max_selector)
        return Error::bad_selector;
    const Frame table = domains[domain].tables[selector / slots_per_table];
    if (table == 0)
        return Error::no_table;
    const CapSlot& slot = cap_tables[table].slots[selector % slots_per_table];
    if (slot.type != type || (slot.rights & rights) != rights ||
        slot.generation != frames[slot.object].generation) [[unlikely]] {
        CapSlot none;                                        // so that `out` need not be in memory
        return lookup(domain, selector, type, rights, none); // which error it is
    }
    out.object = slot.object;
    out.badge = slot.badge;
    return Error::ok;
}
// Likewise for any type.
Error lookup_any(Frame domain, u32 selector, CapSlot& out);
// Whether a slot exists and is empty.
Error check_empty(Frame domain, u32 selector);
// Fills a slot that check_empty accepted.
void put(Frame domain, u32 selector, const CapSlot& cap);
// A capability with all rights to a new object.
CapSlot full_cap(Frame object, ObjectType type);
// The generation an object has now.
u32 generation_of(ObjectType type, u32 object);

Error cap_info(const Caller&, const CapInfoArgs&, Values&);
Error cap_mint(const Caller&, const CapMintArgs&);
Error cap_move(const Caller&, const CapMoveArgs&);
Error cap_delete(const Caller&, const CapDeleteArgs&);
Error cap_revoke(const Caller&, const CapRevokeArgs&);
Error cap_give(const Caller&, const CapGiveArgs&);
Error cap_take(const Caller&, const CapTakeArgs&);

} // namespace horos::core
