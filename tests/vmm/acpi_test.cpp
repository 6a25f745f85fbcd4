#include "boot/acpi.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "devices/power.hpp"

namespace horos::vmm {
namespace {

template <class Word>
Word get(const u8* bytes, u32 offset) {
    Word value;
    std::memcpy(&value, bytes + offset, sizeof value);
    return value;
}

u8 sum(const u8* bytes, u32 count) {
    u8 total = 0;
    for (u32 i = 0; i < count; ++i)
        total = static_cast<u8>(total + bytes[i]);
    return total;
}

struct AcpiTest : testing::Test {
    std::vector<u8> ram = std::vector<u8>(1 << 20);
    GuestMemory memory{ram.data(), ram.size()};
    std::map<std::string, const u8*> tables;
    void build(u32 vcpus) {
        const u64 rsdp = write_acpi_tables(memory, {.vcpus = vcpus});
        ASSERT_NE(rsdp, 0u);
        const u8* root = ram.data() + rsdp;
        EXPECT_EQ(std::memcmp(root, "RSD PTR ", 8), 0);
        EXPECT_EQ(sum(root, 20), 0);
        EXPECT_EQ(sum(root, 36), 0);
        add(get<u64>(root, 24));
        const u8* xsdt = tables.at("XSDT");
        for (u32 i = 36; i < get<u32>(xsdt, 4); i += 8)
            add(get<u64>(xsdt, i));
        add(get<u64>(tables.at("FACP"), 140));
    }
    void add(u64 address) {
        const u8* table = ram.data() + address;
        EXPECT_EQ(sum(table, get<u32>(table, 4)), 0) << std::string(table, table + 4);
        tables[std::string(table, table + 4)] = table;
    }
};

TEST_F(AcpiTest, TablesAreFoundAndSumToZero) {
    build(1);
    EXPECT_EQ(tables.size(), 4u);
    EXPECT_TRUE(tables.count("DSDT"));
}

TEST_F(AcpiTest, FadtNamesThePortsOfPowerControl) {
    build(1);
    const u8* fadt = tables.at("FACP");
    EXPECT_EQ(get<u32>(fadt, 4), 276u) << "the length of revision 6";
    EXPECT_TRUE(get<u32>(fadt, 112) & 1u << 20) << "hardware-reduced";
    EXPECT_EQ(get<u64>(fadt, 116 + 4), power_port::reset_control);
    EXPECT_EQ(get<u64>(fadt, 244 + 4), power_port::sleep_control);
    EXPECT_EQ(get<u64>(fadt, 256 + 4), power_port::sleep_status);
    PowerControl power;
    EXPECT_EQ(power.write(power_port::reset_control, get<u8>(fadt, 128)), PowerRequest::reset);
}

TEST_F(AcpiTest, MadtHasOneLocalApicForEachProcessor) {
    build(3);
    const u8* madt = tables.at("APIC");
    std::vector<u8> ids;
    u32 ioapics = 0;
    for (u32 at = 44; at < get<u32>(madt, 4); at += madt[at + 1]) {
        ASSERT_GE(madt[at + 1], 2);
        if (madt[at] == 0)
            ids.push_back(madt[at + 3]);
        if (madt[at] == 1)
            ++ioapics;
    }
    EXPECT_EQ(ids, (std::vector<u8>{0, 1, 2}));
    EXPECT_EQ(ioapics, 1u);
}

TEST_F(AcpiTest, TooLittleMemoryIsSaid) {
    std::vector<u8> small(0xe0100);
    EXPECT_EQ(write_acpi_tables(GuestMemory(small.data(), small.size()), {}), 0u);
}

} // namespace
} // namespace horos::vmm
