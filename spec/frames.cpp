// Memory: frames and blocks, who owns them, and what they can become.
#include "spec/calls.hpp"
#include "spec/state.hpp"

namespace horos::spec {

// A frame of a whole block belongs to whom the block belongs; in a split block it can have an owner
// of its own. What is reserved or the kernel's is nobody's.
Frame owner_of(Frame f) {
    const BlockInfo& block = blocks[block_of(f)];
    switch (block.state) {
    case BlockState::whole:
        return block.owner;
    case BlockState::split:
        if (frames[f].type == ObjectType::reserved || frames[f].type == ObjectType::kernel)
            return 0;
        return frames[f].owner != 0 ? frames[f].owner : block.owner;
    default:
        return 0;
    }
}

Frame owner_of_block(Block b) {
    return blocks[b].state == BlockState::reserved ? 0 : blocks[b].owner;
}

Error memory_of(Frame domain, Frame f) {
    Refusal refuse;
    if (refuse(!exists(f), Error::bad_frame) || //
        refuse(owner_of(f) != domain, Error::not_owner) ||
        refuse(blocks[block_of(f)].state == BlockState::whole, Error::block_whole) ||
        refuse(frames[f].type != ObjectType::ram, Error::wrong_frame_type))
        return refuse.reason;
    return Error::ok;
}

Error raw_memory_of(Frame domain, Frame f) {
    Refusal refuse;
    if (refuse(memory_of(domain, f)) ||
        refuse(frames[f].references != 0 || frames[f].mappings != 0, Error::frame_in_use) ||
        refuse(frames[f].generation >= last_generation, Error::limit))
        return refuse.reason;
    return Error::ok;
}

Error whole_block_of(Frame domain, Block b) {
    Refusal refuse;
    if (refuse(!block_exists(b), Error::bad_frame) ||
        refuse(owner_of_block(b) != domain, Error::not_owner) ||
        refuse(blocks[b].state == BlockState::split, Error::block_split))
        return refuse.reason;
    return Error::ok;
}

static void clear(Frame f) { __builtin_memset(&page_tables[f], 0, frame_size); }

void make(Frame f, ObjectType type) {
    clear(f);
    frames[f].type = type;
    frames[f].generation += 1;
}

void unmake(Frame f) {
    clear(f);
    frames[f].type = ObjectType::ram;
    frames[f].level = 0;
    frames[f].live = 0;
    raise_generation(f);
}

// Generations end: a frame with the last one is never made an object, given or shared again.
void raise_generation(Frame f) {
    if (frames[f].generation != last_generation + 1)
        frames[f].generation += 1;
}

// A frame that has the owner of its block names none itself.
static Frame own_owner(Frame f, Frame domain) {
    return blocks[block_of(f)].owner == domain ? 0 : domain;
}

void change_owner(Frame f, Frame domain) {
    const Frame before = frames[f].owner;
    const Frame after = own_owner(f, domain);
    if (before != 0)
        domains[before].owned -= 1;
    if (after != 0)
        domains[after].owned += 1;
    frames[f].owner = after;
}

static void change_block_owner(Block b, Frame domain) {
    domains[blocks[b].owner].owned -= 1;
    domains[domain].owned += 1;
    blocks[b].owner = domain;
}

Answer frame_info(const Caller& me, const FrameInfoArgs& a) {
    Refusal refuse;
    if (refuse(!exists(a.frame), Error::bad_frame) ||
        refuse(owner_of(a.frame) != me.domain, Error::not_owner))
        return refuse.reason;
    const FrameInfo& frame = frames[a.frame];
    const BlockInfo& block = blocks[block_of(a.frame)];
    const bool whole = block.state == BlockState::whole;
    return Values{{static_cast<u64>(frame.type) + (whole ? 0x100 : 0),
                   u64{frame.references} + frame.live, whole ? block.mappings : frame.mappings}};
}

Answer block_split(const Caller& me, const BlockSplitArgs& a) {
    Refusal refuse;
    if (refuse(whole_block_of(me.domain, a.block)) ||
        refuse(blocks[a.block].mappings != 0, Error::frame_in_use) ||
        refuse(blocks[a.block].generation >= last_generation, Error::limit))
        return refuse.reason;
    blocks[a.block].state = BlockState::split;
    blocks[a.block].generation += 1;
    return Error::ok;
}

// All or none; of several bad frames the first one's error.
static Error all_raw(Frame domain, Frame first, u32 count) {
    for (u32 i = 0; i < frames_per_give; ++i) {
        const Error e = i < count ? raw_memory_of(domain, first + i) : Error::ok;
        if (e != Error::ok)
            return e;
    }
    return Error::ok;
}

Answer frame_give(const Caller& me, const FrameGiveArgs& a) {
    Cap to;
    Refusal refuse;
    if (refuse(find(me.domain, a.domain, ObjectType::domain, right::write, to)) ||
        refuse(a.count < 1 || a.count > frames_per_give, Error::bad_argument) ||
        refuse(all_raw(me.domain, a.frame, a.count)))
        return refuse.reason;
    u32 taken = 0; // from the caller's count, of which all are that had an owner of their own
    u32 added = 0; // to the other domain's
    for (u32 i = 0; i < frames_per_give; ++i) {
        if (i >= a.count)
            break;
        const Frame f = a.frame + i;
        const Frame after = own_owner(f, to.object);
        taken += frames[f].owner != 0;
        added += after != 0;
        frames[f].owner = after;
        frames[f].generation += 1; // what the giver shared ends with the gift
    }
    domains[me.domain].owned -= taken;
    domains[to.object].owned += added;
    return Error::ok;
}

Answer block_give(const Caller& me, const BlockGiveArgs& a) {
    Cap to;
    Refusal refuse;
    if (refuse(find(me.domain, a.domain, ObjectType::domain, right::write, to)) ||
        refuse(whole_block_of(me.domain, a.block)) ||
        refuse(blocks[a.block].mappings != 0, Error::frame_in_use) ||
        refuse(blocks[a.block].generation >= last_generation, Error::limit))
        return refuse.reason;
    change_block_owner(a.block, to.object);
    blocks[a.block].generation += 1;
    return Error::ok;
}

// A split block comes back too, as it is: the frames in it that nobody was given singly are then
// the caller's, whatever they have become.
Answer block_reclaim(const Caller& me, const BlockReclaimArgs& a) {
    Cap from;
    Refusal refuse;
    if (refuse(find(me.domain, a.domain, ObjectType::domain, right::manage, from)) ||
        refuse(!block_exists(a.block), Error::bad_frame) ||
        refuse(owner_of_block(a.block) != from.object, Error::not_owner) ||
        refuse(blocks[a.block].mappings != 0, Error::frame_in_use))
        return refuse.reason;
    change_block_owner(a.block, me.domain);
    if (blocks[a.block].generation != last_generation + 1)
        blocks[a.block].generation += 1;
    return Error::ok;
}

// A memory capability allows something with the memory.
static bool shareable(u8 rights) {
    return (rights & (right::read | right::write | right::exec)) != 0;
}

Answer frame_share(const Caller& me, const FrameShareArgs& a) {
    Refusal refuse;
    if (refuse(memory_of(me.domain, a.frame)) || refuse(!shareable(a.rights), Error::bad_rights) ||
        refuse(frames[a.frame].generation > last_generation, Error::limit) ||
        refuse(vacant(me.domain, a.slot)))
        return refuse.reason;
    put(me.domain, a.slot, {a.frame, frames[a.frame].generation, 0, ObjectType::ram, a.rights});
    return Error::ok;
}

Answer block_share(const Caller& me, const BlockShareArgs& a) {
    Refusal refuse;
    if (refuse(whole_block_of(me.domain, a.block)) ||
        refuse(!shareable(a.rights), Error::bad_rights) ||
        refuse(blocks[a.block].generation > last_generation, Error::limit) ||
        refuse(vacant(me.domain, a.slot)))
        return refuse.reason;
    put(me.domain, a.slot, {a.block, blocks[a.block].generation, 0, ObjectType::block, a.rights});
    return Error::ok;
}

} // namespace horos::spec
