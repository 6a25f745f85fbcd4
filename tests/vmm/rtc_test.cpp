#include "devices/rtc.hpp"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <ctime>

namespace horos::vmm {
namespace {

constexpr u64 tsc_hz = 1'000'000;

u8 get(Rtc& rtc, u8 index, Ticks now) {
    rtc.write(0x70, index, now);
    return rtc.read(0x71, now);
}
void set(Rtc& rtc, u8 index, u8 value, Ticks now) {
    rtc.write(0x70, index, now);
    rtc.write(0x71, value, now);
}
u32 bcd(u8 value) { return (value >> 4) * 10u + (value & 15); }

RC_GTEST_PROP(RtcProperty, CalendarAgreesWithTheCLibrary, ()) {
    // To the year 2199.
    const u64 seconds = *rc::gen::inRange<u64>(0, 7'258'118'399);
    Rtc rtc(tsc_hz, seconds, 0);
    const time_t moment = static_cast<time_t>(seconds);
    tm expected{};
    gmtime_r(&moment, &expected);
    RC_ASSERT(bcd(get(rtc, 0, 0)) == static_cast<u32>(expected.tm_sec));
    RC_ASSERT(bcd(get(rtc, 2, 0)) == static_cast<u32>(expected.tm_min));
    RC_ASSERT(bcd(get(rtc, 4, 0)) == static_cast<u32>(expected.tm_hour));
    RC_ASSERT(bcd(get(rtc, 6, 0)) == static_cast<u32>(expected.tm_wday + 1));
    RC_ASSERT(bcd(get(rtc, 7, 0)) == static_cast<u32>(expected.tm_mday));
    RC_ASSERT(bcd(get(rtc, 8, 0)) == static_cast<u32>(expected.tm_mon + 1));
    RC_ASSERT(bcd(get(rtc, 9, 0)) + 100 * bcd(get(rtc, 0x32, 0)) ==
              static_cast<u32>(expected.tm_year + 1900));
}

RC_GTEST_PROP(RtcProperty, WhatIsSetIsReadBack, ()) {
    Rtc rtc(tsc_hz, 0, 0);
    const u64 seconds = *rc::gen::inRange<u64>(946'684'800, 4'102'444'799); // 2000 to 2099
    const time_t moment = static_cast<time_t>(seconds);
    tm want{};
    gmtime_r(&moment, &want);
    set(rtc, 11, 0x06, 0); // binary, 24 hours
    set(rtc, 9, static_cast<u8>(want.tm_year % 100), 0);
    set(rtc, 0x32, 20, 0);
    set(rtc, 7, 1, 0); // so that no month in between is too short
    set(rtc, 8, static_cast<u8>(want.tm_mon + 1), 0);
    set(rtc, 7, static_cast<u8>(want.tm_mday), 0);
    set(rtc, 4, static_cast<u8>(want.tm_hour), 0);
    set(rtc, 2, static_cast<u8>(want.tm_min), 0);
    set(rtc, 0, static_cast<u8>(want.tm_sec), 0);
    RC_ASSERT(get(rtc, 9, 0) == want.tm_year % 100);
    RC_ASSERT(get(rtc, 0x32, 0) == 20);
    RC_ASSERT(get(rtc, 6, 0) == want.tm_wday + 1);
    RC_ASSERT(get(rtc, 7, 0) == want.tm_mday);
    RC_ASSERT(get(rtc, 8, 0) == want.tm_mon + 1);
    RC_ASSERT(get(rtc, 4, 0) == want.tm_hour);
    RC_ASSERT(get(rtc, 0, 10 * tsc_hz) == (want.tm_sec + 10) % 60);
}

TEST(Rtc, LeapDayOfAYearSetBeforeItsCentury) {
    Rtc rtc(tsc_hz, 0, 0); // 1970, so that writing the year alone makes it 1932
    set(rtc, 11, 0x06, 0);
    set(rtc, 9, 32, 0);
    EXPECT_EQ(get(rtc, 9, 0), 32);
    EXPECT_EQ(get(rtc, 0x32, 0), 19);
    set(rtc, 0x32, 20, 0);
    set(rtc, 8, 2, 0);
    set(rtc, 7, 29, 0);
    EXPECT_EQ(get(rtc, 7, 0), 29);
    EXPECT_EQ(get(rtc, 8, 0), 2);
    EXPECT_EQ(get(rtc, 6, 0), 1); // 29 February 2032 is a Sunday
}

TEST(Rtc, TwelveHourMode) {
    Rtc rtc(tsc_hz, 13 * 3600, 0);
    set(rtc, 11, 0x00, 0);
    EXPECT_EQ(get(rtc, 4, 0), 0x81);
    Rtc midnight(tsc_hz, 0, 0);
    set(midnight, 11, 0x00, 0);
    EXPECT_EQ(get(midnight, 4, 0), 0x12);
}

TEST(Rtc, UpdateInProgressOnlyAtTheEndOfASecond) {
    Rtc rtc(tsc_hz, 0, 0);
    EXPECT_EQ(get(rtc, 10, tsc_hz / 2) & 0x80, 0);
    EXPECT_EQ(get(rtc, 10, tsc_hz - 100) & 0x80, 0x80);
}

TEST(Rtc, UpdateInterruptEachSecondUntilStatusIsRead) {
    Rtc rtc(tsc_hz, 0, 0);
    set(rtc, 11, 0x12, 0);
    ASSERT_EQ(rtc.next_event(), tsc_hz);
    rtc.advance(tsc_hz);
    EXPECT_TRUE(rtc.irq());
    EXPECT_EQ(get(rtc, 12, tsc_hz) & 0x90, 0x90);
    EXPECT_FALSE(rtc.irq());
    EXPECT_EQ(get(rtc, 12, tsc_hz), 0);
}

TEST(Rtc, AlarmMatchesWithDontCare) {
    Rtc rtc(tsc_hz, 0, 0);
    set(rtc, 1, 0x05, 0);
    set(rtc, 3, 0xff, 0);
    set(rtc, 5, 0xff, 0);
    set(rtc, 11, 0x22, 0);
    for (u64 second = 1; second < 5; ++second) {
        rtc.advance(second * tsc_hz);
        EXPECT_FALSE(rtc.irq()) << second;
    }
    rtc.advance(5 * tsc_hz);
    EXPECT_TRUE(rtc.irq());
}

TEST(Rtc, PeriodicInterrupt) {
    Rtc rtc(tsc_hz, 0, 0);
    set(rtc, 10, 0x26, 0); // 1024 Hz
    set(rtc, 11, 0x42, 0);
    ASSERT_NE(rtc.next_event(), never);
    rtc.advance(rtc.next_event());
    EXPECT_TRUE(rtc.irq());
}

TEST(Rtc, MemoryIsKept) {
    Rtc rtc(tsc_hz, 0, 0);
    set(rtc, 0x40, 0xa5, 0);
    EXPECT_EQ(get(rtc, 0x40, 0), 0xa5);
    EXPECT_EQ(get(rtc, 13, 0), 0x80);
}

} // namespace
} // namespace horos::vmm
