// PCI, power control and small helpers.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "devices/pci.hpp"
#include "devices/power.hpp"
#include "devices/vector_set.hpp"
#include "ticks.hpp"

namespace horos::vmm {
namespace {

TEST(Pci, OneHostBridgeAndNothingElse) {
    PciHost pci;
    pci.write(0xcf8, 4, 0x8000'0000);
    EXPECT_EQ(pci.read(0xcfc, 4), 0x0008'1b36u);
    EXPECT_EQ(pci.read(0xcfe, 2), 0x0008u);
    pci.write(0xcf8, 4, 0x8000'0008);
    EXPECT_EQ(pci.read(0xcff, 1), 0x06u);
    pci.write(0xcf8, 4, 0x8000'0800); // device 1
    EXPECT_EQ(pci.read(0xcfc, 4), 0xffff'ffffu);
    pci.write(0xcf8, 4, 0x8001'0000); // bus 1
    EXPECT_EQ(pci.read(0xcfc, 2), 0xffffu);
    pci.write(0xcf8, 4, 0x0000'0000); // not enabled
    EXPECT_EQ(pci.read(0xcfc, 1), 0xffu);
}

TEST(Pci, BarsDoNotExist) {
    PciHost pci;
    pci.write(0xcf8, 4, 0x8000'0010);
    pci.write(0xcfc, 4, 0xffff'ffff);
    EXPECT_EQ(pci.read(0xcfc, 4), 0u);
    pci.write(0xcf8, 4, 0x8000'0000);
    pci.write(0xcfc, 4, 0);
    EXPECT_EQ(pci.read(0xcfc, 4), 0x0008'1b36u) << "the identity is read-only";
}

TEST(Power, AllTheWaysOut) {
    PowerControl power;
    EXPECT_EQ(power.write(0x600, 0x20 | 5 << 2), PowerRequest::power_off);
    EXPECT_EQ(power.write(0x600, 5 << 2), PowerRequest::none) << "without SLP_EN";
    EXPECT_EQ(power.write(0x600, 0x20 | 3 << 2), PowerRequest::none) << "S3 is not offered";
    EXPECT_EQ(power.write(0x64, 0xfe), PowerRequest::reset);
    EXPECT_EQ(power.write(0x64, 0xd1), PowerRequest::none);
    EXPECT_EQ(power.write(0x92, 1), PowerRequest::reset);
    EXPECT_EQ(power.write(0xcf9, 0x02), PowerRequest::none);
    EXPECT_EQ(power.write(0xcf9, 0x06), PowerRequest::reset);
    EXPECT_EQ(power.read(0xcf9), 0x06);
}

RC_GTEST_PROP(VectorSetProperty, AgreesWithABitmap, (std::vector<u8> in, std::vector<u8> out)) {
    VectorSet set;
    std::array<bool, 256> model{};
    for (const u8 vector : in) {
        set.insert(vector);
        model[vector] = true;
    }
    for (const u8 vector : out) {
        set.remove(vector);
        model[vector] = false;
    }
    int highest = -1, count = 0;
    for (int vector = 0; vector < 256; ++vector)
        if (model[static_cast<u32>(vector)]) {
            highest = vector;
            ++count;
        }
    RC_ASSERT(set.highest() == highest);
    RC_ASSERT(set.empty() == (count == 0));
    RC_ASSERT(set.single() == (count == 1));
}

RC_GTEST_PROP(TickScaleProperty, IsExactToOneTickInADay, ()) {
    const u64 from = *rc::gen::inRange<u64>(100'000'000, 6'000'000'000);
    const u64 to = *rc::gen::inRange<u64>(1'000'000, 2'000'000'000);
    const u64 value = *rc::gen::inRange<u64>(0, from * 86'400);
    const u64 exact = static_cast<u64>(static_cast<u128>(value) * to / from);
    const u64 scaled = TickScale(from, to)(value);
    RC_ASSERT(scaled <= exact);
    RC_ASSERT(exact - scaled <= 1);
}

} // namespace
} // namespace horos::vmm
