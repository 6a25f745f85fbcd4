#include "kernel/core/caps.hpp"
#include "kernel/core/frames.hpp"

namespace horos::core {

u32 generation_of(ObjectType type, u32 object) {
    if (type == ObjectType::block)
        return object < max_blocks ? blocks[object].generation : 0;
    return object < machine.frame_limit ? frames[object].generation : 0;
}

// The table that holds a selector; 0 when the domain has none there.
static Frame table_of(Frame domain, u32 selector) {
    return domains[domain].tables[(selector / slots_per_table) % tables_per_domain];
}

static CapSlot& slot_in(Frame table, u32 selector) {
    return cap_tables[table].slots[selector % slots_per_table];
}

Error lookup_any(Frame domain, u32 selector, CapSlot& out) {
    if (selector >= max_selector)
        return Error::bad_selector;
    const Frame table = table_of(domain, selector);
    if (table == 0)
        return Error::no_table;
    const CapSlot& slot = slot_in(table, selector);
    if (slot.rights == 0)
        return Error::no_capability;
    if (slot.generation != generation_of(slot.type, slot.object))
        return Error::stale;
    out = slot;
    return Error::ok;
}

Error lookup(Frame domain, u32 selector, ObjectType type, u8 rights, CapSlot& out) {
    if (const Error e = lookup_any(domain, selector, out); e != Error::ok)
        return e;
    if (out.type != type)
        return Error::wrong_type;
    return (out.rights & rights) == rights ? Error::ok : Error::no_right;
}

Error check_empty(Frame domain, u32 selector) {
    if (selector >= max_selector)
        return Error::bad_selector;
    const Frame table = table_of(domain, selector);
    if (table == 0)
        return Error::no_table;
    return slot_in(table, selector).rights == 0 ? Error::ok : Error::slot_taken;
}

void put(Frame domain, u32 selector, const CapSlot& cap) {
    slot_in(table_of(domain, selector), selector) = cap;
}

CapSlot full_cap(Frame object, ObjectType type) {
    return {object, frames[object].generation, 0, type, right::all, 0};
}

Error cap_info(const Caller& me, const CapInfoArgs& a, Values& v) {
    CapSlot cap;
    if (const Error e = lookup_any(me.domain, a.source, cap); e != Error::ok)
        return e;
    v.v[0] = static_cast<u64>(cap.type);
    v.v[1] = cap.rights;
    v.v[2] = cap.badge;
    v.v[3] = cap.object;
    return Error::ok;
}

// A copy with the same or fewer rights. A badge is given once and never changed.
static Error derive(const CapSlot& source, u8 rights, u32 badge, CapSlot& out) {
    if (rights == 0 || (rights & ~source.rights) != 0)
        return Error::bad_rights;
    if (badge != 0 && source.badge != 0)
        return Error::bad_argument;
    out = source;
    out.rights = rights;
    if (badge != 0)
        out.badge = badge;
    return Error::ok;
}

Error cap_mint(const Caller& me, const CapMintArgs& a) {
    CapSlot source;
    CapSlot copy;
    if (const Error e = lookup_any(me.domain, a.source, source); e != Error::ok)
        return e;
    if (const Error e = check_empty(me.domain, a.slot); e != Error::ok)
        return e;
    if (const Error e = derive(source, a.rights, a.badge, copy); e != Error::ok)
        return e;
    put(me.domain, a.slot, copy);
    return Error::ok;
}

static constexpr CapSlot empty_slot{};

Error cap_move(const Caller& me, const CapMoveArgs& a) {
    CapSlot source;
    if (const Error e = lookup_any(me.domain, a.source, source); e != Error::ok)
        return e;
    if (const Error e = check_empty(me.domain, a.slot); e != Error::ok)
        return e;
    put(me.domain, a.slot, source);
    put(me.domain, a.source, empty_slot);
    return Error::ok;
}

// Emptying works on stale capabilities too: else their slots would be lost.
static Error empty(Frame domain, u32 selector) {
    const Error e = check_empty(domain, selector);
    if (e == Error::ok)
        return Error::no_capability;
    if (e != Error::slot_taken)
        return e;
    put(domain, selector, empty_slot);
    return Error::ok;
}

Error cap_delete(const Caller& me, const CapDeleteArgs& a) { return empty(me.domain, a.source); }

Error cap_revoke(const Caller& me, const CapRevokeArgs& a) {
    CapSlot cap;
    if (const Error e = lookup_any(me.domain, a.source, cap); e != Error::ok)
        return e;
    if ((cap.rights & right::manage) == 0)
        return Error::no_right;
    if (cap.generation >= max_generation)
        return Error::limit;
    if (cap.type == ObjectType::block)
        blocks[cap.object].generation++;
    else
        frames[cap.object].generation++;
    cap.generation++;
    put(me.domain, a.source, cap);
    return Error::ok;
}

Error cap_give(const Caller& me, const CapGiveArgs& a) {
    CapSlot to;
    CapSlot source;
    CapSlot copy;
    if (const Error e = lookup(me.domain, a.domain, ObjectType::domain, right::write, to);
        e != Error::ok)
        return e;
    if (const Error e = lookup_any(me.domain, a.source, source); e != Error::ok)
        return e;
    if ((source.rights & right::grant) == 0)
        return Error::no_right;
    if (const Error e = check_empty(to.object, a.slot); e != Error::ok)
        return e;
    if (const Error e = derive(source, a.rights, a.badge, copy); e != Error::ok)
        return e;
    put(to.object, a.slot, copy);
    return Error::ok;
}

Error cap_take(const Caller& me, const CapTakeArgs& a) {
    CapSlot from;
    if (const Error e = lookup(me.domain, a.domain, ObjectType::domain, right::manage, from);
        e != Error::ok)
        return e;
    return empty(from.object, a.slot);
}

} // namespace horos::core
