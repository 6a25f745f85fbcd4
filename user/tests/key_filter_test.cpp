#include "console/key_filter.hpp"

#include <gtest/gtest.h>
#include <string>

namespace horos::console {
namespace {

using Kind = KeyAction::Kind;

KeyAction type(KeyFilter& filter, const std::string& keys) {
    KeyAction last;
    for (const char c : keys) {
        last = filter.key(c);
    }
    return last;
}

TEST(KeyFilter, PassesWhatIsTyped) {
    KeyFilter filter;
    for (int c = 0; c < 256; ++c) {
        if (static_cast<char>(c) != KeyFilter::escape) {
            const KeyAction action = filter.key(static_cast<char>(c));
            EXPECT_EQ(action.kind, Kind::pass);
            EXPECT_EQ(action.byte, static_cast<char>(c));
        }
    }
}

TEST(KeyFilter, Commands) {
    KeyFilter filter;
    EXPECT_EQ(type(filter, "\x1d").kind, Kind::none);
    EXPECT_EQ(type(filter, "3").number, 3u);
    EXPECT_EQ(type(filter, "\x1d?").kind, Kind::list);
    EXPECT_EQ(type(filter, "\x1d\x1d").byte, KeyFilter::escape);
    EXPECT_EQ(type(filter, "\x1dprober\r").name, "prober");
    EXPECT_EQ(type(filter, "\x1dpr\x1d").kind, Kind::none); // given up
    EXPECT_EQ(type(filter, "x").kind, Kind::pass);
}

TEST(KeyFilter, LongNamesEndSomewhere) {
    KeyFilter filter;
    EXPECT_EQ(type(filter, "\x1d" + std::string(1000, 'a') + "\n").name.size(), 32u);
}

} // namespace
} // namespace horos::console
