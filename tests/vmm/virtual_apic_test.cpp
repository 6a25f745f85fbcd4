// A local APIC in memory that the processor serves, as a whole or its task priority alone: which
// way is asked for, what goes to the page, and what the exits of either way do.
#include <gtest/gtest.h>

#include "emulation.hpp"
#include "fake_host.hpp"
#include "run/vcpu.hpp"

namespace horos::vmm {
namespace {

namespace way = abi::virtual_apic;
using abi::ExitReason;
using abi::Gpr;
using fake::host;

constexpr u32 frame = 77;

struct VirtualApicTest : testing::Test {
    std::vector<u8> ram = std::vector<u8>(1 << 20);
    abi::VcpuPage whole{}, whole1{};
    abi::VcpuState& page = whole.state;
    std::unique_ptr<Machine> machine;
    std::unique_ptr<Vcpu> vcpu, second;

    void SetUp() override { build(frame); }
    void build(u32 apic_frame) {
        fake::reset();
        whole = whole1 = {};
        set_64_bit(page);
        page.rip = 0x1000;
        page.rflags |= x86::rflags::IF;
        machine =
            std::make_unique<Machine>(MachineConfig{.memory = GuestMemory(ram.data(), ram.size()),
                                                    .vcpus = 2,
                                                    .tsc_khz = 1000,
                                                    .apic_frame = apic_frame});
        vcpu = std::make_unique<Vcpu>(0, whole, *machine);
        second = std::make_unique<Vcpu>(1, whole1, *machine);
    }
    u32& word(u32 offset) { return whole.apic[offset / 4]; }
    void enter(ExitReason reason, std::function<void()> guest = [] {}) {
        host().script.push_back([=] {
            guest();
            return reason;
        });
        vcpu->step();
    }
    // The processor says what it offers, and is entered again.
    void offer(u32 ways) {
        page.virtual_apics = ways;
        enter(ExitReason::deadline);
        enter(ExitReason::deadline);
    }
    void access(std::initializer_list<u8> bytes, u64 info) {
        std::copy(bytes.begin(), bytes.end(), ram.begin() + static_cast<long>(page.rip));
        page.info[0] = info;
        enter(ExitReason::apic_access);
    }
};

TEST_F(VirtualApicTest, TheBestWayIsAskedFor) {
    const struct {
        u32 offered, asked;
    } rows[] = {{0, way::none},
                {way::x2apic, way::none},
                {way::task_priority, way::task_priority},
                {way::memory | way::task_priority, way::memory},
                {way::known, way::memory}};
    for (const auto& row : rows) {
        build(frame);
        offer(row.offered);
        EXPECT_EQ(page.virtual_apic, row.asked) << row.offered;
        EXPECT_EQ(host().apic_pages.size(), row.asked == way::none ? 0u : 1u);
        EXPECT_TRUE(row.asked == way::none || page.apic_page == frame);
    }
    build(0);
    offer(way::known);
    EXPECT_EQ(page.virtual_apic, way::none) << "without a frame for it";
}

// The page is in the guest's space for as long as somebody's APIC is served through it.
TEST_F(VirtualApicTest, ThePageIsThereWhileItIsUsed) {
    offer(way::known);
    machine->share_apic_page(true);
    EXPECT_EQ(host().apic_pages, std::vector<bool>{true});
    machine->share_apic_page(false);
    EXPECT_EQ(host().apic_pages, std::vector<bool>{true});
    page.rip = 0x1000;
    ram[0x1000] = 0x0f;
    ram[0x1001] = 0x30;
    enter(ExitReason::wrmsr, [this] {
        reg(page, Gpr::rcx) = msr::apic_base;
        reg(page, Gpr::rax) = Lapic::default_base | 0xd00; // x2APIC mode
        reg(page, Gpr::rdx) = 0;
    });
    enter(ExitReason::deadline);
    EXPECT_EQ(page.virtual_apic, way::x2apic);
    EXPECT_EQ(host().apic_pages, (std::vector<bool>{true, false}));
}

TEST_F(VirtualApicTest, AMovedApicIsEmulated) {
    offer(way::known);
    page.rip = 0x1000;
    ram[0x1000] = 0x0f;
    ram[0x1001] = 0x30;
    enter(ExitReason::wrmsr, [this] {
        reg(page, Gpr::rcx) = msr::apic_base;
        reg(page, Gpr::rax) = 0xfed0'0900;
        reg(page, Gpr::rdx) = 0;
    });
    enter(ExitReason::deadline);
    EXPECT_EQ(page.virtual_apic, way::none);
    EXPECT_EQ(host().apic_pages, (std::vector<bool>{true, false}));
}

// Of xAPIC mode: where ID and destinations are, and the upper half of the command apart.
TEST_F(VirtualApicTest, ThePageHasTheRegistersOfMemory) {
    offer(way::known);
    EXPECT_EQ(word(0x20), 0u);
    EXPECT_EQ(word(0x30), 0x0005'0014u);
    EXPECT_EQ(word(0xe0), ~0u);
    EXPECT_EQ(word(0xf0), 0x1ffu);
    EXPECT_EQ(word(0x350), 0x700u);
}

// The effect of a register that the guest has written to the page; the command's upper half comes
// with the lower.
TEST_F(VirtualApicTest, AWrittenRegisterHasItsEffect) {
    offer(way::known);
    enter(ExitReason::apic_write, [this] {
        word(0xf0) = 0x1f3;
        page.info[0] = 0xf0;
    });
    EXPECT_EQ(vcpu->apic().mmio_read(0xf0, 0), 0x1f3u);
    const u64 at = page.rip;
    enter(ExitReason::apic_write, [this] {
        word(0x310) = 1u << 24;
        word(0x300) = 0x4500; // INIT to APIC 1
        page.info[0] = 0x300;
    });
    EXPECT_EQ(host().woken, std::vector<u32>{1});
    EXPECT_EQ(page.rip, at) << "the instruction is over";
    enter(ExitReason::apic_write, [this] {
        word(0x30) = 7; // cannot be written
        page.info[0] = 0x30;
    });
    enter(ExitReason::deadline, [this] { EXPECT_EQ(word(0x30), 0x0005'0014u); });
}

TEST_F(VirtualApicTest, AnAccessThatIsNotServedIsEmulated) {
    offer(way::known);
    reg(page, Gpr::rbx) = Lapic::default_base;
    const u64 at = page.rip;
    access({0x8b, 0x43, 0x30}, 0x30); // mov eax, [rbx + 30h]
    EXPECT_EQ(reg(page, Gpr::rax), 0x0005'0014u);
    EXPECT_EQ(page.rip, at + 3);
    reg(page, Gpr::rax) = 0x1234'5678;
    access({0x89, 0x43, 0x70}, 0x70 | 1u << abi::apic_access_type::shift); // a reserved register
    EXPECT_EQ(page.rip, at + 6);
    EXPECT_THROW(access({0x90}, 2u << abi::apic_access_type::shift), fake::Stopped) << "executed";
    EXPECT_THROW(access({0x90}, 3u << abi::apic_access_type::shift), fake::Stopped) << "an event";
}

// TPR is the page's; interrupts go in by the kernel.
TEST_F(VirtualApicTest, TaskPriorityAlone) {
    offer(way::task_priority);
    vcpu->apic().accept(0x51, false);
    page.tpr = 6;
    word(0x80) = 0x65;
    enter(ExitReason::deadline);
    reg(page, Gpr::rbx) = Lapic::default_base;
    host().script.push_back([this] {
        page.info[0] = 0xa0;
        return ExitReason::apic_access;
    });
    std::copy_n(std::initializer_list<u8>{0x8b, 0x83, 0xa0, 0, 0, 0}.begin(), 6,
                ram.begin() + static_cast<long>(page.rip)); // mov eax, [rbx + a0h]: PPR
    vcpu->step();
    EXPECT_EQ(reg(page, Gpr::rax), 0x65u);
    enter(ExitReason::deadline, [this] {
        EXPECT_EQ(page.pending_interrupt, 0u) << "below the task priority";
        page.tpr = 4;
        word(0x80) = 0x42;
    });
    enter(ExitReason::deadline, [this] {
        EXPECT_EQ(page.pending_interrupt, abi::pending::valid | 0x51);
        EXPECT_EQ(word(0x80), 0x42u);
        page.pending_interrupt = 0; // taken
    });
    EXPECT_EQ(vcpu->apic().mmio_read(0x120, 0), 1u << 17) << "in service";
    reg(page, Gpr::rax) = 0;
    access({0x89, 0x83, 0xb0, 0, 0, 0}, 0xb0 | 1u << abi::apic_access_type::shift); // EOI
    EXPECT_EQ(vcpu->apic().mmio_read(0x120, 0), 0u);
}

} // namespace
} // namespace horos::vmm
