// The division of memory, against a frame-by-frame reckoning.
#include "kernel/arch/memory_plan.hpp"
#include "memory_image.hpp"
#include <gtest/gtest.h>
#include <set>

namespace horos::arch {
namespace {

BootData random_map(std::mt19937_64& random) {
    BootData data{};
    const u64 count = random() % 12;
    for (u64 i = 0; i < count; ++i) {
        const u64 base = random() % 64 * 1024, size = random() % 32 * 1024 + random() % 3;
        EXPECT_EQ(add_map_entry(data, base, size, random() % 3 != 0), nullptr);
    }
    return data;
}

// RAM is a frame that RAM entries cover byte for byte and that no other entry touches.
std::set<u64> slow_ram(const BootData& data, u64 limit) {
    std::set<u64> ram;
    for (u64 frame = 0; frame < limit; ++frame) {
        bool other = false;
        std::vector<bool> covered(4096);
        for (u32 i = 0; i < data.map_count; ++i) {
            const MapEntry& e = data.map[i];
            for (u64 b = 0; b < 4096; b += 1) {
                const u64 at = frame * 4096 + b;
                if (at < e.base || at - e.base >= e.size)
                    continue;
                if (e.ram)
                    covered[b] = true;
                else
                    other = true;
            }
        }
        // A frame made of two RAM entries is not taken: entries are cut to whole frames singly.
        bool whole = false;
        for (u32 i = 0; i < data.map_count; ++i)
            whole |= data.map[i].ram && data.map[i].base <= frame * 4096 &&
                     data.map[i].base + data.map[i].size >= (frame + 1) * 4096;
        if (whole && !other)
            ram.insert(frame);
    }
    return ram;
}

std::set<u64> frames_of(const RangeList& list) {
    std::set<u64> all;
    for (u32 i = 0; i < list.count; ++i) {
        EXPECT_LT(list.item[i].first, list.item[i].end);
        if (i > 0) {
            EXPECT_GT(list.item[i].first, list.item[i - 1].end); // ascending, merged
        }
        for (u64 f = list.item[i].first; f < list.item[i].end; ++f)
            all.insert(f);
    }
    return all;
}

TEST(MemoryPlan, FindsExactlyTheRam) {
    std::mt19937_64 random(3);
    for (int round = 0; round < 300; ++round) {
        const BootData data = random_map(random);
        RangeList list;
        ASSERT_EQ(find_ram(data, 20, list), nullptr);
        EXPECT_EQ(frames_of(list), slow_ram(data, 20));
    }
}

TEST(MemoryPlan, SetOperationsAgreeWithSets) {
    std::mt19937_64 random(4);
    for (int round = 0; round < 500; ++round) {
        RangeList list{};
        std::set<u64> expected;
        for (int step = 0; step < 30; ++step) {
            const u64 first = random() % 60, end = first + random() % 12;
            const bool add = random() % 2;
            ASSERT_EQ(add ? list.add(first, end) : list.subtract(first, end), nullptr);
            for (u64 f = first; f < end; ++f)
                add ? (void)expected.insert(f) : (void)expected.erase(f);
            ASSERT_EQ(frames_of(list), expected);
            ASSERT_EQ(frame_count(list), expected.size());
        }
    }
}

TEST(MemoryPlan, TakesTheLowestFittingRun) {
    RangeList list{};
    list.add(1, 4);
    list.add(10, 100);
    EXPECT_EQ(take_frames(list, 5, 8, 1000), 16u);
    EXPECT_EQ(take_frames(list, 5, 1, 1000), 10u);
    EXPECT_EQ(take_frames(list, 5, 1, 14), 0u); // 15 is the next, beyond the limit
    EXPECT_EQ(take_frames(list, 3, 1, 1000), 1u);
    EXPECT_EQ(take_frames(list, 100, 1, 1000), 0u);
    EXPECT_EQ(frame_count(list), 90u - 10);
}

TEST(MemoryPlan, ComplainsWhenItBreaksIntoTooManyPieces) {
    RangeList list{};
    for (u64 i = 0; i < RangeList::max; ++i)
        ASSERT_EQ(list.add(4 * i, 4 * i + 3), nullptr);
    EXPECT_NE(list.add(5000, 5001), nullptr);
    EXPECT_NE(list.subtract(1, 2), nullptr);
}

TEST(MemoryPlan, RefusesEntriesThatWrap) {
    BootData data{};
    EXPECT_NE(add_map_entry(data, ~u64{0}, 2, true), nullptr);
    EXPECT_EQ(add_map_entry(data, ~u64{0}, 0, true), nullptr);
    for (u32 i = 0; i < BootData::max_map; ++i)
        ASSERT_EQ(add_map_entry(data, 0, 1, true), nullptr);
    EXPECT_NE(add_map_entry(data, 0, 1, true), nullptr);
}

} // namespace
} // namespace horos::arch
