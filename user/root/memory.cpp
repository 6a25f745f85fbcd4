#include "memory.hpp"

namespace horos::root {
namespace {

constexpr u64 whole_flag = 0x100; // in frame_info's type

bool is_whole(u32 block) {
    const auto info = user::frame_info(block * abi::frames_per_block);
    return info.ok() && (info.type & whole_flag) != 0 && info.mappings == 0;
}

} // namespace

BlockSource& block_source() {
    static constinit BlockSource source;
    return source;
}

bool BlockSource::take(u32& block) {
    while (range_ < boot_->range_count && range_ < abi::max_memory_ranges) {
        const abi::MemoryRange& range = boot_->ranges[range_];
        const u64 first = (range.first_frame + abi::frames_per_block - 1) / abi::frames_per_block;
        const u64 end = (range.first_frame + range.frame_count) / abi::frames_per_block;
        const u64 candidate = next_ > first ? next_ : first;
        if (candidate >= end || candidate >= abi::max_blocks) {
            ++range_;
            continue;
        }
        next_ = static_cast<u32>(candidate) + 1;
        if (is_whole(static_cast<u32>(candidate))) {
            block = static_cast<u32>(candidate);
            ++taken_;
            return true;
        }
    }
    return false;
}

bool BlockSource::take(u64 count, Extent* extents, u32 max_extents, u32& extent_count) {
    extent_count = 0;
    for (u64 i = 0; i < count; ++i) {
        u32 block;
        if (!take(block)) {
            return false;
        }
        Extent* last = extent_count == 0 ? nullptr : &extents[extent_count - 1];
        if (last != nullptr && last->first + last->count == block) {
            ++last->count;
        } else if (extent_count < max_extents) {
            extents[extent_count++] = {block, 1};
        } else {
            return false;
        }
    }
    return true;
}

bool FramePool::take(u32& frame, u32 count) {
    const u32 left = block_count_ * abi::frames_per_block - used_;
    const u32 left_in_block = left % abi::frames_per_block;
    if (count > abi::frames_per_block) {
        return false;
    }
    if (left_in_block != 0 && left_in_block < count) {
        used_ += left_in_block; // the run must not cross blocks
    }
    if (used_ + count > block_count_ * abi::frames_per_block) {
        u32 block;
        if (block_count_ == max_blocks || !block_source().take(block) ||
            !user::block_split(block).ok()) {
            return false;
        }
        blocks_[block_count_++] = block;
    }
    frame = this->frame(used_);
    used_ += count;
    return true;
}

u32 FramePool::frame(u32 index) const {
    return blocks_[index / abi::frames_per_block] * abi::frames_per_block +
           index % abi::frames_per_block;
}

} // namespace horos::root
