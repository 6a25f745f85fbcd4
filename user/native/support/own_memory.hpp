// Memory of a native program's own: frames for kernel objects, and pages to map.
#pragma once
#include <horos/rt/start.hpp>

namespace horos::native {

using rt::Error;
using rt::u16;
using rt::u32;
using rt::u64;
using rt::u8;

class OwnMemory {
public:
    // Splits the program's blocks, all but the first `keep_whole`. Panics without memory.
    void open(const abi::StartPage& start, u32 keep_whole = 0);

    // A run of frames; panics when there are no more.
    u32 take(u32 count = 1);
    bool owns(u32 frame) const;
    // Block number `index` of those that were kept whole.
    u32 whole_block(u32 index) const { return whole_[index % max_whole]; }
    u32 first_frame() const { return static_cast<u32>(ranges_[0].first_frame); }

    // Maps into a space (by default the program's own), with page tables where they are missing.
    Error map(u64 address, u32 frame, u8 rights, u32 space = abi::start_selector::space);
    // The same for a frame that is then at hand at `address`, zeroed.
    u32 page(u64 address, u8 rights = abi::right::read | abi::right::write);

private:
    static constexpr u32 max_whole = 4;

    u32 whole_[max_whole] = {};
    u32 whole_count_ = 0;
    const abi::MemoryRange* ranges_ = nullptr;
    u32 range_count_ = 0;
    u32 range_ = 0;
    u64 next_ = 0; // within the range
};

OwnMemory& own_memory();

} // namespace horos::native
