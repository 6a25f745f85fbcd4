#include "devices/ioapic.hpp"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

namespace horos::vmm {
namespace {

struct IoapicTest : testing::Test {
    Ioapic apic;
    u32 get(u32 index) {
        apic.write(0x00, index);
        return apic.read(0x10);
    }
    void set(u32 index, u32 value) {
        apic.write(0x00, index);
        apic.write(0x10, value);
    }
    void route(u32 pin, u32 low, u8 destination = 0) {
        set(0x11 + pin * 2, u32{destination} << 24);
        set(0x10 + pin * 2, low);
    }
};

constexpr u32 masked = 1 << 16, level = 1 << 15, remote_irr = 1 << 14;

TEST_F(IoapicTest, VersionSaysTwentyFourPinsAndAllStartMasked) {
    EXPECT_EQ(get(1), 0x0017'0011u);
    for (u32 pin = 0; pin < 24; ++pin)
        EXPECT_EQ(get(0x10 + pin * 2), masked);
    EXPECT_EQ(get(0x40), 0u);
}

TEST_F(IoapicTest, EdgeIsDeliveredOncePerRise) {
    route(4, 0x24, 3);
    apic.set_line(4, true);
    const auto message = apic.next_message();
    ASSERT_TRUE(message);
    EXPECT_EQ(message->vector, 0x24);
    EXPECT_EQ(message->destination, 3u);
    EXPECT_FALSE(message->level);
    EXPECT_FALSE(apic.next_message());
    apic.set_line(4, true);
    EXPECT_FALSE(apic.next_message());
    apic.set_line(4, false);
    apic.set_line(4, true);
    EXPECT_TRUE(apic.next_message());
}

TEST_F(IoapicTest, EdgeOnMaskedPinIsLost) {
    route(4, masked | 0x24);
    apic.set_line(4, true);
    route(4, 0x24);
    EXPECT_FALSE(apic.next_message());
}

TEST_F(IoapicTest, LevelIsHeldByRemoteIrrAndComesAgainAfterEoi) {
    route(9, level | 0x39);
    apic.set_line(9, true);
    ASSERT_TRUE(apic.next_message());
    EXPECT_TRUE(get(0x10 + 18) & remote_irr);
    EXPECT_FALSE(apic.next_message());
    apic.end_of_interrupt(0x38); // another vector
    EXPECT_FALSE(apic.next_message());
    apic.end_of_interrupt(0x39);
    ASSERT_TRUE(apic.next_message());
    apic.set_line(9, false);
    apic.end_of_interrupt(0x39);
    EXPECT_FALSE(apic.next_message());
    EXPECT_FALSE(get(0x10 + 18) & remote_irr);
}

TEST_F(IoapicTest, LevelOnMaskedPinWaitsForTheMaskToGo) {
    route(9, masked | level | 0x39);
    apic.set_line(9, true);
    EXPECT_FALSE(apic.next_message());
    route(9, level | 0x39);
    EXPECT_TRUE(apic.next_message());
}

TEST_F(IoapicTest, SwitchingToEdgeClearsRemoteIrr) {
    route(9, level | 0x39);
    apic.set_line(9, true);
    apic.next_message();
    set(0x10 + 18, masked | 0x39);
    EXPECT_FALSE(get(0x10 + 18) & remote_irr);
}

TEST_F(IoapicTest, ReadOnlyAndReservedBitsStay) {
    set(0x10, ~u32{0});
    set(0x11, ~u32{0});
    EXPECT_EQ(get(0x10), 0x0001'afffu);
    EXPECT_EQ(get(0x11), 0xff00'0000u);
}

RC_GTEST_PROP(IoapicProperty, LevelLineIsServedUntilItFalls, ()) {
    Ioapic apic;
    apic.write(0x00, 0x10 + 5 * 2);
    apic.write(0x10, level | 0x45);
    bool high = false, in_service = false;
    for (const int step : *rc::gen::container<std::vector<int>>(rc::gen::inRange(0, 3))) {
        if (step == 0)
            apic.set_line(5, high = true);
        else if (step == 1)
            apic.set_line(5, high = false);
        else if (in_service) {
            apic.end_of_interrupt(0x45);
            in_service = false;
        }
        if (apic.next_message()) {
            RC_ASSERT(!in_service);
            RC_ASSERT(high);
            in_service = true;
        }
        RC_ASSERT(!high || in_service);
    }
}

} // namespace
} // namespace horos::vmm
