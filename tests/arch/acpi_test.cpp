// ACPI tables, well-formed and hostile.
#include "kernel/arch/acpi.hpp"
#include "memory_image.hpp"
#include <gtest/gtest.h>

namespace horos::arch {
namespace {

constexpr u64 rsdp = 0x40, root = 0x100, madt = 0x200, fadt = 0x400, dsdt = 0x600;
constexpr u32 madt_size = 44 + 8 + 8 + 8 + 12 + 10 + 10 + 16 + 12, fadt_size = 276;

void header(MemoryImage& m, u64 at, const char* signature, u32 length) {
    m.put_text(at, signature);
    m.put(at + 4, length);
}

void seal(MemoryImage& m) {
    m.fix_checksum(rsdp, 20, rsdp + 8);
    m.fix_checksum(rsdp, 36, rsdp + 32);
    m.fix_checksum(root, 36 + 16, root + 9);
    m.fix_checksum(madt, madt_size, madt + 9);
    m.fix_checksum(fadt, fadt_size, fadt + 9);
    m.fix_checksum(dsdt, 40, dsdt + 9);
}

MemoryImage tables() {
    MemoryImage m(0x700);
    m.put_text(rsdp, "RSD PTR ");
    m.put(rsdp + 15, u8{2});
    m.put(rsdp + 20, u32{36});
    m.put(rsdp + 24, root);
    header(m, root, "XSDT", 36 + 16);
    m.put(root + 36, madt);
    m.put(root + 44, fadt);
    header(m, madt, "APIC", madt_size);
    m.put(madt + 36, u32{0xfee00000});
    u64 at = madt + 44;
    const auto add = [&](std::initializer_list<u8> bytes) {
        for (u8 b : bytes)
            m[at++] = b;
    };
    add({0, 8, 0, 0, 1, 0, 0, 0});                          // CPU 0
    add({0, 8, 1, 4, 1, 0, 0, 0});                          // CPU 1, APIC ID 4
    add({0, 8, 2, 9, 0, 0, 0, 0});                          // not enabled
    add({1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0});       // IOAPIC
    add({2, 10, 0, 0, 2, 0, 0, 0, 0, 0});                   // IRQ 0 at GSI 2
    add({2, 10, 0, 9, 9, 0, 0, 0, 0xf, 0});                 // IRQ 9 level, low
    add({9, 16, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0}); // x2APIC ID 256: left out
    add({5, 12, 0, 0, 0, 0, 0xe0, 0xfe, 0, 0, 0, 0});       // 64-bit LAPIC address
    header(m, fadt, "FACP", fadt_size);
    m.put(fadt + 40, static_cast<u32>(dsdt));
    m.put(fadt + 64, u32{0x604});
    m.put(fadt + 76, u32{0x608});
    m.put(fadt + 112, u32{1u << 8 | 1u << 10});
    m.put(fadt + 116, u8{1});
    m.put(fadt + 120, u64{0xcf9});
    m.put(fadt + 128, u8{6});
    header(m, dsdt, "DSDT", 40);
    seal(m);
    return m;
}

std::string complaint(const MemoryImage& m, AcpiInfo& info, u64 at = rsdp) {
    const Complaint wrong = parse_acpi(m.view(), at, info);
    return wrong ? wrong : "";
}
std::string complaint(const MemoryImage& m) {
    AcpiInfo info;
    return complaint(m, info);
}

TEST(Acpi, ReadsAll) {
    AcpiInfo info;
    ASSERT_EQ(complaint(tables(), info), "");
    ASSERT_EQ(info.cpu_count, 2u);
    EXPECT_EQ(info.apic_ids[1], 4u);
    EXPECT_EQ(info.cpus_left_out, 1u);
    EXPECT_EQ(info.lapic_address, 0xfee00000u);
    ASSERT_EQ(info.ioapic_count, 1u);
    EXPECT_EQ(info.ioapics[0].address, 0xfec00000u);
    ASSERT_EQ(info.override_count, 2u);
    EXPECT_EQ(info.overrides[0].gsi, 2u);
    EXPECT_FALSE(info.overrides[0].level);
    EXPECT_TRUE(info.overrides[1].level);
    EXPECT_TRUE(info.overrides[1].active_low);
    EXPECT_EQ(info.pm1a_control, 0x604u);
    EXPECT_EQ(info.pm_timer, 0x608u);
    EXPECT_TRUE(info.pm_timer_32bit);
    EXPECT_TRUE(info.reset.present);
    EXPECT_EQ(info.reset.address, 0xcf9u);
    EXPECT_EQ(info.reset_value, 6u);
    EXPECT_EQ(info.dsdt, dsdt);
}

TEST(Acpi, FirstRevisionUsesTheRsdt) {
    MemoryImage m = tables();
    m.put(rsdp + 15, u8{0});
    m.put(rsdp + 16, static_cast<u32>(root));
    header(m, root, "RSDT", 36 + 8);
    m.put(root + 36, static_cast<u32>(madt));
    m.put(root + 40, static_cast<u32>(fadt));
    m.fix_checksum(rsdp, 20, rsdp + 8);
    m.fix_checksum(root, 36 + 8, root + 9);
    AcpiInfo info;
    EXPECT_EQ(complaint(m, info), "");
    EXPECT_EQ(info.cpu_count, 2u);
    EXPECT_EQ(info.pm1a_control, 0x604u);
}

struct Damage {
    const char* name;
    u64 at;
    u8 value;
    bool resealed;
    const char* says;
};

TEST(Acpi, NamesWhatIsWrong) {
    const Damage list[] = {
        {"RSDP signature", rsdp, 'X', true, "no ACPI tables"},
        {"RSDP checksum", rsdp + 9, 1, false, "no ACPI tables"},
        {"RSDP long checksum", rsdp + 33, 1, false, "RSDP has a wrong length or checksum"},
        {"RSDP length", rsdp + 20, 35, true, "RSDP has a wrong length or checksum"},
        {"XSDT signature", root, 'R', true, "root table"},
        {"XSDT checksum", root + 20, 1, false, "root table"},
        {"MADT checksum", madt + 20, 1, false, "MADT has a wrong length or checksum"},
        {"MADT length", madt + 6, 0xff, true, "MADT has a wrong length or checksum"},
        {"MADT missing", madt, 'X', true, "no MADT"},
        {"MADT entry of length 0", madt + 45, 0, true, "impossible length"},
        {"MADT entry beyond the end", madt + madt_size - 11, 13, true, "impossible length"},
        {"no IOAPIC", madt + 44 + 24, 0x7f, true, "no IOAPIC"},
        {"LAPIC address off a page", madt + madt_size - 8, 1, true, "local APIC address"},
        {"FADT checksum", fadt + 20, 1, false, "FADT has a wrong length or checksum"},
        {"PM1a port", fadt + 66, 1, true, "port above 65535"},
        {"DSDT signature", dsdt, 'X', true, "DSDT"},
        {"DSDT checksum", dsdt + 20, 1, false, "DSDT"},
    };
    for (const Damage& damage : list) {
        MemoryImage m = tables();
        m[damage.at] = damage.value;
        if (damage.resealed)
            seal(m);
        EXPECT_NE(complaint(m).find(damage.says), std::string::npos)
            << damage.name << ": " << complaint(m);
    }
    AcpiInfo info;
    EXPECT_NE(complaint(tables(), info, 0).find("no ACPI tables"), std::string::npos);
    EXPECT_NE(complaint(tables(), info, ~u64{3}).find("no ACPI tables"), std::string::npos);
}

TEST(Acpi, TooManyProcessorsAreLeftOut) {
    MemoryImage m(0x2000);
    const MemoryImage usual = tables();
    std::memcpy(&m[0], usual.view().base, usual.size());
    constexpr u64 big = 0x1000;
    constexpr u32 size = 44 + 100 * 8 + 12;
    header(m, big, "APIC", size);
    m.put(big + 36, u32{0xfee00000});
    for (u64 i = 0; i < 100; ++i) {
        const u8 entry[8] = {0, 8, static_cast<u8>(i), static_cast<u8>(i), 1, 0, 0, 0};
        m.put(big + 44 + 8 * i, entry);
    }
    const u8 ioapic[12] = {1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0};
    m.put(big + 44 + 800, ioapic);
    m.put(root + 36, big);
    seal(m);
    m.fix_checksum(big, size, big + 9);
    AcpiInfo info;
    ASSERT_EQ(complaint(m, info), "");
    EXPECT_EQ(info.cpu_count, 64u);
    EXPECT_EQ(info.cpus_left_out, 36u);
}

TEST(Acpi, FindsTheRsdpInTheBiosArea) {
    MemoryImage m(0x100000);
    EXPECT_EQ(find_rsdp(m.view()), 0u);
    m.put_text(0xf5ad0, "RSD PTR ");
    m.fix_checksum(0xf5ad0, 20, 0xf5ad8);
    EXPECT_EQ(find_rsdp(m.view()), 0xf5ad0u);
    m.put(0x40e, u16{0x9fc0});
    m.put_text(0x9fc10, "RSD PTR ");
    m.fix_checksum(0x9fc10, 20, 0x9fc18);
    EXPECT_EQ(find_rsdp(m.view()), 0x9fc10u);
    EXPECT_EQ(find_rsdp(MemoryImage(0x40f).view()), 0u);
}

// The address sanitizer is the judge: damage that keeps the checksums right gets deepest.
TEST(Acpi, RandomDamageIsSafe) {
    std::mt19937_64 random(2);
    int refused = 0;
    for (int round = 0; round < 20000; ++round) {
        MemoryImage m = tables();
        const u64 places[] = {rsdp + 8, root, madt, madt, madt, fadt, dsdt};
        for (int i = 0; i < 3; ++i)
            m[places[random() % 7] + random() % 0x90] = static_cast<u8>(random());
        seal(m);
        AcpiInfo info;
        const bool wrong = complaint(m, info) != "";
        refused += wrong;
        if (!wrong) {
            EXPECT_LE(info.cpu_count, 64u);
            EXPECT_LE(info.ioapic_count, AcpiInfo::max_ioapics);
            EXPECT_LE(info.override_count, AcpiInfo::max_overrides);
        }
    }
    EXPECT_GT(refused, 1000);
}

// A table whose header is out of reach might be anybody's; all else is refused.
TEST(Acpi, AnyCutIsSafe) {
    const MemoryImage whole = tables();
    for (u64 size = 0; size < dsdt + 40; ++size) {
        AcpiInfo info;
        const std::string wrong = complaint(whole.cut(size), info);
        if (size >= madt + madt_size && size < fadt + 36) {
            EXPECT_EQ(wrong, "") << size;
            EXPECT_EQ(info.pm1a_control, 0u);
        } else {
            EXPECT_NE(wrong, "") << size;
        }
    }
}

} // namespace
} // namespace horos::arch
