#include "devices/pit.hpp"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

namespace horos::vmm {
namespace {

constexpr u64 tsc_hz = 1'000'000'000;
constexpr Ticks ticks_of(u64 pit_ticks) { return pit_ticks * tsc_hz / Pit::frequency + 1; }

void program(Pit& pit, u8 channel, u8 mode, u16 count, Ticks now) {
    pit.write(0x43, static_cast<u8>(channel << 6 | 0x30 | mode << 1), now);
    pit.write(static_cast<u16>(0x40 + channel), static_cast<u8>(count), now);
    pit.write(static_cast<u16>(0x40 + channel), static_cast<u8>(count >> 8), now);
}

u16 read_count(Pit& pit, u8 channel, Ticks now) {
    pit.write(0x43, static_cast<u8>(channel << 6), now); // latch
    const u16 port = static_cast<u16>(0x40 + channel);
    const u8 low = pit.read(port, now);
    return static_cast<u16>(low | pit.read(port, now) << 8);
}

TEST(Pit, CountsDownAtItsFrequency) {
    Pit pit(tsc_hz);
    program(pit, 0, 2, 1000, 0);
    EXPECT_NEAR(read_count(pit, 0, ticks_of(400)), 600, 1);
    EXPECT_NEAR(read_count(pit, 0, ticks_of(1400)), 600, 1);
}

TEST(Pit, PeriodicEdgesDoNotDrift) {
    Pit pit(tsc_hz);
    program(pit, 0, 2, 1193, 0);
    u64 edges = 0;
    while (pit.next_edge() < tsc_hz) {
        ASSERT_TRUE(pit.take_edge(pit.next_edge()));
        ++edges;
    }
    EXPECT_EQ(edges, Pit::frequency / 1193);
}

TEST(Pit, MissedPeriodsAreOneEdge) {
    Pit pit(tsc_hz);
    program(pit, 0, 2, 1193, 0);
    EXPECT_TRUE(pit.take_edge(tsc_hz));
    EXPECT_FALSE(pit.take_edge(tsc_hz));
    EXPECT_GT(pit.next_edge(), tsc_hz);
}

TEST(Pit, OneShotFiresOnce) {
    Pit pit(tsc_hz);
    program(pit, 0, 0, 500, 0);
    EXPECT_FALSE(pit.take_edge(ticks_of(499)));
    EXPECT_TRUE(pit.take_edge(ticks_of(501)));
    EXPECT_EQ(pit.next_edge(), never);
}

TEST(Pit, ChannelTwoIsGatedAndReadThroughPort61) {
    Pit pit(tsc_hz);
    pit.write_port61(0x00, 0);
    program(pit, 2, 0, 1000, 0);
    EXPECT_EQ(pit.read_port61(ticks_of(2000)) & 0x20, 0) << "the gate is closed";
    pit.write_port61(0x01, ticks_of(2000));
    EXPECT_EQ(pit.read_port61(ticks_of(2900)) & 0x20, 0);
    EXPECT_EQ(pit.read_port61(ticks_of(3010)) & 0x20, 0x20);
}

TEST(Pit, ReadBackGivesStatusThenCount) {
    Pit pit(tsc_hz);
    program(pit, 0, 2, 0x1234, 0);
    pit.write(0x43, 0xc2, 0);                  // status and count of channel 0
    EXPECT_EQ(pit.read(0x40, 0) & 0x7f, 0x34); // access 3, mode 2, count loaded
    const u8 low = pit.read(0x40, 0);
    EXPECT_EQ(low | pit.read(0x40, 0) << 8, 0x1234);
}

TEST(Pit, BcdCounts) {
    Pit pit(tsc_hz);
    pit.write(0x43, 0x35, 0);
    pit.write(0x40, 0x00, 0);
    pit.write(0x40, 0x10, 0); // 1000 in BCD
    EXPECT_EQ(read_count(pit, 0, ticks_of(1)), 0x0999);
}

RC_GTEST_PROP(PitProperty, NoAccessBreaksItAndEdgesLieAhead, ()) {
    Pit pit(tsc_hz);
    Ticks now = 0;
    const auto steps = *rc::gen::container<std::vector<std::tuple<u8, u8, u8>>>(rc::gen::tuple(
        rc::gen::inRange<u8>(0, 3), rc::gen::inRange<u8>(0, 4), rc::gen::arbitrary<u8>()));
    for (const auto& [what, port, value] : steps) {
        now += u64{value} * 997;
        if (what == 0)
            pit.write(static_cast<u16>(0x40 + port), value, now);
        else if (what == 1)
            pit.read(static_cast<u16>(0x40 + port), now);
        else
            pit.write_port61(value, now);
        pit.read_port61(now);
        pit.take_edge(now);
        RC_ASSERT(pit.next_edge() > now);
    }
}

} // namespace
} // namespace horos::vmm
