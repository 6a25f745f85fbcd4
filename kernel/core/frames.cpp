#include "kernel/core/frames.hpp"
#include "kernel/core/caps.hpp"

namespace horos::core {

Frame frame_owner(Frame f) {
    const FrameInfo& info = frames[f];
    if (blocks[block_of(f)].state == BlockState::reserved || info.type == ObjectType::reserved ||
        info.type == ObjectType::kernel)
        return 0;
    return info.owner != 0 ? info.owner : blocks[block_of(f)].owner;
}

Error check_ram(Frame domain, Frame f) {
    if (!frame_exists(f))
        return Error::bad_frame;
    const BlockInfo& block = blocks[block_of(f)];
    if (block.state == BlockState::whole)
        return block.owner == domain ? Error::block_whole : Error::not_owner;
    if (frame_owner(f) != domain)
        return Error::not_owner;
    return frames[f].type == ObjectType::ram ? Error::ok : Error::wrong_frame_type;
}

Error check_retype(Frame domain, Frame f) {
    if (const Error e = check_ram(domain, f); e != Error::ok)
        return e;
    if (frames[f].references != 0 || frames[f].mappings != 0)
        return Error::frame_in_use;
    return frames[f].generation < max_generation ? Error::ok : Error::limit;
}

Error check_block(Frame domain, Block b) {
    if (b >= max_blocks || b * frames_per_block >= machine.frame_limit)
        return Error::bad_frame;
    const BlockInfo& block = blocks[b];
    if (block.state == BlockState::reserved || block.owner != domain)
        return Error::not_owner;
    return block.state == BlockState::whole ? Error::ok : Error::block_split;
}

void set_owner(Frame f, Frame domain) {
    FrameInfo& info = frames[f];
    if (info.owner != 0)
        domains[info.owner].owned--;
    info.owner = blocks[block_of(f)].owner == domain ? 0 : domain;
    if (info.owner != 0)
        domains[info.owner].owned++;
}

void clear_frame(Frame f) { __builtin_memset(&page_tables[f], 0, frame_size); }

// The view changes here: nothing may move across it.
static void view_barrier() { asm volatile("" ::: "memory"); }

void retype(Frame f, ObjectType type) {
    view_barrier();
    clear_frame(f);
    frames[f].type = type;
    frames[f].generation++;
    view_barrier();
}

void unmake(Frame f) {
    view_barrier();
    clear_frame(f);
    frames[f].type = ObjectType::ram;
    frames[f].level = 0;
    frames[f].live = 0;
    raise_generation(f);
    view_barrier();
}

// A frame whose generations are used up keeps the last one: check_retype never takes it again, so
// no capability that names that generation can come to mean another object.
void raise_generation(Frame f) {
    if (frames[f].generation <= max_generation)
        frames[f].generation++;
}

Error frame_info(const Caller& me, const FrameInfoArgs& a, Values& v) {
    if (!frame_exists(a.frame))
        return Error::bad_frame;
    const BlockInfo& block = blocks[block_of(a.frame)];
    const bool whole = block.state == BlockState::whole;
    const Frame owner = whole ? block.owner : frame_owner(a.frame);
    if (owner != me.domain)
        return Error::not_owner;
    const FrameInfo& info = frames[a.frame];
    v.v[0] = static_cast<u64>(info.type) | (whole ? 0x100 : 0);
    v.v[1] = u64{info.references} + info.live;
    v.v[2] = whole ? block.mappings : info.mappings;
    return Error::ok;
}

Error block_split(const Caller& me, const BlockSplitArgs& a) {
    if (const Error e = check_block(me.domain, a.block); e != Error::ok)
        return e;
    BlockInfo& block = blocks[a.block];
    if (block.mappings != 0)
        return Error::frame_in_use;
    if (block.generation >= max_generation)
        return Error::limit;
    block.state = BlockState::split;
    block.generation++;
    return Error::ok;
}

Error frame_give(const Caller& me, const FrameGiveArgs& a) {
    CapSlot to;
    if (const Error e = lookup(me.domain, a.domain, ObjectType::domain, right::write, to);
        e != Error::ok)
        return e;
    if (a.count == 0 || a.count > frames_per_give)
        return Error::bad_argument;
    for (u32 i = 0; i < frames_per_give; ++i) {
        if (i >= a.count)
            break;
        if (const Error e = check_retype(me.domain, a.frame + i); e != Error::ok)
            return e;
    }
    // What has an owner of its own is the caller's, as was checked: the two counts move at once.
    u32 lost = 0;
    u32 gained = 0;
    for (u32 i = 0; i < frames_per_give; ++i) {
        if (i >= a.count)
            break;
        FrameInfo& info = frames[a.frame + i];
        lost += info.owner != 0;
        info.owner = blocks[block_of(a.frame + i)].owner == to.object ? 0 : to.object;
        gained += info.owner != 0;
        info.generation++; // what the giver shared ends with the gift
    }
    domains[me.domain].owned -= lost;
    domains[to.object].owned += gained;
    return Error::ok;
}

Error block_give(const Caller& me, const BlockGiveArgs& a) {
    CapSlot to;
    if (const Error e = lookup(me.domain, a.domain, ObjectType::domain, right::write, to);
        e != Error::ok)
        return e;
    if (const Error e = check_block(me.domain, a.block); e != Error::ok)
        return e;
    BlockInfo& block = blocks[a.block];
    if (block.mappings != 0)
        return Error::frame_in_use;
    if (block.generation >= max_generation)
        return Error::limit;
    domains[block.owner].owned--;
    block.owner = to.object;
    domains[to.object].owned++;
    block.generation++;
    return Error::ok;
}

// A split block comes back as it is: the frames in it that nobody was given singly are then the
// caller's, whatever they have become.
Error block_reclaim(const Caller& me, const BlockReclaimArgs& a) {
    CapSlot from;
    if (const Error e = lookup(me.domain, a.domain, ObjectType::domain, right::manage, from);
        e != Error::ok)
        return e;
    const Error state = check_block(from.object, a.block);
    if (state != Error::ok && state != Error::block_split)
        return state;
    BlockInfo& block = blocks[a.block];
    if (block.mappings != 0)
        return Error::frame_in_use;
    domains[block.owner].owned--;
    block.owner = me.domain;
    domains[me.domain].owned++;
    if (block.generation <= max_generation)
        block.generation++;
    return Error::ok;
}

// Memory capabilities carry memory rights and the right to be passed on, nothing else.
static constexpr u8 memory_rights =
    right::read | right::write | right::exec | right::manage | right::grant;

static bool shareable(u8 rights) {
    return (rights & (right::read | right::write | right::exec)) != 0 &&
           (rights & ~memory_rights) == 0;
}

Error frame_share(const Caller& me, const FrameShareArgs& a) {
    if (const Error e = check_ram(me.domain, a.frame); e != Error::ok)
        return e;
    if (!shareable(a.rights))
        return Error::bad_rights;
    if (frames[a.frame].generation > max_generation)
        return Error::limit; // nothing could end it again
    if (const Error e = check_empty(me.domain, a.slot); e != Error::ok)
        return e;
    put(me.domain, a.slot, {a.frame, frames[a.frame].generation, 0, ObjectType::ram, a.rights, 0});
    return Error::ok;
}

Error block_share(const Caller& me, const BlockShareArgs& a) {
    if (const Error e = check_block(me.domain, a.block); e != Error::ok)
        return e;
    if (!shareable(a.rights))
        return Error::bad_rights;
    if (blocks[a.block].generation > max_generation)
        return Error::limit; // nothing could end it again
    if (const Error e = check_empty(me.domain, a.slot); e != Error::ok)
        return e;
    put(me.domain, a.slot,
        {a.block, blocks[a.block].generation, 0, ObjectType::block, a.rights, 0});
    return Error::ok;
}

} // namespace horos::core
