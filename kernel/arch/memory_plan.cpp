#include "memory_plan.hpp"

namespace horos::arch {
namespace {

constexpr Complaint too_many = "the memory map breaks into more than 256 pieces";

void remove(RangeList& list, u32 index) {
    for (u32 i = index; i + 1 < list.count; ++i)
        list.item[i] = list.item[i + 1];
    --list.count;
}

} // namespace

// Keeps the list sorted and merges neighbours.
Complaint RangeList::add(u64 first, u64 end) {
    if (first >= end)
        return nullptr;
    u32 at = 0;
    while (at < count && item[at].end < first)
        ++at;
    while (at < count && item[at].first <= end) {
        if (item[at].first < first)
            first = item[at].first;
        if (item[at].end > end)
            end = item[at].end;
        remove(*this, at);
    }
    if (count == max)
        return too_many;
    for (u32 i = count; i > at; --i)
        item[i] = item[i - 1];
    item[at] = {first, end};
    ++count;
    return nullptr;
}

Complaint RangeList::subtract(u64 first, u64 end) {
    if (first >= end)
        return nullptr;
    for (u32 i = 0; i < count;) {
        const Range old = item[i];
        if (old.end <= first || old.first >= end) {
            ++i;
            continue;
        }
        remove(*this, i);
        if (Complaint wrong = add(old.first, first < old.first ? old.first : first))
            return wrong;
        if (Complaint wrong = add(end > old.end ? old.end : end, old.end))
            return wrong;
        i = 0;
    }
    return nullptr;
}

Complaint find_ram(const BootData& boot, u64 frame_limit, RangeList& out) {
    out.count = 0;
    for (u32 i = 0; i < boot.map_count; ++i) {
        const MapEntry& entry = boot.map[i];
        if (!entry.ram)
            continue;
        const u64 end = (entry.base + entry.size) / abi::frame_size;
        const u64 first = entry.base / abi::frame_size + (entry.base % abi::frame_size != 0);
        if (Complaint wrong = out.add(first, end < frame_limit ? end : frame_limit))
            return wrong;
    }
    for (u32 i = 0; i < boot.map_count; ++i) {
        const MapEntry& entry = boot.map[i];
        if (entry.ram)
            continue;
        const u64 last = (entry.base + entry.size - 1) / abi::frame_size;
        if (Complaint wrong = out.subtract(entry.base / abi::frame_size, last + 1))
            return wrong;
    }
    return nullptr;
}

u64 frame_count(const RangeList& list) {
    u64 sum = 0;
    for (u32 i = 0; i < list.count; ++i)
        sum += list.item[i].end - list.item[i].first;
    return sum;
}

u64 take_frames(RangeList& list, u64 count, u64 alignment, u64 limit) {
    for (u32 i = 0; i < list.count; ++i) {
        const u64 first = (list.item[i].first + alignment - 1) / alignment * alignment;
        const u64 end = list.item[i].end < limit ? list.item[i].end : limit;
        if (first >= end || end - first < count)
            continue;
        if (list.subtract(first, first + count))
            return 0;
        return first;
    }
    return 0;
}

} // namespace horos::arch
