#include "devices/lapic.hpp"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <set>

#include "devices/apic_mailbox.hpp"

namespace horos::vmm {
namespace {

constexpr u32 msr_of(ApicRegister reg) { return 0x800 + static_cast<u32>(reg); }

struct LapicTest : testing::Test {
    Lapic apic{1, false};
    void SetUp() override { apic.mmio_write(0xf0, 0x1ff, 0); }
    void x2apic() { ASSERT_TRUE(apic.set_base(apic.base() | Lapic::base_x2apic)); }
    ApicEffect wrmsr(ApicRegister reg, u64 value, Ticks now = 0) {
        return apic.msr_write(msr_of(reg), value, now);
    }
};

TEST_F(LapicTest, HighestVectorComesFirstAndBlocksItsClass) {
    apic.accept(0x41, false);
    apic.accept(0x52, false);
    ASSERT_EQ(apic.pending(), 0x52);
    apic.deliver(0x52);
    EXPECT_EQ(apic.pending(), VectorSet::none);
    apic.accept(0x5f, false);
    EXPECT_EQ(apic.pending(), VectorSet::none) << "the same class does not interrupt itself";
    apic.accept(0x60, false);
    EXPECT_EQ(apic.pending(), 0x60);
    apic.end_of_interrupt();
    EXPECT_EQ(apic.pending(), 0x60);
}

TEST_F(LapicTest, TaskPriorityMasksItsClassAndBelow) {
    apic.mmio_write(0x80, 0x40, 0);
    apic.accept(0x4f, false);
    EXPECT_EQ(apic.pending(), VectorSet::none);
    apic.accept(0x50, false);
    EXPECT_EQ(apic.pending(), 0x50);
    apic.set_task_priority_class(5);
    EXPECT_EQ(apic.pending(), VectorSet::none);
    EXPECT_EQ(apic.mmio_read(0x80, 0), 0x50u);
}

TEST_F(LapicTest, OnlyLevelInterruptsAreBroadcastAtTheirEnd) {
    apic.accept(0x50, true);
    apic.deliver(0x50);
    EXPECT_EQ(apic.mmio_write(0xb0, 0, 0).broadcast_eoi, 0x50);
    apic.accept(0x50, false);
    apic.deliver(0x50);
    EXPECT_EQ(apic.mmio_write(0xb0, 0, 0).broadcast_eoi, VectorSet::none);
    EXPECT_EQ(apic.mmio_write(0xb0, 0, 0).broadcast_eoi, VectorSet::none) << "nothing in service";
}

TEST_F(LapicTest, SoftwareDisabledTakesNothingAndMasksItsEntries) {
    apic.mmio_write(0x320, 0x30, 0);
    apic.mmio_write(0xf0, 0xff, 0);
    EXPECT_EQ(apic.mmio_read(0x320, 0) & (1 << 16), 1u << 16);
    apic.accept(0x50, false);
    EXPECT_EQ(apic.pending(), VectorSet::none);
}

TEST_F(LapicTest, OneShotTimer) {
    apic.mmio_write(0x3e0, 0x0b, 0); // divide by 1
    apic.mmio_write(0x320, 0x30, 0);
    apic.mmio_write(0x380, 1000, 50);
    EXPECT_EQ(apic.timer_deadline(), 1050u);
    EXPECT_EQ(apic.mmio_read(0x390, 450), 600u);
    apic.poll_timer(1049);
    EXPECT_EQ(apic.pending(), VectorSet::none);
    apic.poll_timer(1050);
    EXPECT_EQ(apic.pending(), 0x30);
    EXPECT_EQ(apic.timer_deadline(), never);
    EXPECT_EQ(apic.mmio_read(0x390, 5000), 0u);
}

TEST_F(LapicTest, DividersShiftTheCount) {
    constexpr u32 codes[] = {0x0b, 0x00, 0x01, 0x02, 0x03, 0x08, 0x09, 0x0a};
    for (u32 shift = 0; shift < 8; ++shift) {
        apic.mmio_write(0x3e0, codes[shift], 0);
        apic.mmio_write(0x380, 16, 0);
        EXPECT_EQ(apic.timer_deadline(), u64{16} << shift);
    }
}

TEST_F(LapicTest, PeriodicTimerKeepsItsGrid) {
    apic.mmio_write(0x3e0, 0x0b, 0);
    apic.mmio_write(0x320, 0x20030, 0);
    apic.mmio_write(0x380, 100, 0);
    apic.poll_timer(350);
    EXPECT_EQ(apic.pending(), 0x30);
    EXPECT_EQ(apic.timer_deadline(), 400u);
    EXPECT_EQ(apic.mmio_read(0x390, 360), 40u);
    apic.mmio_write(0x380, 0, 360);
    EXPECT_EQ(apic.timer_deadline(), never);
}

TEST_F(LapicTest, TscDeadlineIsInGuestTime) {
    x2apic();
    apic.set_tsc_offset(~u64{0} - 999); // the guest is 1000 behind
    wrmsr(ApicRegister::lvt_timer, 0x40030);
    apic.set_tsc_deadline(5000);
    EXPECT_EQ(apic.timer_deadline(), 6000u);
    EXPECT_EQ(apic.tsc_deadline(), 5000u);
    apic.poll_timer(6000);
    EXPECT_EQ(apic.pending(), 0x30);
    EXPECT_EQ(apic.tsc_deadline(), 0u) << "disarmed by firing";
    apic.set_tsc_deadline(7000);
    apic.set_tsc_deadline(0);
    EXPECT_EQ(apic.timer_deadline(), never);
    wrmsr(ApicRegister::initial_count, 5);
    EXPECT_EQ(apic.timer_deadline(), never) << "the count is ignored in this mode";
}

TEST_F(LapicTest, DeadlineOutsideItsModeIsIgnored) {
    apic.set_tsc_deadline(5000);
    EXPECT_EQ(apic.timer_deadline(), never);
}

TEST_F(LapicTest, X2apicFaults) {
    EXPECT_FALSE(apic.msr_read(0x802, 0)) << "not in this mode yet";
    x2apic();
    EXPECT_EQ(apic.msr_read(0x802, 0), 1u);
    EXPECT_EQ(apic.msr_read(0x80d, 0), 2u) << "logical ID of APIC 1";
    for (const u32 msr : {0x80bu, 0x80eu, 0x831u, 0x83fu, 0x840u, 0x8ffu, 0x800u, 0x82fu})
        EXPECT_FALSE(apic.msr_read(msr, 0)) << std::hex << msr;
    EXPECT_TRUE(wrmsr(ApicRegister::end_of_interrupt, 1).fault);
    EXPECT_TRUE(wrmsr(ApicRegister::error_status, 1).fault);
    EXPECT_TRUE(wrmsr(ApicRegister::id, 1).fault);
    EXPECT_TRUE(wrmsr(ApicRegister::task_priority, 1ull << 32).fault);
    EXPECT_TRUE(wrmsr(ApicRegister::self_ipi, 0x100).fault);
    EXPECT_FALSE(wrmsr(ApicRegister::self_ipi, 0x60).fault);
    EXPECT_EQ(apic.pending(), 0x60);
}

TEST_F(LapicTest, ModeChangesOfTheBaseRegister) {
    EXPECT_FALSE(apic.set_base(apic.base() | 1)) << "reserved bit";
    EXPECT_FALSE(apic.set_base(Lapic::default_base | Lapic::base_x2apic)) << "x2APIC, disabled";
    x2apic();
    EXPECT_FALSE(apic.set_base(Lapic::default_base | Lapic::base_enable)) << "back to xAPIC";
    EXPECT_TRUE(apic.set_base(Lapic::default_base));
    EXPECT_FALSE(apic.set_base(Lapic::default_base | Lapic::base_enable | Lapic::base_x2apic))
        << "from disabled straight to x2APIC";
}

TEST_F(LapicTest, CommandRegisterGivesMessages) {
    apic.mmio_write(0x310, 5u << 24, 0);
    auto effect = apic.mmio_write(0x300, 0x0000'4600 | 0x9a, 0);
    ASSERT_TRUE(effect.message);
    EXPECT_EQ(effect.message->mode, DeliveryMode::startup);
    EXPECT_EQ(effect.message->vector, 0x9a);
    EXPECT_EQ(effect.message->destination, 5u);
    effect = apic.mmio_write(0x300, 0x0000'8500, 0); // INIT de-assert
    EXPECT_FALSE(effect.message);
    effect = apic.mmio_write(0x300, 0x000c'4040, 0);
    ASSERT_TRUE(effect.message);
    EXPECT_EQ(effect.message->shorthand, Shorthand::all_but_self);
    x2apic();
    effect = wrmsr(ApicRegister::command, 0x1234'5678'0000'0841ull);
    ASSERT_TRUE(effect.message);
    EXPECT_EQ(effect.message->destination, 0x1234'5678u);
    EXPECT_TRUE(effect.message->logical);
}

TEST_F(LapicTest, IllegalVectorsAreErrorsReadAfterAWrite) {
    apic.mmio_write(0x370, 0x44, 0);
    EXPECT_FALSE(apic.mmio_write(0x300, 0x05, 0).message);
    EXPECT_EQ(apic.pending(), 0x44);
    EXPECT_EQ(apic.mmio_read(0x280, 0), 0u);
    apic.mmio_write(0x280, 0, 0);
    EXPECT_EQ(apic.mmio_read(0x280, 0), 0x20u);
    apic.mmio_write(0x280, 0, 0);
    EXPECT_EQ(apic.mmio_read(0x280, 0), 0u);
}

TEST(ApicAddress, Destinations) {
    const ApicAddress flat{.id = 3, .logical_byte = 0x04};
    EXPECT_TRUE(flat.matches(3, false));
    EXPECT_FALSE(flat.matches(2, false));
    EXPECT_TRUE(flat.matches(0xff, false));
    EXPECT_TRUE(flat.matches(0x0c, true));
    EXPECT_FALSE(flat.matches(0x0b, true));
    const ApicAddress cluster{.id = 3, .flat = false, .logical_byte = 0x24};
    EXPECT_TRUE(cluster.matches(0x2c, true));
    EXPECT_FALSE(cluster.matches(0x14, true));
    const ApicAddress wide{.id = 0x21, .x2apic = true};
    EXPECT_TRUE(wide.matches(0x0002'0002, true));
    EXPECT_FALSE(wide.matches(0x0001'0002, true));
    EXPECT_TRUE(wide.matches(~0u, false));
    EXPECT_FALSE((ApicAddress{.id = 3, .enabled = false}).matches(3, false));
    EXPECT_EQ(ApicAddress::unpack(wide.pack()).id, 0x21u);
    EXPECT_TRUE(ApicAddress::unpack(wide.pack()).x2apic);
}

TEST(ApicMailbox, CarriesVectorsWithTheirTrigger) {
    ApicMailbox box;
    Lapic apic(0, true);
    apic.firmware_setup();
    EXPECT_TRUE(box.post(0x50, true));
    EXPECT_FALSE(box.post(0x91, false)) << "the owner is already told";
    EXPECT_FALSE(box.empty());
    EXPECT_EQ(box.collect(apic), 0u);
    EXPECT_TRUE(box.empty());
    EXPECT_EQ(apic.pending(), 0x91);
    apic.deliver(0x91);
    EXPECT_EQ(apic.end_of_interrupt(), VectorSet::none);
    apic.deliver(0x50);
    EXPECT_EQ(apic.end_of_interrupt(), 0x50);
    box.post_init();
    box.post_startup(0x9a);
    EXPECT_EQ(box.collect(apic), ApicMailbox::event_init | ApicMailbox::event_startup);
    EXPECT_EQ(box.startup_page(), 0x9a);
}

// Against the obvious model: sets, and the rule of priority classes.
RC_GTEST_PROP(LapicProperty, PriorityAgreesWithSets, ()) {
    Lapic apic(0, true);
    apic.firmware_setup();
    std::set<int> request, service;
    u32 tpr = 0;
    const auto steps = *rc::gen::container<std::vector<std::pair<u8, u8>>>(
        rc::gen::pair(rc::gen::inRange<u8>(0, 4), rc::gen::inRange<u8>(16, 255)));
    for (const auto& [what, vector] : steps) {
        const int serving = service.empty() ? -1 : *service.rbegin();
        const int threshold = std::max(serving, static_cast<int>(tpr)) & 0xf0;
        const int expected = !request.empty() && (*request.rbegin() & 0xf0) > std::max(threshold, 0)
                                 ? *request.rbegin()
                                 : VectorSet::none;
        RC_ASSERT(apic.pending() == expected);
        if (what == 0) {
            apic.accept(vector, false);
            request.insert(vector);
        } else if (what == 1 && expected >= 0) {
            apic.deliver(static_cast<u8>(expected));
            request.erase(expected);
            service.insert(expected);
        } else if (what == 2) {
            apic.end_of_interrupt();
            if (serving >= 0)
                service.erase(serving);
        } else if (what == 3) {
            tpr = vector & 0x70;
            apic.mmio_write(0x80, tpr, 0);
        }
    }
}

} // namespace
} // namespace horos::vmm
