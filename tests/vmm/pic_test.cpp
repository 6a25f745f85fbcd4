#include "devices/pic.hpp"

#include <gtest/gtest.h>

namespace horos::vmm {
namespace {

struct PicTest : testing::Test {
    PicPair pics;
    void SetUp() override {
        for (const u16 base : {0x20, 0xa0}) {
            pics.write(base, 0x11);
            pics.write(base + 1, base == 0x20 ? 0x30 : 0x38);
            pics.write(base + 1, base == 0x20 ? 4 : 2);
            pics.write(base + 1, 1);
            pics.write(base + 1, 0);
        }
    }
};

TEST_F(PicTest, VectorsFollowTheBasesOfBothChips) {
    pics.set_line(1, true);
    ASSERT_EQ(pics.request(), 1u);
    EXPECT_EQ(pics.vector_of(1), 0x31);
    EXPECT_EQ(pics.vector_of(12), 0x3c);
}

TEST_F(PicTest, LowerLinesComeFirstAndBlockOthersUntilEoi) {
    pics.set_line(5, true);
    pics.set_line(1, true);
    ASSERT_EQ(pics.request(), 1u);
    pics.acknowledge(1);
    EXPECT_FALSE(pics.request());
    pics.write(0x20, 0x20); // non-specific EOI
    EXPECT_EQ(pics.request(), 5u);
}

TEST_F(PicTest, SlaveComesThroughLineTwo) {
    pics.set_line(8, true);
    ASSERT_EQ(pics.request(), 8u);
    pics.acknowledge(8);
    pics.set_line(3, true);
    EXPECT_FALSE(pics.request()) << "line 3 ranks below the cascade in service";
    pics.set_line(9, true);
    EXPECT_FALSE(pics.request());
    pics.write(0xa0, 0x20);
    pics.write(0x20, 0x20);
    EXPECT_EQ(pics.request(), 9u);
}

TEST_F(PicTest, MaskHoldsARequestBack) {
    pics.write(0x21, 0x02);
    pics.set_line(1, true);
    EXPECT_FALSE(pics.request());
    pics.write(0x21, 0x00);
    EXPECT_EQ(pics.request(), 1u);
}

TEST_F(PicTest, EdgeIsOneInterruptPerRise) {
    pics.set_line(4, true);
    pics.acknowledge(*pics.request());
    pics.write(0x20, 0x20);
    EXPECT_FALSE(pics.request());
    pics.set_line(4, false);
    pics.set_line(4, true);
    EXPECT_EQ(pics.request(), 4u);
}

TEST_F(PicTest, LevelAsksAgainWhileHigh) {
    pics.write(0x4d0, 1 << 5);
    EXPECT_EQ(pics.read(0x4d0), 1 << 5);
    pics.set_line(5, true);
    pics.acknowledge(*pics.request());
    pics.write(0x20, 0x20);
    EXPECT_EQ(pics.request(), 5u);
    pics.set_line(5, false);
    EXPECT_FALSE(pics.request());
}

TEST_F(PicTest, AutomaticEoiLeavesNothingInService) {
    pics.write(0x20, 0x11);
    pics.write(0x21, 0x30);
    pics.write(0x21, 4);
    pics.write(0x21, 3);
    pics.set_line(0, true);
    pics.acknowledge(0);
    pics.write(0x20, 0x0b); // read ISR
    EXPECT_EQ(pics.read(0x20), 0);
    pics.set_line(1, true);
    EXPECT_EQ(pics.request(), 1u);
}

TEST_F(PicTest, RotationMovesTheServedLineLast) {
    pics.set_line(0, true);
    pics.acknowledge(0);
    pics.write(0x20, 0xa0); // rotate on non-specific EOI
    pics.set_line(0, false);
    pics.set_line(0, true);
    pics.set_line(1, true);
    EXPECT_EQ(pics.request(), 1u);
}

TEST_F(PicTest, NothingIsAskedDuringInitialisation) {
    pics.set_line(1, true);
    pics.write(0x20, 0x11);
    pics.set_line(1, false);
    pics.set_line(1, true);
    EXPECT_FALSE(pics.request());
}

} // namespace
} // namespace horos::vmm
