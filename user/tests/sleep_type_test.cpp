#include "root/sleep_type.hpp"

#include <gtest/gtest.h>
#include <vector>

namespace horos::root {
namespace {

using abi::u8;

std::optional<u8> find(const std::vector<u8>& aml) {
    return find_sleep_type(aml.data(), aml.size());
}

TEST(SleepType, AsInQemusTables) {
    // Name(_S5, Package(4) {0, 0, 0, 0})
    EXPECT_EQ(find({0x08, '_', 'S', '5', '_', 0x12, 0x06, 0x04, 0, 0, 0, 0}), 0);
    EXPECT_EQ(find({1, 2, 0x08, '_', 'S', '5', '_', 0x12, 0x08, 0x04, 0x0a, 5, 0x0a, 5, 0, 0}), 5);
    EXPECT_EQ(find({0x08, '\\', '_', 'S', '5', '_', 0x12, 0x06, 0x02, 0x01, 0x01}), 1);
}

TEST(SleepType, LongPackageLength) {
    EXPECT_EQ(find({0x08, '_', 'S', '5', '_', 0x12, 0x47, 0x00, 0x04, 0x0a, 7, 0, 0}), 7);
}

TEST(SleepType, NotThere) {
    EXPECT_EQ(find({}), std::nullopt);
    EXPECT_EQ(find({0x08, '_', 'S', '4', '_', 0x12, 0x06, 0x04, 0, 0, 0, 0}), std::nullopt);
    // Only spoken of, not defined.
    EXPECT_EQ(find({0x70, '_', 'S', '5', '_', 0x12, 0x06, 0x04, 0, 0, 0, 0}), std::nullopt);
}

TEST(SleepType, CutShortOrWrong) {
    const std::vector<u8> whole = {0x08, '_', 'S', '5', '_', 0x12, 0x08, 0x04, 0x0a, 5};
    for (std::size_t size = 0; size < whole.size(); ++size) {
        EXPECT_EQ(find_sleep_type(whole.data(), size), std::nullopt) << size;
    }
    EXPECT_EQ(find({0x08, '_', 'S', '5', '_', 0x12, 0x06, 0x00, 0, 0}), std::nullopt); // no element
    EXPECT_EQ(find({0x08, '_', 'S', '5', '_', 0x12, 0x06, 0x04, 0x0a, 8}), std::nullopt); // 3 bits
    EXPECT_EQ(find({0x08, '_', 'S', '5', '_', 0x12, 0x06, 0x04, 0x0c, 5}), std::nullopt);
}

} // namespace
} // namespace horos::root
