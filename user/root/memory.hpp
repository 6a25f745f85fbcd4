// Memory that the root task hands out: whole 2 MiB blocks, and pools of single frames.
#pragma once
#include "outcome.hpp"

#include <horos/abi/boot_page.hpp>

namespace horos::root {

struct Extent { // blocks in a row
    u32 first = 0;
    u32 count = 0;
};

// Gives out the machine's whole blocks, once, from the lowest up. Nothing comes back: what a
// partition has stays its own across restarts.
class BlockSource {
public:
    void set(const abi::BootPage& boot) { boot_ = &boot; }
    bool take(u32& block);
    // `count` blocks in up to `max_extents` runs.
    bool take(u64 count, Extent* extents, u32 max_extents, u32& extent_count);
    u32 taken() const { return taken_; }

private:
    const abi::BootPage* boot_ = nullptr;
    u32 range_ = 0;
    u32 next_ = 0;
    u32 taken_ = 0;
};

// Frames for the kernel objects, page tables and pages of one partition. All go back at once.
class FramePool {
public:
    static constexpr u32 max_blocks = 16;

    // A run of `count` frames that lie in one block.
    bool take(u32& frame, u32 count = 1);
    u32 used() const { return used_; }
    u32 frame(u32 index) const;
    // After every used frame was taken back from the kernel.
    void clear() { used_ = 0; }

private:
    u32 blocks_[max_blocks] = {};
    u32 block_count_ = 0;
    u32 used_ = 0;
};

BlockSource& block_source();

} // namespace horos::root
