#include "native/support/own_memory.hpp"

#include <horos/rt/report.hpp>

namespace horos::native {

OwnMemory& own_memory() {
    static constinit OwnMemory memory;
    return memory;
}

void OwnMemory::open(const abi::StartPage& start, u32 keep_whole) {
    rt::require(start.pool_count != 0, "this program needs memory of its own");
    ranges_ = start.pool;
    range_count_ = start.pool_count;
    for (u32 i = 0; i < range_count_; ++i) {
        const abi::MemoryRange& range = ranges_[i];
        for (u64 at = 0; at < range.frame_count; at += abi::frames_per_block) {
            const u64 block = (range.first_frame + at) / abi::frames_per_block;
            if (whole_count_ < keep_whole && whole_count_ < max_whole) {
                whole_[whole_count_++] = static_cast<u32>(block);
                continue;
            }
            // block_split: an earlier life of this program has done it.
            const Error error = user::block_split(static_cast<u32>(block)).error;
            rt::require(error == Error::ok || error == Error::block_split,
                        "cannot split a block of my own");
        }
    }
}

u32 OwnMemory::take(u32 count) {
    if (range_ == 0 && next_ == 0) {
        next_ = u64{whole_count_} * abi::frames_per_block; // the first blocks are kept whole
    }
    while (range_ < range_count_ && next_ + count > ranges_[range_].frame_count) {
        ++range_;
        next_ = 0;
    }
    rt::require(range_ < range_count_, "out of memory of my own");
    const u64 frame = ranges_[range_].first_frame + next_;
    next_ += count;
    return static_cast<u32>(frame);
}

bool OwnMemory::owns(u32 frame) const {
    for (u32 i = 0; i < range_count_; ++i) {
        if (frame >= ranges_[i].first_frame &&
            frame - ranges_[i].first_frame < ranges_[i].frame_count) {
            return true;
        }
    }
    return false;
}

Error OwnMemory::map(u64 address, u32 frame, u8 rights, u32 space) {
    Error error = user::map_frame(space, address, frame, rights).error;
    for (u8 level = 3; error == Error::table_missing && level >= 1; --level) {
        const u64 range = abi::frame_size << (9 * level);
        const Error added = user::table_map(space, address & ~(range - 1), level, take()).error;
        if (added != Error::ok && added != Error::already_mapped) {
            return added;
        }
        if (level == 1) {
            error = user::map_frame(space, address, frame, rights).error;
        }
    }
    return error;
}

u32 OwnMemory::page(u64 address, u8 rights) {
    const u32 frame = take();
    rt::require(map(address, frame, rights) == Error::ok, "cannot map a page of my own");
    if ((rights & abi::right::write) != 0) {
        __builtin_memset(reinterpret_cast<void*>(address), 0, abi::frame_size);
    }
    return frame;
}

} // namespace horos::native
