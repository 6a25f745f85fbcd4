// Which memory is RAM, and who gets it: pure computing on the boot loader's map.
#pragma once
#include "boot_data.hpp"

namespace horos::arch {

struct Range { // frames [first, end)
    u64 first;
    u64 end;
};

struct RangeList {
    static constexpr u32 max = 256;
    Range item[max];
    u32 count;

    Complaint add(u64 first, u64 end);
    Complaint subtract(u64 first, u64 end);
};

// RAM of the map in ascending order without overlaps, whole frames only, below `frame_limit`.
// What two entries disagree about is not RAM.
Complaint find_ram(const BootData& boot, u64 frame_limit, RangeList& out);

u64 frame_count(const RangeList& list);

// Takes `count` frames out of the list, lowest first, starting at a multiple of `alignment` frames
// and ending below `limit`; 0 if there is no such run.
u64 take_frames(RangeList& list, u64 count, u64 alignment, u64 limit);

} // namespace horos::arch
