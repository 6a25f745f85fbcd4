#include "root/bundle_check.hpp"

#include <cstring>
#include <gtest/gtest.h>
#include <horos/rt/crc32c.hpp>
#include <random>
#include <string>
#include <vector>

namespace horos::root {
namespace {

using namespace abi;

// A bundle of two entries: a program "root" with one code segment, and some data.
class BundleCheck : public testing::Test {
protected:
    void SetUp() override {
        bytes.assign(5 * frame_size, 0);
        BundleHeader& h = header();
        h.magic = bundle_magic;
        h.version = bundle_version;
        h.entry_count = 2;
        h.total_size = bytes.size();
        entry(0, "root", BundleType::program, 1, 3 * frame_size);
        entry(1, "data", BundleType::data, 4, 100);
        ProgramHeader& p = program();
        p.magic = program_magic;
        p.entry = 0x400010;
        p.segment_count = 1;
        p.segments[0] = {
            0x400000, frame_size, 5000, 2 * frame_size, segment_right::read | segment_right::exec,
            0};
        for (u64 i = 2 * frame_size; i < bytes.size(); ++i) {
            bytes[i] = static_cast<u8>(i * 7);
        }
        seal();
    }

    BundleHeader& header() { return *reinterpret_cast<BundleHeader*>(bytes.data()); }
    ProgramHeader& program() {
        return *reinterpret_cast<ProgramHeader*>(bytes.data() + frame_size);
    }
    void entry(u32 index, const char* name, BundleType type, u64 page, u64 size) {
        BundleEntry& e = header().entries[index];
        std::strncpy(e.name, name, sizeof e.name - 1);
        e.type = type;
        e.offset = page * frame_size;
        e.size = size;
    }
    void seal() {
        for (u32 i = 0; i < 2; ++i) {
            BundleEntry& e = header().entries[i];
            if (e.offset <= bytes.size() && e.size <= bytes.size() - e.offset) {
                e.crc32c = rt::crc32c(bytes.data() + e.offset, e.size);
            }
        }
        header().header_crc32c = 0;
        header().header_crc32c = rt::crc32c(&header(), sizeof(BundleHeader));
    }
    std::string check() {
        BundleMessage message;
        const bool good = check_bundle(bytes.data(), bytes.size(), message);
        EXPECT_EQ(good, message.size() == 0);
        return std::string(message.view());
    }
    std::string check_root() {
        BundleMessage message;
        const bool good = check_program(bytes.data(), 0, message);
        EXPECT_EQ(good, message.size() == 0);
        return std::string(message.view());
    }

    alignas(8) std::vector<u8> bytes;
};

TEST_F(BundleCheck, TakesAGoodBundle) {
    EXPECT_EQ(check(), "");
    EXPECT_EQ(check_root(), "");
}

TEST_F(BundleCheck, NamesTheDamagedEntry) {
    bytes[4 * frame_size + 50] ^= 1;
    EXPECT_EQ(check(), "boot bundle: entry \"data\" is damaged (checksum)");
}

TEST_F(BundleCheck, SeesThatItIsCutShort) {
    bytes.resize(bytes.size() - 1);
    EXPECT_NE(check().find("cut short"), std::string::npos);
    bytes.resize(100);
    EXPECT_NE(check().find("cut short"), std::string::npos);
}

TEST_F(BundleCheck, SeesAnEntryOutside) {
    header().entries[1].offset = ~u64{0} & ~(frame_size - 1);
    seal();
    EXPECT_EQ(check(), "boot bundle: entry \"data\" lies outside of the bundle");
    header().entries[1].offset = 4 * frame_size;
    header().entries[1].size = ~u64{0};
    seal();
    EXPECT_EQ(check(), "boot bundle: entry \"data\" lies outside of the bundle");
}

TEST_F(BundleCheck, EveryFlippedBitInUseIsSeen) {
    std::mt19937 random(1);
    for (int i = 0; i < 2000; ++i) {
        const u64 page = random() % 5;
        const u64 used = page == 0 ? sizeof(BundleHeader) : page == 4 ? 100 : frame_size;
        const u64 at = page * frame_size + random() % used;
        const u8 bit = static_cast<u8>(1u << random() % 8);
        bytes[at] ^= bit;
        EXPECT_NE(check(), "") << "byte " << at << " bit " << int{bit};
        bytes[at] ^= bit;
    }
    EXPECT_EQ(check(), "");
}

TEST_F(BundleCheck, RefusesProgramsThatCannotBe) {
    const ProgramHeader good = program();
    const auto refused = [&](auto change) {
        program() = good;
        change(program());
        return check_root() != "";
    };
    EXPECT_TRUE(refused([](ProgramHeader& p) { p.magic++; }));
    EXPECT_TRUE(refused([](ProgramHeader& p) { p.segment_count = 0; }));
    EXPECT_TRUE(refused([](ProgramHeader& p) { p.segment_count = max_program_segments + 1; }));
    EXPECT_TRUE(refused([](ProgramHeader& p) { p.entry = 0x300000; }));
    EXPECT_TRUE(refused([](ProgramHeader& p) { p.entry = 0x402000; }));
    EXPECT_TRUE(refused([](ProgramHeader& p) { p.segments[0].rights = 7; }));
    EXPECT_TRUE(refused([](ProgramHeader& p) { p.segments[0].rights = 0; }));
    EXPECT_TRUE(refused([](ProgramHeader& p) { p.segments[0].address = 0; }));
    EXPECT_TRUE(refused([](ProgramHeader& p) { p.segments[0].address = u64{1} << 47; }));
    EXPECT_TRUE(refused([](ProgramHeader& p) { p.segments[0].address += 8; }));
    EXPECT_TRUE(refused([](ProgramHeader& p) { p.segments[0].offset = 0; }));
    EXPECT_TRUE(refused([](ProgramHeader& p) { p.segments[0].offset = 64 * frame_size; }));
    EXPECT_TRUE(refused([](ProgramHeader& p) { p.segments[0].file_size = 3 * frame_size; }));
    EXPECT_TRUE(refused([](ProgramHeader& p) { p.segments[0].memory_size = frame_size; }));
    EXPECT_TRUE(refused([](ProgramHeader& p) { p.segments[0].memory_size = ~(frame_size - 1); }));
    EXPECT_FALSE(refused([](ProgramHeader&) {}));
}

TEST(Crc32c, KnownValues) {
    EXPECT_EQ(rt::crc32c("123456789", 9), 0xe3069283u); // RFC 3720, B.4
    EXPECT_EQ(rt::crc32c("", 0), 0u);
    EXPECT_EQ(rt::crc32c("6789", 4, rt::crc32c("12345", 5)), 0xe3069283u);
}

} // namespace
} // namespace horos::root
