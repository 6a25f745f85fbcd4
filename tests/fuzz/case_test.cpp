#include "horos/fuzz/arena.hpp"
#include "horos/fuzz/case.hpp"
#include "horos/fuzz/corpus.hpp"
#include "horos/fuzz/random.hpp"

#include <array>
#include <filesystem>
#include <fstream>
#include <functional>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

using namespace horos::fuzz;

namespace {

Case sample() {
    Case c;
    c.slot = baseCase(Mode::Long64, true);
    c.slot.windows = changedWindows(c.slot);
    c.setCode(std::array<uint8_t, 3>{0x0f, 0xa2, 0xf4});
    c.poke(pageAddress(page::NESTED) + 8 * 6, 0);     // in a window
    c.poke(pageAddress(page::MSRPM) + 0x800, 0x1234); // outside one
    return c;
}

std::string messageOf(const std::function<void()>& action) {
    try {
        action();
    } catch (const CaseError& error) {
        return error.what();
    }
    return "no error";
}

} // namespace

TEST(FuzzCase, EveryBaseCaseSurvivesTheBinaryForm) {
    for (unsigned mode = 0; mode < MODES; ++mode)
        for (bool nested : {false, true}) {
            Case c;
            c.slot = baseCase(Mode(mode), nested);
            EXPECT_EQ(contentName(decode(encode(c))), contentName(c)) << modeName(Mode(mode));
        }
}

TEST(FuzzCase, EveryBaseCaseSurvivesJson) {
    for (unsigned mode = 0; mode < MODES; ++mode)
        for (bool nested : {false, true}) {
            Case c;
            c.slot = baseCase(Mode(mode), nested);
            Case back = fromJson(toJson(c));
            EXPECT_EQ(toJson(back), toJson(c)) << modeName(Mode(mode));
        }
}

TEST(FuzzCase, PatchesAndWindowsSurviveBothForms) {
    Case c = sample();
    for (const Case& back : {decode(encode(c)), fromJson(toJson(c))}) {
        EXPECT_EQ(back.peek(pageAddress(page::NESTED) + 8 * 6), 0u);
        EXPECT_EQ(back.peek(pageAddress(page::MSRPM) + 0x800), 0x1234u);
        EXPECT_EQ(back.peek(pageAddress(page::TABLES)), c.peek(pageAddress(page::TABLES)));
    }
}

TEST(FuzzCase, AWindowOfZerosStaysZero) {
    Case c;
    c.slot = baseCase(Mode::Legacy32, false);
    const auto& place = windows()[unsigned(WindowId::Directory32)].place;
    c.poke(place.address, 0);
    EXPECT_EQ(decode(encode(c)).peek(place.address), 0u);
}

TEST(FuzzCase, TheNameFollowsTheContent) {
    Case a = sample(), b = sample();
    b.slot.id = 77; // not content
    EXPECT_EQ(contentName(a), contentName(b));
    b.slot.gpr[1] ^= 1;
    EXPECT_NE(contentName(a), contentName(b));
}

TEST(FuzzCase, BadFilesAreNamed) {
    auto bytes = encode(sample());
    auto cut = bytes;
    cut.pop_back();
    cut.back() |= 0x80;
    EXPECT_NE(messageOf([&] { decode(cut); }).find("ends inside"), std::string::npos);
    auto version = bytes;
    version[4] = 99;
    EXPECT_NE(messageOf([&] { decode(version); }).find("version 99"), std::string::npos);
    EXPECT_NE(messageOf([&] { decode({}); }).find("HFZC"), std::string::npos);
    auto json = toJson(sample());
    json["vmcb"]["save.nonsense"] = "0x1";
    EXPECT_NE(messageOf([&] { fromJson(json); }).find("save.nonsense"), std::string::npos);
    json = toJson(sample());
    json["flags"].push_back("fly");
    EXPECT_NE(messageOf([&] { fromJson(json); }).find("fly"), std::string::npos);
    json = toJson(sample());
    json["memory"].push_back({{"address", "0x1000"}, {"value", "0x1"}});
    EXPECT_NE(messageOf([&] { fromJson(json); }).find("0x1000"), std::string::npos);
}

TEST(FuzzCase, RandomBytesNeverCrashTheDecoder) {
    Random random(4711);
    auto good = encode(sample());
    for (int i = 0; i < 20000; ++i) {
        auto bytes = good;
        for (uint64_t k = 0; k <= random.below(4); ++k)
            bytes[5 + random.below(bytes.size() - 5)] = uint8_t(random.next());
        try {
            validate(decode(bytes));
        } catch (const CaseError&) {
            // refused: as good
        }
    }
}

TEST(FuzzCorpus, IsSharedByContent) {
    auto folder = std::filesystem::temp_directory_path() /
                  ("horos-fuzz-corpus-test-" + std::to_string(getpid()));
    std::filesystem::remove_all(folder);
    Corpus one(folder.string()), two(folder.string());
    one.add(sample());
    one.add(sample());
    EXPECT_EQ(two.newCases().size(), 1u);
    EXPECT_TRUE(two.newCases().empty()) << "only what is new";
    std::ofstream(folder / "junk") << "not a case";
    EXPECT_TRUE(two.newCases().empty());
    EXPECT_EQ(two.skipped(), 1u);
    std::filesystem::remove_all(folder);
}
