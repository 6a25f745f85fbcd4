// Maps memory into an address space, with page tables from a pool where they are missing.
#pragma once
#include "memory.hpp"

namespace horos::root {

class SpaceEditor {
public:
    SpaceEditor(u32 space, FramePool& pool) : space_(space), pool_(&pool) {}

    Outcome map_frame(u64 address, u32 frame, u8 rights);
    Outcome map_frames(u64 address, u32 first, u64 count, u8 rights);
    Outcome map_block(u64 address, u32 block, u8 rights);
    Outcome map_device(u64 address, u32 mmio, u32 page, u8 rights);

private:
    template <class Map>
    Outcome with_tables(u64 address, u8 leaf_level, const Map& map);
    Outcome add_tables(u64 address, u8 leaf_level);

    u32 space_;
    FramePool* pool_;
};

// One page of the root task's space through which it fills frames of others.
class Scratch {
public:
    // Zeroes the frame, then copies `size` bytes to its start.
    static Outcome fill(u32 frame, const void* bytes, u64 size);
};

// The root task's own page tables and objects.
FramePool& root_pool();
SpaceEditor root_space();

} // namespace horos::root
