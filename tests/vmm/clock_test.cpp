#include "policy/guest_clock.hpp"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cstring>
#include <vector>

namespace horos::vmm {
namespace {

// The reader's side, as Linux computes it.
u64 nanoseconds(const u8* page, u64 tsc) {
    u64 stamp, base;
    u32 multiplier;
    i8 shift;
    std::memcpy(&stamp, page + 8, 8);
    std::memcpy(&base, page + 16, 8);
    std::memcpy(&multiplier, page + 24, 4);
    std::memcpy(&shift, page + 28, 1);
    u64 delta = tsc - stamp;
    delta = shift >= 0 ? delta << shift : delta >> -shift;
    return base + static_cast<u64>(static_cast<u128>(delta) * multiplier >> 32);
}

RC_GTEST_PROP(GuestClockProperty, CountsNanoseconds, ()) {
    const u64 khz = *rc::gen::inRange<u64>(50'000, 8'000'000);
    const u64 boot = *rc::gen::inRange<u64>(0, u64{1} << 40);
    const u64 offset = *rc::gen::arbitrary<u64>();
    std::vector<u8> ram(4096);
    const GuestMemory memory(ram.data(), ram.size());
    const GuestClock clock(khz, 0, boot);
    RC_ASSERT(clock.write_system_time(memory, 64, offset));
    RC_ASSERT(ram[64] % 2 == 0);
    RC_ASSERT(ram[64 + 29] == 1);
    const u64 seconds = *rc::gen::inRange<u64>(1, 3600);
    const u64 ns = nanoseconds(ram.data() + 64, boot + offset + seconds * khz * 1000);
    const i64 error = static_cast<i64>(ns - seconds * 1'000'000'000);
    RC_ASSERT(error <= 0 && -error < static_cast<i64>(seconds) * 10);
}

TEST(GuestClock, OutsideMemoryIsRefused) {
    std::vector<u8> ram(4096);
    const GuestMemory memory(ram.data(), ram.size());
    const GuestClock clock(2'000'000, 1'795'000'000, 0);
    EXPECT_FALSE(clock.write_system_time(memory, 4080, 0));
    EXPECT_FALSE(clock.write_system_time(memory, ~u64{0} - 3, 0));
    EXPECT_FALSE(clock.write_system_time(memory, 2, 0)) << "unaligned";
    EXPECT_FALSE(clock.write_wall_clock(memory, 4092));
    ASSERT_TRUE(clock.write_wall_clock(memory, 0));
    u32 seconds = 0;
    std::memcpy(&seconds, ram.data() + 4, 4);
    EXPECT_EQ(seconds, 1'795'000'000u);
}

TEST(GuestClock, EachWriteRaisesTheVersionByTwo) {
    std::vector<u8> ram(4096);
    const GuestMemory memory(ram.data(), ram.size());
    const GuestClock clock(2'000'000, 0, 0);
    clock.write_system_time(memory, 0, 0);
    const u8 first = ram[0];
    clock.write_system_time(memory, 0, 5);
    EXPECT_EQ(ram[0], first + 2);
}

} // namespace
} // namespace horos::vmm
