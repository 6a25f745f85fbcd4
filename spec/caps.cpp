// Capabilities: what a selector names, and the calls that copy and remove them.
#include "spec/calls.hpp"
#include "spec/state.hpp"

namespace horos::spec {

u32 generation_of(ObjectType type, u32 object) {
    if (type == ObjectType::block)
        return block_exists(object) ? blocks[object].generation : 0;
    return object < machine.frame_limit ? frames[object].generation : 0;
}

static CapSlot& slot(Frame domain, u32 selector) {
    const Frame table = domains[domain].tables[selector / slots_per_table];
    return cap_tables[table].slots[selector % slots_per_table];
}

// Whether the domain has the slot at all.
static Error reachable(Frame domain, u32 selector) {
    if (selector >= max_selector)
        return Error::bad_selector;
    return domains[domain].tables[selector / slots_per_table] == 0 ? Error::no_table : Error::ok;
}

Error find(Frame domain, u32 selector, Cap& out) {
    Refusal refuse;
    if (refuse(reachable(domain, selector)))
        return refuse.reason;
    const CapSlot& s = slot(domain, selector);
    if (refuse(s.rights == 0, Error::no_capability) ||
        refuse(s.generation != generation_of(s.type, s.object), Error::stale))
        return refuse.reason;
    out = {s.object, s.generation, s.badge, s.type, s.rights};
    return Error::ok;
}

Error find(Frame domain, u32 selector, ObjectType type, u8 rights, Cap& out) {
    Refusal refuse;
    if (refuse(find(domain, selector, out)) || //
        refuse(out.type != type, Error::wrong_type) ||
        refuse((rights & ~out.rights) != 0, Error::no_right))
        return refuse.reason;
    return Error::ok;
}

Error vacant(Frame domain, u32 selector) {
    const Error e = reachable(domain, selector);
    if (e != Error::ok)
        return e;
    return slot(domain, selector).rights != 0 ? Error::slot_taken : Error::ok;
}

void put(Frame domain, u32 selector, const Cap& c) {
    slot(domain, selector) = {c.object, c.generation, c.badge, c.type, c.rights, 0};
}

static void empty(Frame domain, u32 selector) { slot(domain, selector) = {}; }

Cap full(Frame object) {
    return {object, frames[object].generation, 0, frames[object].type, right::all};
}

Answer cap_info(const Caller& me, const CapInfoArgs& a) {
    Cap cap;
    Refusal refuse;
    if (refuse(find(me.domain, a.source, cap)))
        return refuse.reason;
    return Values{{static_cast<u64>(cap.type), cap.rights, cap.badge, cap.object}};
}

// A copy has some of the rights, and a badge that was given once stays.
static Error derivable(const Cap& source, u8 rights, u32 badge) {
    if (rights == 0 || (rights & ~source.rights) != 0)
        return Error::bad_rights;
    return badge != 0 && source.badge != 0 ? Error::bad_argument : Error::ok;
}

static Cap derived(const Cap& source, u8 rights, u32 badge) {
    return {source.object, source.generation, badge != 0 ? badge : source.badge, source.type,
            rights};
}

Answer cap_mint(const Caller& me, const CapMintArgs& a) {
    Cap source;
    Refusal refuse;
    if (refuse(find(me.domain, a.source, source)) || //
        refuse(vacant(me.domain, a.slot)) || refuse(derivable(source, a.rights, a.badge)))
        return refuse.reason;
    put(me.domain, a.slot, derived(source, a.rights, a.badge));
    return Error::ok;
}

Answer cap_move(const Caller& me, const CapMoveArgs& a) {
    Cap source;
    Refusal refuse;
    if (refuse(find(me.domain, a.source, source)) || //
        refuse(vacant(me.domain, a.slot)))
        return refuse.reason;
    put(me.domain, a.slot, source);
    empty(me.domain, a.source);
    return Error::ok;
}

// Emptying works on stale capabilities too: else their slots would be lost.
static Error occupied(Frame domain, u32 selector) {
    const Error e = vacant(domain, selector);
    if (e == Error::ok)
        return Error::no_capability;
    return e == Error::slot_taken ? Error::ok : e;
}

Answer cap_delete(const Caller& me, const CapDeleteArgs& a) {
    Refusal refuse;
    if (refuse(occupied(me.domain, a.source)))
        return refuse.reason;
    empty(me.domain, a.source);
    return Error::ok;
}

// Every capability to the object is dead but this one, which follows its generation.
Answer cap_revoke(const Caller& me, const CapRevokeArgs& a) {
    Cap cap;
    Refusal refuse;
    if (refuse(find(me.domain, a.source, cap)) ||
        refuse((cap.rights & right::manage) == 0, Error::no_right) ||
        refuse(cap.generation >= last_generation, Error::limit))
        return refuse.reason;
    cap.generation += 1;
    if (cap.type == ObjectType::block)
        blocks[cap.object].generation = cap.generation;
    else
        frames[cap.object].generation = cap.generation;
    put(me.domain, a.source, cap);
    return Error::ok;
}

Answer cap_give(const Caller& me, const CapGiveArgs& a) {
    Cap to;
    Cap source;
    Refusal refuse;
    if (refuse(find(me.domain, a.domain, ObjectType::domain, right::write, to)) ||
        refuse(find(me.domain, a.source, source)) ||
        refuse((source.rights & right::grant) == 0, Error::no_right) ||
        refuse(vacant(to.object, a.slot)) || refuse(derivable(source, a.rights, a.badge)))
        return refuse.reason;
    put(to.object, a.slot, derived(source, a.rights, a.badge));
    return Error::ok;
}

Answer cap_take(const Caller& me, const CapTakeArgs& a) {
    Cap from;
    Refusal refuse;
    if (refuse(find(me.domain, a.domain, ObjectType::domain, right::manage, from)) ||
        refuse(occupied(from.object, a.slot)))
        return refuse.reason;
    empty(from.object, a.slot);
    return Error::ok;
}

} // namespace horos::spec
