// PVH and Multiboot2 boot information, well-formed and hostile.
#include "kernel/arch/boot_data.hpp"
#include "memory_image.hpp"
#include <gtest/gtest.h>

namespace horos::arch {
namespace {

constexpr u64 info = 0x100, modules = 0x200, line = 0x300, map = 0x400;

MemoryImage pvh_image() {
    MemoryImage m(0x1000);
    m.put(info, u32{0x336ec578});
    m.put(info + 4, u32{1});
    m.put(info + 12, u32{1});
    m.put(info + 16, modules);
    m.put(info + 24, line);
    m.put(info + 32, u64{0xe0010});
    m.put(info + 40, map);
    m.put(info + 48, u32{3});
    m.put(modules, u64{0x800000});
    m.put(modules + 8, u64{0x12345});
    m.put_text(line, "log=com1 onfatal=reset");
    const u64 entries[3][3] = {{0, 0x9fc00, 1}, {0x9fc00, 0x400, 2}, {0x100000, 0x700000, 1}};
    for (u64 i = 0; i < 3; ++i)
        for (u64 j = 0; j < 3; ++j)
            m.put(map + 24 * i + 8 * j, entries[i][j]);
    return m;
}

TEST(Pvh, ReadsAll) {
    BootData data;
    ASSERT_EQ(parse_pvh(pvh_image().view(), info, data), nullptr);
    EXPECT_EQ(data.module_count, 1u);
    EXPECT_EQ(data.module_base, 0x800000u);
    EXPECT_EQ(data.module_size, 0x12345u);
    EXPECT_EQ(data.rsdp, 0xe0010u);
    EXPECT_STREQ(data.command_line, "log=com1 onfatal=reset");
    ASSERT_EQ(data.map_count, 3u);
    EXPECT_TRUE(data.map[0].ram);
    EXPECT_FALSE(data.map[1].ram);
    EXPECT_EQ(data.map[2].base, 0x100000u);
}

std::string pvh_complaint(MemoryImage& m, u64 at = info) {
    BootData data;
    const Complaint wrong = parse_pvh(m.view(), at, data);
    return wrong ? wrong : "";
}

TEST(Pvh, NamesWhatIsWrong) {
    MemoryImage m = pvh_image();
    EXPECT_NE(pvh_complaint(m, ~u64{0}).find("outside memory"), std::string::npos);
    EXPECT_NE(pvh_complaint(m, 0xfff).find("outside memory"), std::string::npos);
    m[info] = 0;
    EXPECT_NE(pvh_complaint(m).find("magic"), std::string::npos);
    m = pvh_image();
    m.put(info + 4, u32{0});
    EXPECT_NE(pvh_complaint(m).find("no memory map"), std::string::npos);
    m = pvh_image();
    m.put(info + 48, u32{257});
    EXPECT_NE(pvh_complaint(m).find("256"), std::string::npos);
    m = pvh_image();
    m.put(info + 40, u64{0xff8});
    EXPECT_NE(pvh_complaint(m).find("map lies outside"), std::string::npos);
    m = pvh_image();
    m.put(map + 8, ~u64{0});
    m.put(map, u64{0x1000});
    EXPECT_NE(pvh_complaint(m).find("wraps"), std::string::npos);
    m = pvh_image();
    m.put(info + 16, ~u64{7});
    EXPECT_NE(pvh_complaint(m).find("module list"), std::string::npos);
    m = pvh_image();
    for (u64 i = line; i < m.size(); ++i)
        m[i] = 'x';
    m.put(info + 40, u64{0x800});
    m.put(info + 48, u32{0});
    EXPECT_NE(pvh_complaint(m).find("longer than 511"), std::string::npos);
    m.put(info + 24, u64{0xf80});
    EXPECT_NE(pvh_complaint(m).find("no end"), std::string::npos);
}

TEST(Pvh, AnyCutIsSafe) {
    const MemoryImage whole = pvh_image();
    for (u64 size = 0; size <= whole.size(); size += 4) {
        BootData data;
        const MemoryImage m = whole.cut(size);
        const Complaint wrong = parse_pvh(m.view(), info, data);
        if (size < map + 3 * 24) {
            EXPECT_NE(wrong, nullptr) << size;
        } else {
            EXPECT_EQ(wrong, nullptr) << size;
        }
    }
}

class Multiboot {
public:
    Multiboot& tag(u32 type, const std::string& body) {
        const u32 size = static_cast<u32>(8 + body.size());
        add(&type, 4);
        add(&size, 4);
        bytes_ += body;
        bytes_.resize((bytes_.size() + 7) / 8 * 8);
        return *this;
    }
    template <class... Words>
    static std::string words(Words... value) {
        std::string s;
        (s.append(reinterpret_cast<const char*>(&value), sizeof value), ...);
        return s;
    }
    MemoryImage image(bool with_end = true) {
        if (with_end)
            tag(0, "");
        MemoryImage m(info + 8 + bytes_.size());
        m.put(info, static_cast<u32>(8 + bytes_.size()));
        for (u64 i = 0; i < bytes_.size(); ++i)
            m[info + 8 + i] = static_cast<u8>(bytes_[i]);
        return m;
    }

private:
    void add(const void* data, size_t size) { bytes_.append(static_cast<const char*>(data), size); }
    std::string bytes_;
};

Multiboot usual() {
    Multiboot mb;
    mb.tag(1, std::string("log=e9\0", 7));
    mb.tag(3, Multiboot::words(u32{0x900000}, u32{0x912345}) + std::string("bundle\0", 7));
    mb.tag(3, Multiboot::words(u32{0x1000}, u32{0x2000}) + std::string("\0", 1));
    mb.tag(6, Multiboot::words(u32{24}, u32{0}, u64{0}, u64{0xa0000}, u64{1}, u64{0x100000},
                               u64{0x800000}, u64{1}, u64{0xb0000000}, u64{0x1000}, u64{3}));
    mb.tag(14, std::string(20, 'r'));
    mb.tag(15, std::string(36, 'R'));
    return mb;
}

TEST(Multiboot2, ReadsAll) {
    BootData data;
    const MemoryImage m = usual().image();
    ASSERT_EQ(parse_multiboot2(m.view(), info, data), nullptr);
    EXPECT_STREQ(data.command_line, "log=e9");
    EXPECT_EQ(data.module_count, 2u);
    EXPECT_EQ(data.module_base, 0x900000u);
    EXPECT_EQ(data.module_size, 0x12345u);
    ASSERT_EQ(data.map_count, 3u);
    EXPECT_TRUE(data.map[1].ram);
    EXPECT_FALSE(data.map[2].ram);
    ASSERT_NE(data.rsdp, 0u);
    EXPECT_EQ(m.view().base[data.rsdp], 'R'); // the newer form wins
}

std::string complaint(const MemoryImage& m) {
    BootData data;
    const Complaint wrong = parse_multiboot2(m.view(), info, data);
    return wrong ? wrong : "";
}

TEST(Multiboot2, NamesWhatIsWrong) {
    EXPECT_NE(complaint(usual().image(false)).find("no end tag"), std::string::npos);
    MemoryImage m = usual().image();
    m.put(info, u32{4});
    EXPECT_NE(complaint(m).find("impossible size"), std::string::npos);
    m = usual().image();
    m.put(info + 8 + 4, u32{7});
    EXPECT_NE(complaint(m).find("tag has an impossible size"), std::string::npos);
    m = usual().image();
    m.put(info + 8 + 4, ~u32{0});
    EXPECT_NE(complaint(m).find("tag has an impossible size"), std::string::npos);
    EXPECT_NE(
        complaint(Multiboot().tag(3, Multiboot::words(u32{9}, u32{8})).image()).find("ends before"),
        std::string::npos);
    EXPECT_NE(complaint(Multiboot().tag(3, Multiboot::words(u32{9})).image()).find("cut short"),
              std::string::npos);
    EXPECT_NE(
        complaint(Multiboot().tag(6, Multiboot::words(u32{0}, u32{0})).image()).find("too small"),
        std::string::npos);
    EXPECT_NE(complaint(Multiboot().tag(1, "abc").image()).find("no end"), std::string::npos);
    EXPECT_NE(complaint(Multiboot().tag(1, std::string(600, 'a')).image()).find("longer"),
              std::string::npos);
}

TEST(Multiboot2, AnyCutIsRefused) {
    const MemoryImage whole = usual().image();
    for (u64 size = 0; size < whole.size(); ++size)
        EXPECT_NE(complaint(whole.cut(size)), "") << size;
}

// The address sanitizer is the judge.
TEST(BootProtocols, RandomDamageIsSafe) {
    std::mt19937_64 random(1);
    for (int round = 0; round < 20000; ++round) {
        MemoryImage p = pvh_image(), m = usual().image();
        for (int i = 0; i < 4; ++i) {
            p[info + random() % 0x380] = static_cast<u8>(random());
            m[info + random() % (m.size() - info)] = static_cast<u8>(random());
        }
        pvh_complaint(p);
        complaint(m);
    }
}

TEST(Options, FindsWholeWordsOnly) {
    EXPECT_TRUE(option_is("log=com1 onfatal=reset", "onfatal", "reset"));
    EXPECT_TRUE(option_is("log=com1 onfatal=reset", "log", "com1"));
    EXPECT_FALSE(option_is("log=com12", "log", "com1"));
    EXPECT_FALSE(option_is("xlog=com1", "log", "com1"));
    EXPECT_FALSE(option_is("", "log", "com1"));
    EXPECT_FALSE(has_option("log", "log"));
    EXPECT_TRUE(has_option("a log=", "log"));
}

} // namespace
} // namespace horos::arch
