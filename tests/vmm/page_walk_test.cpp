#include "emul/page_walk.hpp"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "horos/defs/x86.hpp"

namespace horos::vmm {
namespace {

using Status = Translation::Status;
constexpr u64 present = 1, write = 2, user = 4, accessed = 0x20, dirty = 0x40, large = 0x80,
              nx = bit(63);

struct Tables {
    alignas(4096) std::array<u8, 64 * 4096> bytes{};
    GuestMemory memory{bytes.data(), bytes.size()};
    PagingState paging{.cr0 = x86::cr0::PG | x86::cr0::PE | x86::cr0::WP,
                       .cr3 = 0x1000,
                       .cr4 = x86::cr4::PAE,
                       .efer = x86::efer::LMA | x86::efer::LME | x86::efer::NXE};
    void put(u64 address, u64 value) { memory.store<u64>(address, value); }
    void put32(u64 address, u32 value) { memory.store<u32>(address, value); }
    u64 get(u64 address) {
        u64 value = 0;
        memory.load(address, value);
        return value;
    }
    // Maps linear 0x0000'1234'5678'9000-ish to `pte` through tables at 0x1000 to 0x4000.
    void map(u64 linear, u64 pte, u64 upper = present | write | user) {
        put(0x1000 + (linear >> 39 & 511) * 8, 0x2000 | upper);
        put(0x2000 + (linear >> 30 & 511) * 8, 0x3000 | upper);
        put(0x3000 + (linear >> 21 & 511) * 8, 0x4000 | upper);
        put(0x4000 + (linear >> 12 & 511) * 8, pte);
    }
    Translation go(u64 linear, Access access = Access::read) {
        return translate(memory, paging, linear, access);
    }
};

constexpr u64 linear = 0x0000'1234'5678'9abc;

TEST(PageWalk, WithoutPagingLinearIsPhysical) {
    Tables t;
    t.paging.cr0 = 0;
    EXPECT_EQ(t.go(0x1'2345'6789).address, 0x2345'6789u);
}

TEST(PageWalk, FourLevels) {
    Tables t;
    t.map(linear, 0x9000 | present);
    const auto found = t.go(linear);
    EXPECT_EQ(found.status, Status::ok);
    EXPECT_EQ(found.address, 0x9abcu);
}

TEST(PageWalk, LargePages) {
    Tables t;
    t.map(linear, 0);
    t.put(0x3000 + (linear >> 21 & 511) * 8, 0x4000'0000 | present | large);
    EXPECT_EQ(t.go(linear).address, 0x4000'0000 | (linear & 0x1f'ffff));
    t.put(0x3000 + (linear >> 21 & 511) * 8, 0x4000'2000 | present | large); // reserved bit 13
    EXPECT_EQ(t.go(linear).error_code, 1u | 8u);
    t.put(0x2000 + (linear >> 30 & 511) * 8, 0x4000'0000 | present | large);
    EXPECT_EQ(t.go(linear).address, 0x4000'0000 | (linear & 0x3fff'ffff));
}

TEST(PageWalk, ErrorCodes) {
    Tables t;
    t.map(linear, 0);
    EXPECT_EQ(t.go(linear).error_code, 0u);
    t.paging.cpl = 3;
    EXPECT_EQ(t.go(linear, Access::write).error_code, 2u | 4u);
    t.map(linear, 0x9000 | present);
    EXPECT_EQ(t.go(linear).error_code, 1u | 4u) << "a supervisor page";
    t.map(linear, 0x9000 | present | user | nx);
    EXPECT_EQ(t.go(linear, Access::fetch).error_code, 1u | 4u | 16u);
    t.map(linear, 0x9000 | present | user);
    EXPECT_EQ(t.go(linear, Access::write).error_code, 1u | 2u | 4u);
    t.paging.efer &= ~x86::efer::NXE;
    t.map(linear, 0x9000 | present | user | nx);
    EXPECT_EQ(t.go(linear).error_code, 1u | 4u | 8u) << "NX is reserved without EFER.NXE";
}

TEST(PageWalk, SupervisorProtections) {
    Tables t;
    t.map(linear, 0x9000 | present | user);
    EXPECT_EQ(t.go(linear, Access::write).status, Status::page_fault) << "CR0.WP";
    t.paging.cr0 &= ~x86::cr0::WP;
    EXPECT_EQ(t.go(linear, Access::write).status, Status::ok);
    t.paging.cr4 |= x86::cr4::SMEP;
    EXPECT_EQ(t.go(linear, Access::fetch).status, Status::page_fault);
    t.paging.cr4 |= x86::cr4::SMAP;
    EXPECT_EQ(t.go(linear).status, Status::page_fault);
    t.paging.ac_flag = true;
    EXPECT_EQ(t.go(linear).status, Status::ok);
}

TEST(PageWalk, RightsNarrowOnTheWayDown) {
    Tables t;
    t.paging.cpl = 3;
    t.map(linear, 0x9000 | present | write | user, present | user);
    EXPECT_EQ(t.go(linear).status, Status::ok);
    EXPECT_EQ(t.go(linear, Access::write).status, Status::page_fault);
}

TEST(PageWalk, MarksAccessedAndDirty) {
    Tables t;
    t.map(linear, 0x9000 | present | write);
    const u64 pte = 0x4000 + (linear >> 12 & 511) * 8;
    t.go(linear);
    EXPECT_EQ(t.get(pte) & (accessed | dirty), accessed);
    EXPECT_TRUE(t.get(0x1000 + (linear >> 39 & 511) * 8) & accessed);
    t.go(linear, Access::write);
    EXPECT_EQ(t.get(pte) & (accessed | dirty), accessed | dirty);
    t.map(linear, 0x9000 | present);
    translate(t.memory, t.paging, linear, Access::fetch, false);
    EXPECT_FALSE(t.get(pte) & accessed);
}

TEST(PageWalk, NonCanonicalAndForeignTables) {
    Tables t;
    EXPECT_EQ(t.go(0x0000'8000'0000'0000).status, Status::not_canonical);
    EXPECT_EQ(t.go(0xffff'8000'0000'0000).status, Status::page_fault);
    t.map(linear, 0x9000 | present);
    t.put(0x1000 + (linear >> 39 & 511) * 8, 0x7fff'f000 | present);
    EXPECT_EQ(t.go(linear).status, Status::outside_ram);
    t.paging.cr3 = 0x000f'ffff'ffff'f000;
    EXPECT_EQ(t.go(linear).status, Status::outside_ram);
}

TEST(PageWalk, FiveLevels) {
    Tables t;
    t.map(linear, 0x9000 | present);
    t.paging.cr4 |= x86::cr4::LA57;
    t.paging.cr3 = 0x6000;
    t.put(0x6000 + 5 * 8, 0x1000 | present);
    EXPECT_EQ(t.go((u64{5} << 48) | linear).address, 0x9abcu);
}

TEST(PageWalk, LegacyPae) {
    Tables t;
    t.paging.efer = 0;
    t.paging.cr3 = 0x1020; // PDPT aligned to 32 bytes
    t.put(0x1020 + 8, 0x2000 | present);
    t.put(0x2000 + 3 * 8, 0x3000 | present | write | user);
    t.put(0x3000 + 7 * 8, 0xa000 | present | write);
    const u64 address = u64{1} << 30 | 3 << 21 | 7 << 12 | 0x123;
    EXPECT_EQ(t.go(address, Access::write).address, 0xa123u);
    t.put(0x2000 + 3 * 8, 0x0060'0000 | present | large);
    EXPECT_EQ(t.go(address).address, 0x0060'0000u + (7 << 12) + 0x123);
}

TEST(PageWalk, LegacyTwoLevels) {
    Tables t;
    t.paging.efer = 0;
    t.paging.cr4 = 0;
    t.put32(0x1000 + 4 * 5, 0x2000 | present | write);
    t.put32(0x2000 + 4 * 6, 0xb000 | present | write);
    const u64 address = 5 << 22 | 6 << 12 | 0x456;
    EXPECT_EQ(t.go(address).address, 0xb456u);
    t.paging.cr4 = x86::cr4::PSE;
    t.put32(0x1000 + 4 * 5, 0x0040'0000 | present | large | 3 << 13); // PSE-36
    EXPECT_EQ(t.go(address).address, 0x3'0040'0000u + (6 << 12) + 0x456);
}

// Whatever is in the tables, the walk ends, stays in memory, and never grants what a plain reading
// of the leaf's rights forbids.
RC_GTEST_PROP(PageWalkProperty, AnyTablesAreSafe, ()) {
    Tables t;
    for (u64 page = 1; page < 8; ++page)
        for (u64 i = 0; i < 512; ++i) {
            // Mostly entries that point back into the tables.
            const u64 target = (i * 7 + page * 3) % 9 * 0x1000;
            t.put(page * 0x1000 + i * 8, target | (i * page * 2654435761u >> 7 & 0xe7));
        }
    t.paging.cr4 = *rc::gen::arbitrary<u64>() & (x86::cr4::PAE | x86::cr4::PSE | x86::cr4::SMEP |
                                                 x86::cr4::SMAP | x86::cr4::LA57);
    t.paging.efer = *rc::gen::element<u64>(0, x86::efer::LMA, x86::efer::LMA | x86::efer::NXE);
    t.paging.cpl = *rc::gen::element<u8>(0, 3);
    t.paging.cr3 = *rc::gen::inRange<u64>(0, 8) * 0x1000;
    const u64 where = *rc::gen::arbitrary<u64>();
    const auto read = t.go(where), again = t.go(where, Access::write);
    if (again.status == Status::ok)
        RC_ASSERT(read.status == Status::ok && read.address == again.address);
}

} // namespace
} // namespace horos::vmm
