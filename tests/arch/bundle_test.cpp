// The boot bundle: damaged anywhere that the kernel reads, it must be refused.
#include "kernel/arch/bundle_check.hpp"
#include "memory_image.hpp"
#include <gtest/gtest.h>
#include <horos/abi/boot_page.hpp>
#include <horos/abi/types.hpp>

namespace horos::arch {
namespace {

constexpr u64 program = 4096, bundle_size = 3 * 4096;

void seal(MemoryImage& m) {
    abi::BundleHeader header;
    std::memcpy(&header, m.view().base, sizeof header);
    const u64 size = header.entries[0].size;
    if (header.entries[0].offset < m.size() && size <= m.size() - header.entries[0].offset)
        header.entries[0].crc32c = crc32c(0, m.view().base + header.entries[0].offset, size);
    header.header_crc32c = 0;
    header.header_crc32c = crc32c(0, reinterpret_cast<const u8*>(&header), sizeof header);
    m.put(0, header);
}

abi::BundleHeader& header_of(MemoryImage& m) {
    return *reinterpret_cast<abi::BundleHeader*>(&m[0]);
}
abi::ProgramHeader& program_of(MemoryImage& m) {
    return *reinterpret_cast<abi::ProgramHeader*>(&m[program]);
}

MemoryImage good() {
    using namespace abi::segment_right;
    MemoryImage m(bundle_size);
    abi::BundleHeader header{};
    header.magic = abi::bundle_magic;
    header.version = abi::bundle_version;
    header.entry_count = 1;
    header.total_size = bundle_size;
    header.entries[0] = {"root", abi::BundleType::program, 0, program, 2 * 4096, 0};
    m.put(0, header);
    abi::ProgramHeader p{};
    p.magic = abi::program_magic;
    p.entry = 0x400010;
    p.segment_count = 2;
    p.segments[0] = {0x400000, 4096, 4000, 4096, read | exec, 0};
    p.segments[1] = {0x500000, 0, 0, 3 * 4096, read | write, 0};
    m.put(program, p);
    seal(m);
    return m;
}

std::string complaint(const MemoryImage& m) {
    RootProgram root;
    const Complaint wrong = check_bundle(m.view().base, m.size(), root);
    return wrong ? wrong : "";
}

TEST(Crc32c, KnownValue) { // RFC 3720, B.4
    const u8 zeros[32] = {};
    EXPECT_EQ(crc32c(0, zeros, 32), 0x8a9136aau);
    EXPECT_EQ(crc32c(0, reinterpret_cast<const u8*>("123456789"), 9), 0xe3069283u);
}

TEST(Bundle, AcceptsAGoodOne) {
    RootProgram root;
    const MemoryImage m = good();
    ASSERT_EQ(check_bundle(m.view().base, m.size(), root), nullptr);
    EXPECT_EQ(root.pages, 4u);
    EXPECT_EQ(root.contents, m.view().base + program);
    EXPECT_EQ(root.header.entry, 0x400010u);
}

TEST(Bundle, EveryCutIsRefused) {
    const MemoryImage whole = good();
    for (u64 size = 0; size < whole.size(); size += 7)
        EXPECT_NE(complaint(whole.cut(size)).find("cut short"), std::string::npos) << size;
}

TEST(Bundle, EveryFlippedBitIsRefused) {
    for (u64 byte = 0; byte < bundle_size; ++byte) {
        if (byte >= sizeof(abi::BundleHeader) && byte < program)
            continue; // filler after the header
        MemoryImage m = good();
        m[byte] ^= static_cast<u8>(1u << byte % 8);
        EXPECT_NE(complaint(m), "") << byte;
    }
}

template <class Change>
void refuses(const char* says, Change change) {
    MemoryImage m = good();
    change(m);
    seal(m);
    EXPECT_NE(complaint(m).find(says), std::string::npos) << says << ": " << complaint(m);
}

TEST(Bundle, NamesWhatIsWrongInTheHeader) {
    refuses("magic", [](auto& m) { header_of(m).magic = 1; });
    refuses("version", [](auto& m) { header_of(m).version = 9; });
    refuses("no entries", [](auto& m) { header_of(m).entry_count = 0; });
    refuses("too many", [](auto& m) { header_of(m).entry_count = 33; });
    refuses("cut short", [](auto& m) { header_of(m).total_size = bundle_size + 1; });
    refuses("start on a page", [](auto& m) { header_of(m).entries[0].offset = 4097; });
    refuses("outside the bundle", [](auto& m) { header_of(m).entries[0].size = bundle_size; });
    refuses("outside the bundle", [](auto& m) { header_of(m).entries[0].offset = ~u64{4095}; });
    refuses("outside the bundle", [](auto& m) {
        header_of(m).entry_count = 2;
        header_of(m).entries[1] = {"x", abi::BundleType::data, 0, 4096, ~u64{0}, 0};
    });
    refuses("not a program", [](auto& m) { header_of(m).entries[0].type = abi::BundleType::data; });
}

TEST(Bundle, NamesWhatIsWrongInTheRootTask) {
    refuses("magic", [](auto& m) { program_of(m).magic = 1; });
    refuses("no segments", [](auto& m) { program_of(m).segment_count = 0; });
    refuses("too many", [](auto& m) { program_of(m).segment_count = 9; });
    refuses("lie on pages", [](auto& m) { program_of(m).segments[0].address++; });
    refuses("lie on pages", [](auto& m) { program_of(m).segments[1].memory_size++; });
    refuses("program's addresses", [](auto& m) { program_of(m).segments[0].address = 0; });
    refuses("program's addresses",
            [](auto& m) { program_of(m).segments[0].address = abi::user_end; });
    refuses("program's addresses",
            [](auto& m) { program_of(m).segments[1].memory_size = ~u64{4095}; });
    refuses("outside its file", [](auto& m) { program_of(m).segments[0].file_size = 4097; });
    refuses("outside its file", [](auto& m) { program_of(m).segments[0].offset = ~u64{4095}; });
    refuses("impossible rights", [](auto& m) { program_of(m).segments[0].rights = 4; });
    refuses("impossible rights", [](auto& m) { program_of(m).segments[0].rights = 9; });
    refuses("writable and executable", [](auto& m) { program_of(m).segments[0].rights = 7; });
    refuses("overlap", [](auto& m) { program_of(m).segments[1].address = 0x3fe000; });
    refuses("entry point", [](auto& m) { program_of(m).entry = 0x500000; });
    refuses("entry point", [](auto& m) { program_of(m).entry = 0x401000; });
}

TEST(Bundle, RandomDamageUnderRightChecksumsIsSafe) {
    std::mt19937_64 random(5);
    for (int round = 0; round < 3000; ++round) {
        MemoryImage m = good();
        for (int i = 0; i < 3; ++i) {
            const u64 base = random() % 2 ? 0 : program;
            m[base + random() % 120] = static_cast<u8>(random());
        }
        seal(m);
        RootProgram root;
        if (check_bundle(m.view().base, m.size(), root))
            continue;
        for (u32 s = 0; s < root.header.segment_count; ++s) { // all that the loader will copy
            const abi::ProgramSegment& segment = root.header.segments[s];
            const u8* end = root.contents + segment.offset + segment.file_size;
            EXPECT_LE(end, m.view().base + m.size());
        }
    }
}

} // namespace
} // namespace horos::arch
