#include <gmock/gmock.h>
#include <rapidcheck/gtest.h>

#include <cstring>
#include <functional>

#include "tools/common/crc32c.hpp"
#include "tools/common/diagnostics.hpp"
#include "tools/pack/bundle.hpp"
#include "tools/pack/program_image.hpp"

namespace horos::tools::pack {
namespace {

using testing::HasSubstr;

std::string message(const std::function<void()>& action) {
    try {
        action();
    } catch (const Fatal& error) {
        return error.what();
    }
    return "no error";
}

std::vector<BundleItem> two_items() {
    return {{"root", abi::BundleType::program, {1, 2, 3}},
            {"data", abi::BundleType::data, std::vector<std::uint8_t>(5000, 7)}};
}

bool detected(const std::vector<std::uint8_t>& bytes) {
    return message([&] { decode_bundle(bytes, "b"); }) != "no error";
}

RC_GTEST_PROP(Bundle, WhatIsPutInComesOut, ()) {
    const auto contents = *rc::gen::nonEmpty<std::vector<std::vector<std::uint8_t>>>();
    RC_PRE(contents.size() <= abi::max_bundle_entries);
    std::vector<BundleItem> items;
    for (std::size_t i = 0; i < contents.size(); ++i) {
        items.push_back({"item" + std::to_string(i), abi::BundleType::data, contents[i]});
    }
    const auto read = decode_bundle(encode_bundle(items), "b");
    RC_ASSERT(read.size() == items.size());
    for (std::size_t i = 0; i < items.size(); ++i) {
        RC_ASSERT(read[i].name == items[i].name);
        RC_ASSERT(read[i].bytes == items[i].bytes);
        RC_ASSERT(read[i].offset % 4096 == 0u);
    }
}

RC_GTEST_PROP(Bundle, AnyFlippedBitIsDetected, ()) {
    auto bytes = encode_bundle(two_items());
    const auto bit = *rc::gen::inRange<std::size_t>(0, bytes.size() * 8);
    bytes[bit / 8] ^= static_cast<std::uint8_t>(1u << bit % 8);
    RC_ASSERT(detected(bytes));
}

RC_GTEST_PROP(Bundle, AnyCutIsDetected, ()) {
    auto bytes = encode_bundle(two_items());
    bytes.resize(*rc::gen::inRange<std::size_t>(0, bytes.size()));
    RC_ASSERT(detected(bytes));
}

TEST(Bundle, SomethingBehindTheEndIsDetected) {
    auto bytes = encode_bundle(two_items());
    bytes.push_back(0);
    EXPECT_TRUE(detected(bytes));
}

TEST(Bundle, BadItemsAreRefused) {
    const auto error = [](const std::vector<BundleItem>& items) {
        return message([&] { encode_bundle(items); });
    };
    EXPECT_THAT(error({}), HasSubstr("0 entries; allowed: 1 to 32"));
    EXPECT_THAT(error(std::vector<BundleItem>(33)), HasSubstr("33 entries"));
    EXPECT_THAT(error({{"", abi::BundleType::data, {}}}), HasSubstr("1 to 31 characters"));
    EXPECT_THAT(error({{std::string(32, 'x'), abi::BundleType::data, {}}}),
                HasSubstr("1 to 31 characters"));
    EXPECT_THAT(error({{"a", abi::BundleType::data, {}}, {"a", abi::BundleType::data, {}}}),
                HasSubstr("two entries have the name 'a'"));
}

TEST(Bundle, OldVersionsAndOtherFilesAreNamed) {
    auto bytes = encode_bundle(two_items());
    bytes[8] = 9; // version
    EXPECT_THAT(message([&] { decode_bundle(bytes, "b"); }),
                HasSubstr("has version 9; this tool knows 1"));
    bytes[0] = 0;
    EXPECT_THAT(message([&] { decode_bundle(bytes, "b"); }), HasSubstr("is not a Horos bundle"));
}

ProgramImage small_program() {
    return {0x400010,
            {{0x400000, 4096, 5, std::vector<std::uint8_t>(4096, 0x90)}, {0x402000, 8192, 3, {}}}};
}

struct BadProgram {
    std::function<void(ProgramImage&)> change;
    const char* message;
};

class BadProgramTest : public testing::TestWithParam<BadProgram> {};

TEST_P(BadProgramTest, IsRefused) {
    ProgramImage image = small_program();
    GetParam().change(image);
    EXPECT_THAT(message([&] { encode_program(image, "p"); }), HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    Program, BadProgramTest,
    testing::Values(
        BadProgram{[](ProgramImage& p) { p.segments[0].rights = 7; }, "has the rights rwx"},
        BadProgram{[](ProgramImage& p) { p.segments[0].rights = 0; }, "has the rights ---"},
        BadProgram{[](ProgramImage& p) { p.segments[1].address += 1; }, "not aligned to pages"},
        BadProgram{[](ProgramImage& p) { p.segments[1].memory_size = 0; }, "not aligned to pages"},
        BadProgram{[](ProgramImage& p) { p.segments[1].address = 0; }, "leaves the range"},
        BadProgram{[](ProgramImage& p) { p.segments[1].address = 0x1000000000; },
                   "leaves the range"},
        BadProgram{[](ProgramImage& p) { p.segments[1].address = 0x3ff000; }, "overlap"},
        BadProgram{[](ProgramImage& p) { p.entry = 0x402000; }, "in no executable segment"},
        BadProgram{[](ProgramImage& p) { p.segments.clear(); }, "0 segments; allowed: 1 to 8"},
        BadProgram{[](ProgramImage& p) { p.segments.resize(9); }, "9 segments; allowed: 8"}));

TEST(Program, GoodOneIsAccepted) {
    const auto bytes = encode_program(small_program(), "p");
    EXPECT_EQ(decode_program(bytes, "p").segments.size(), 2u);
    EXPECT_EQ(bytes.size(), 8192u) << "bss takes no room";
}

} // namespace
} // namespace horos::tools::pack
