#include "kernel/core/frames.hpp"
#include "spec/invariants.hpp"

namespace horos::spec {

static bool is_domain(Frame f) {
    return f < machine.frame_limit && frames[f].type == ObjectType::domain;
}
static bool is_nobodys(ObjectType type) {
    return type == ObjectType::reserved || type == ObjectType::kernel;
}
static bool is_object(ObjectType type) { return type != ObjectType::ram && !is_nobodys(type); }

bool inv_frame_type(Frame f) {
    return f == 0 ? frames[0].type == ObjectType::reserved : frames[f].type <= ObjectType::platform;
}

bool inv_frame_in_block(Frame f) {
    const FrameInfo& i = frames[f];
    const bool untouched = i.owner == 0 && i.generation == 0 && i.references == 0 &&
                           i.mappings == 0 && i.live == 0 && i.type == ObjectType::ram &&
                           i.level == 0;
    return blocks[block_of(f)].state == BlockState::split || untouched;
}

bool inv_frame_owner(Frame f) {
    const FrameInfo& i = frames[f];
    return i.owner == 0 || (is_domain(i.owner) && !is_nobodys(i.type));
}

bool inv_frame_level(Frame f) {
    const FrameInfo& i = frames[f];
    return i.type == ObjectType::page_table ? i.level >= 1 && i.level <= 4 && i.live <= 512
                                            : i.level == 0 && i.live == 0;
}

bool inv_frame_mappings(Frame f) {
    return frames[f].mappings == 0 || frames[f].type == ObjectType::ram;
}

bool inv_frame_references(Frame f) {
    switch (frames[f].type) {
    case ObjectType::ram: // state pages of virtual CPUs
    case ObjectType::domain:
    case ObjectType::space:
    case ObjectType::thread:
    case ObjectType::notification:
        return true;
    case ObjectType::cap_table:
    case ObjectType::page_table:
    case ObjectType::vmcb:
    case ObjectType::fpu:
    case ObjectType::io_map:
    case ObjectType::msr_map:
        return frames[f].references <= 1;
    default:
        return frames[f].references == 0;
    }
}

bool inv_frame_generation(Frame f) {
    return !is_object(frames[f].type) ||
           (frames[f].generation >= 1 && frames[f].generation <= max_generation);
}

bool inv_block(Block b) {
    const BlockInfo& i = blocks[b];
    const bool reserved_is_plain = i.owner == 0 && i.generation == 0 && i.mappings == 0;
    return i.state <= BlockState::whole && (i.state != BlockState::reserved || reserved_is_plain) &&
           (i.owner == 0 || is_domain(i.owner)) &&
           (i.mappings == 0 || i.state == BlockState::whole);
}

} // namespace horos::spec
