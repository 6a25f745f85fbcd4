#include <gmock/gmock.h>

#include <cstdio>
#include <filesystem>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/common/crc32c.hpp"
#include "tools/common/files.hpp"
#include "tools/common/table_reader.hpp"

namespace horos::tools {
namespace {

std::span<const std::uint8_t> bytes(std::string_view text) {
    return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

// Check values: RFC 3720 appendix B.4, and the usual "123456789".
TEST(Crc32c, MatchesPublishedValues) {
    EXPECT_EQ(crc32c(bytes("123456789")), 0xe3069283u);
    EXPECT_EQ(crc32c(std::vector<std::uint8_t>(32, 0x00)), 0x8a9136aau);
    EXPECT_EQ(crc32c(std::vector<std::uint8_t>(32, 0xff)), 0x62a8ab43u);
    EXPECT_EQ(crc32c({}), 0u);
}

TEST(ParseSize, KnowsBinaryUnits) {
    EXPECT_EQ(parse_size("4096"), 4096u);
    EXPECT_EQ(parse_size("64KiB"), 65536u);
    EXPECT_EQ(parse_size("256 MiB"), 256u << 20);
    EXPECT_EQ(parse_size("2 GiB"), std::uint64_t{2} << 30);
}

TEST(ParseSize, RefusesTheRest) {
    for (const char* text : {"", "MiB", "1 MB", "-1", "1.5 GiB", "17179869184 GiB", "0x10"}) {
        EXPECT_FALSE(parse_size(text)) << text;
    }
}

TEST(ReadFiles, MissingFileAndDirectoryAreNamed) {
    const auto message = [](const char* file) {
        try {
            read_text(file);
        } catch (const Fatal& error) {
            return std::string(error.what());
        }
        return std::string("no error");
    };
    EXPECT_EQ(message("/nowhere/x"), "/nowhere/x: error: cannot open: No such file or directory");
    EXPECT_EQ(message("/"), "/: error: is a directory, not a file");
}

// Tests that boot the same description pack the same bundle at the same time.
TEST(WriteFile, ManyMayWriteTheSameFile) {
    const std::string file =
        testing::TempDir() + "/horos-written-by-many-" + std::to_string(getpid());
    constexpr int writers = 8;
    const std::vector<std::uint8_t> content(100'000, 0x5a);
    for (int i = 0; i < writers; ++i) {
        if (fork() != 0)
            continue;
        int bad = 0;
        for (int round = 0; round < 50; ++round) {
            try {
                write_file(file, content);
                bad += read_bytes(file) == content ? 0 : 1;
            } catch (const Fatal&) {
                ++bad;
            }
        }
        _exit(bad == 0 ? 0 : 1);
    }
    for (int i = 0; i < writers; ++i) {
        int status = 0;
        ASSERT_GT(wait(&status), 0);
        EXPECT_EQ(status, 0);
    }
    std::filesystem::remove(file);
}

TEST(WriteFile, WhatCannotBeWrittenIsNamedAndNothingIsLeft) {
    const std::string folder =
        testing::TempDir() + "/horos-is-a-folder-" + std::to_string(getpid());
    std::filesystem::create_directories(folder + "/full");
    EXPECT_THROW(write_file(folder + "/full", bytes("x")), Fatal); // rename cannot replace it
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder), {}), 1);
    EXPECT_THROW(write_file(folder + "/nowhere/file", bytes("x")), Fatal);
    std::filesystem::remove_all(folder);
}

} // namespace
} // namespace horos::tools
