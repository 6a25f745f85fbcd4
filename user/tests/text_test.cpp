#include <horos/rt/command_line.hpp>
#include <horos/rt/text.hpp>

#include <gtest/gtest.h>

namespace horos::rt {
namespace {

TEST(Text, Formats) {
    Text<64> text;
    text.format("{} is {:x}, {} and {}", "it", 0x1fu, -7, ~abi::u64{0});
    EXPECT_EQ(text.view(), "it is 0x1f, -7 and 18446744073709551615");
}

TEST(Text, CutsOffWhatDoesNotFit) {
    Text<5> text;
    text.format("{}{}", "abc", "defgh");
    EXPECT_EQ(text.view(), "abcde");
    EXPECT_TRUE(text.full());
}

TEST(Text, LeavesPlaceholdersWithoutArgument) {
    Text<16> text;
    text.format("{} {}", 1);
    EXPECT_EQ(text.view(), "1 {}");
    text.clear();
    text.format("{", 1);
    EXPECT_EQ(text.view(), "{");
}

TEST(Text, FieldText) {
    const char open[4] = {'a', 'b', 'c', 'd'};
    EXPECT_EQ(field_text(open), "abcd");
    const char closed[4] = {'a', 0, 'c', 'd'};
    EXPECT_EQ(field_text(closed), "a");
}

TEST(CommandLine, Options) {
    const std::string_view line =
        "quiet mode=hang count=12 count=13 counter=5 bad=1x big=99999999999999999999";
    bool found;
    EXPECT_EQ(text_option(line, "mode", found), "hang");
    EXPECT_TRUE(found);
    EXPECT_EQ(number_option(line, "count", 1), 13u);
    EXPECT_EQ(number_option(line, "bad", 1), 1u);
    EXPECT_EQ(number_option(line, "big", 1), 1u);
    EXPECT_EQ(number_option(line, "none", 9), 9u);
    EXPECT_TRUE(has_option(line, "quiet"));
    EXPECT_FALSE(has_option(line, "qui"));
}

} // namespace
} // namespace horos::rt
