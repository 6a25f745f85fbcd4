#include <horos/rt/ring.hpp>

#include <deque>
#include <gtest/gtest.h>
#include <random>

namespace horos::rt {
namespace {

constexpr u32 capacity = 64;

class Ring : public testing::Test {
protected:
    void SetUp() override {
        producer.attach(&indices, bytes, capacity);
        consumer.attach(&indices, bytes, capacity);
    }
    abi::RingIndices indices = {};
    u8 bytes[capacity] = {};
    RingProducer producer;
    RingConsumer consumer;
};

TEST_F(Ring, GivesBackWhatWentInInOrder) {
    std::mt19937 random(7);
    std::deque<u8> expected;
    u8 next = 0;
    for (int i = 0; i < 20'000; ++i) {
        u8 buffer[capacity];
        const u32 count = static_cast<u32>(random() % (capacity + 1));
        if (random() % 2 == 0) {
            for (u32 n = 0; n < count; ++n) {
                buffer[n] = static_cast<u8>(next + n);
            }
            const u32 room = producer.room();
            const u32 taken = producer.push(buffer, count);
            ASSERT_EQ(taken, std::min(room, count));
            for (u32 n = 0; n < taken; ++n) {
                expected.push_back(next++);
            }
        } else {
            const u32 got = consumer.pop(buffer, count);
            ASSERT_EQ(got, std::min<std::size_t>(expected.size(), count));
            for (u32 n = 0; n < got; ++n) {
                ASSERT_EQ(buffer[n], expected.front());
                expected.pop_front();
            }
        }
        ASSERT_EQ(consumer.fill(), expected.size());
    }
}

TEST_F(Ring, WakesOnlyWhoWaits) {
    EXPECT_FALSE(producer.must_wake());
    consumer.want_bytes();
    EXPECT_TRUE(producer.must_wake());
    EXPECT_FALSE(producer.must_wake());
    producer.want_room();
    EXPECT_TRUE(consumer.must_wake());
    EXPECT_FALSE(consumer.must_wake());
}

// Whatever the other side writes, no access leaves the ring, and afterwards it works again.
TEST_F(Ring, SurvivesALyingProducer) {
    u8 buffer[2 * capacity];
    for (const u32 lie : {65u, 1000u, 0x8000'0000u, 0xffff'ffffu}) {
        indices.produced = lie;
        EXPECT_LE(consumer.pop(buffer, sizeof buffer), capacity);
        indices.produced += 3;
        EXPECT_EQ(consumer.pop(buffer, sizeof buffer), 3u);
    }
}

TEST_F(Ring, SurvivesALyingConsumer) {
    const u8 buffer[2 * capacity] = {};
    for (const u32 lie : {1u, 1000u, 0x8000'0000u, 0xffff'ffffu}) {
        indices.consumed = lie;
        EXPECT_LE(producer.push(buffer, sizeof buffer), capacity);
    }
}

} // namespace
} // namespace horos::rt
