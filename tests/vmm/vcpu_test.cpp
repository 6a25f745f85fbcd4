// The run loop with a scripted processor: exits go in, state changes and device effects come out.
#include <gtest/gtest.h>

#include "emulation.hpp"
#include "fake_host.hpp"
#include "run/vcpu.hpp"

namespace horos::vmm {
namespace {

using abi::ExitReason;
using abi::Gpr;
using fake::host;

constexpr u64 code_at = 0x1000;

struct VcpuTest : testing::Test {
    std::vector<u8> ram = std::vector<u8>(1 << 20);
    abi::VcpuPage whole{}, whole1{};
    abi::VcpuState& page = whole.state;
    std::unique_ptr<Machine> machine;
    std::unique_ptr<Vcpu> vcpu, second;

    void SetUp() override {
        fake::reset();
        set_64_bit(page);
        page.rip = code_at;
        page.rflags |= x86::rflags::IF;
        machine =
            std::make_unique<Machine>(MachineConfig{.memory = GuestMemory(ram.data(), ram.size()),
                                                    .vcpus = 2,
                                                    .tsc_khz = 1000,
                                                    .unix_seconds = 1'795'000'000,
                                                    .boot = 0});
        machine->cpuid().build(
            {.host = [](u32 leaf, u32) { return CpuidValue{leaf, ~0u, ~0u, ~0u}; }});
        vcpu = std::make_unique<Vcpu>(0, whole, *machine);
        second = std::make_unique<Vcpu>(1, whole1, *machine);
    }
    u64& r(Gpr gpr) { return reg(page, gpr); }
    void code(std::initializer_list<u8> bytes) {
        std::copy(bytes.begin(), bytes.end(), ram.begin() + static_cast<long>(page.rip));
    }
    void enter(ExitReason reason, std::function<void()> guest = [] {}) {
        host().script.push_back([=] {
            guest();
            return reason;
        });
        vcpu->step();
    }
    void wrmsr(u32 number, u64 value) {
        code({0x0f, 0x30});
        enter(ExitReason::wrmsr, [=, this] {
            r(Gpr::rcx) = number;
            r(Gpr::rax) = value & 0xffff'ffff;
            r(Gpr::rdx) = value >> 32;
        });
    }
    void port(u16 number, u64 flags, unsigned bytes) {
        page.info[0] = u64{number} << abi::io_access::port_shift | flags |
                       u64{bytes} << abi::io_access::bytes_shift;
        page.next_rip = page.rip + 1;
        enter(ExitReason::io);
        page.next_rip = 0;
    }
    void out(u16 number, u64 value, unsigned bytes = 1) {
        r(Gpr::rax) = value;
        port(number, 0, bytes);
    }
    u64 in(u16 number, unsigned bytes = 1) {
        port(number, abi::io_access::in, bytes);
        return r(Gpr::rax);
    }
    // Puts the timer of the guest in x2APIC deadline mode, as Linux does.
    void use_deadline_timer() {
        wrmsr(msr::apic_base, Lapic::default_base | 0xd00);
        wrmsr(0x80f, 0x1ff);
        wrmsr(0x832, 0x400ec);
    }
};

TEST_F(VcpuTest, CpuidAnswersAndMovesOn) {
    code({0x0f, 0xa2});
    r(Gpr::rax) = 0x4000'0000;
    enter(ExitReason::cpuid);
    EXPECT_EQ(r(Gpr::rbx), 0x4b4d564bu);
    EXPECT_EQ(page.rip, code_at + 2);
}

TEST_F(VcpuTest, PrefixedInstructionsAreSkippedWhole) {
    code({0x48, 0x0f, 0xa2}); // REX.W CPUID
    enter(ExitReason::cpuid);
    EXPECT_EQ(page.rip, code_at + 3);
    page.next_rip = page.rip + 7; // a processor that tells is believed
    enter(ExitReason::cpuid);
    EXPECT_EQ(page.rip, code_at + 10);
}

TEST_F(VcpuTest, SkippingEndsTheInterruptShadow) {
    code({0x0f, 0xa2});
    page.interrupt_shadow = 1;
    enter(ExitReason::cpuid, [this] { page.dirty = 0; });
    EXPECT_EQ(page.interrupt_shadow, 0u);
    EXPECT_EQ(page.dirty, abi::group::events);
}

TEST_F(VcpuTest, UnknownMsrIsGeneralProtection) {
    code({0x0f, 0x32});
    r(Gpr::rcx) = 0xc001'0117;
    enter(ExitReason::rdmsr);
    EXPECT_EQ(page.inject & 0xffff'ffff, 0x8000'0b0du);
    EXPECT_EQ(page.inject >> 32, 0u);
    EXPECT_EQ(page.rip, code_at);
}

TEST_F(VcpuTest, EferFollowsItsRules) {
    wrmsr(msr::efer, x86::efer::LME | x86::efer::SCE);
    EXPECT_EQ(page.inject, 0u);
    EXPECT_EQ(page.efer, x86::efer::LME | x86::efer::LMA | x86::efer::SCE);
    EXPECT_TRUE(page.dirty & abi::group::control);
    wrmsr(msr::efer, x86::efer::LME | x86::efer::SVME);
    EXPECT_NE(page.inject, 0u);
    page.inject = 0;
    page.cr0 |= x86::cr0::PG;
    page.cr3 = 0x8000; // one large identity page for the fetch
    machine->memory().store<u64>(0x8000, 0x9003);
    machine->memory().store<u64>(0x9000, 0x83);
    wrmsr(msr::efer, 0);
    EXPECT_NE(page.inject, 0u) << "LME while paging";
}

TEST_F(VcpuTest, UartReachesTheConsoleAndBack) {
    out(0x3f8, 'H');
    out(0x3f8, 'i');
    EXPECT_EQ(host().console, "Hi");
    EXPECT_EQ(in(0x3fd) & 0x61, 0x60u);
    host().keyboard = "x";
    enter(ExitReason::notified);
    EXPECT_EQ(in(0x3fd) & 0x01, 1u);
    EXPECT_EQ(in(0x3f8) & 0xff, 'x');
}

TEST_F(VcpuTest, AFullConsoleHoldsTheTransmitter) {
    host().console_room = 0;
    out(0x3f8, 'H');
    EXPECT_EQ(in(0x3fd) & 0x60, 0u);
    host().console_room = 10;
    enter(ExitReason::notified);
    EXPECT_EQ(in(0x3fd) & 0x60, 0x60u);
    EXPECT_EQ(host().console, "H");
}

TEST_F(VcpuTest, InputKeepsTheUpperPartOfRax) {
    r(Gpr::rax) = 0x1122'3344'5566'7788;
    in(0x3ff, 1);
    EXPECT_EQ(r(Gpr::rax), 0x1122'3344'5566'7700u);
    in(0x1234, 2);
    EXPECT_EQ(r(Gpr::rax), 0x1122'3344'5566'ffffu) << "nobody at that port";
    in(0x1234, 4);
    EXPECT_EQ(r(Gpr::rax), 0xffff'ffffu);
}

TEST_F(VcpuTest, DeadlineTimerInterruptsOnce) {
    use_deadline_timer();
    wrmsr(msr::tsc_deadline, 5000);
    enter(ExitReason::deadline, [this] {
        EXPECT_EQ(page.deadline, 5000u);
        host().now = 5000;
    });
    // At the next entry the interrupt is offered; the processor takes it.
    code({0x0f, 0xa2});
    enter(ExitReason::cpuid, [this] {
        EXPECT_EQ(page.pending_interrupt, abi::pending::valid | 0xec);
        page.pending_interrupt = 0;
    });
    EXPECT_EQ(vcpu->apic().msr_read(0x817, 0), 0x1000u) << "vector ec is in service";
    wrmsr(0x80b, 0);
    EXPECT_EQ(vcpu->apic().msr_read(0x817, 0), 0u);
    enter(ExitReason::cpuid, [this] {
        EXPECT_EQ(page.pending_interrupt, 0u);
        EXPECT_EQ(page.deadline, never);
    });
}

TEST_F(VcpuTest, AnInterruptThatIsNotTakenStaysOffered) {
    use_deadline_timer();
    wrmsr(msr::tsc_deadline, 1);
    host().now = 2000;
    enter(ExitReason::deadline);
    code({0x0f, 0xa2});
    for (int i = 0; i < 3; ++i) {
        code({0x0f, 0xa2});
        enter(ExitReason::cpuid,
              [this] { EXPECT_EQ(page.pending_interrupt, abi::pending::valid | 0xec); });
    }
}

TEST_F(VcpuTest, SilentEoiNeedsNoExit) {
    use_deadline_timer();
    wrmsr(msr::kvm_eoi, 0x5000 | 1);
    wrmsr(msr::tsc_deadline, 5000);
    host().now = 5000;
    enter(ExitReason::deadline);
    code({0x0f, 0xa2});
    enter(ExitReason::cpuid, [this] {
        EXPECT_EQ(ram[0x5000], 1) << "nothing waits behind the interrupt";
        page.pending_interrupt = 0; // taken
        ram[0x5000] = 0;            // and ended by the guest
    });
    wrmsr(msr::tsc_deadline, 6000);
    EXPECT_EQ(vcpu->apic().msr_read(0x817, 0), 0u) << "learnt before the next entry";
    host().now = 6000;
    enter(ExitReason::deadline);
    EXPECT_EQ(vcpu->apic().msr_read(0x827, 0), 0x1000u);
}

TEST_F(VcpuTest, SilentEoiIsTakenBackWhenAnotherInterruptWaits) {
    use_deadline_timer();
    wrmsr(msr::kvm_eoi, 0x5000 | 1);
    wrmsr(msr::tsc_deadline, 5000);
    host().now = 5000;
    enter(ExitReason::deadline);
    code({0x0f, 0xa2});
    enter(ExitReason::cpuid, [this] { page.pending_interrupt = 0; });
    wrmsr(0x83f, 0x41); // a self-IPI of lower priority while the handler runs
    code({0x0f, 0xa2});
    enter(ExitReason::cpuid, [this] {
        EXPECT_EQ(ram[0x5000], 0) << "the end must exit";
        EXPECT_EQ(page.pending_interrupt, 0u);
    });
    wrmsr(0x80b, 0);
    code({0x0f, 0xa2});
    enter(ExitReason::cpuid,
          [this] { EXPECT_EQ(page.pending_interrupt, abi::pending::valid | 0x41); });
}

TEST_F(VcpuTest, HaltSleepsUntilTheTimer) {
    use_deadline_timer();
    wrmsr(msr::tsc_deadline, 9000);
    code({0xf4});
    const u64 at = page.rip;
    enter(ExitReason::hlt);
    EXPECT_EQ(page.rip, at + 1);
    vcpu->step(); // sleeps
    ASSERT_EQ(host().waits, (std::vector<Ticks>{9000}));
    code({0x0f, 0xa2});
    enter(ExitReason::cpuid,
          [this] { EXPECT_EQ(page.pending_interrupt, abi::pending::valid | 0xec); });
}

TEST_F(VcpuTest, HaltForEverIsReported) {
    machine->stopped_for_ever(1, 0);
    page.rflags &= ~x86::rflags::IF;
    code({0xf4});
    enter(ExitReason::hlt);
    try {
        vcpu->step();
        FAIL() << "a silent hang";
    } catch (const fake::Stopped& stopped) {
        EXPECT_EQ(stopped.kind, abi::ReportKind::guest_error);
    }
}

TEST_F(VcpuTest, IoapicInterruptIsReachedThroughMmio) {
    use_deadline_timer();
    r(Gpr::rbx) = Ioapic::default_base;
    const auto store = [this](u64 offset, u32 value) {
        code({0x89, 0x43, static_cast<u8>(offset)}); // mov [rbx + offset], eax
        r(Gpr::rax) = value;
        page.info[0] = Ioapic::default_base + offset;
        page.info[1] = abi::memory_flag::write;
        enter(ExitReason::memory);
    };
    store(0x00, 0x10 + 4 * 2);
    store(0x10, 0x31); // COM1, edge, vector 31h to APIC 0
    code({0x8b, 0x43, 0x10});
    page.info[0] = Ioapic::default_base + 0x10;
    page.info[1] = 0;
    enter(ExitReason::memory);
    EXPECT_EQ(r(Gpr::rax), 0x31u);
    out(0x3fc, 0x08);
    out(0x3f9, 0x02); // transmitter empty
    code({0x0f, 0xa2});
    enter(ExitReason::cpuid,
          [this] { EXPECT_EQ(page.pending_interrupt, abi::pending::valid | 0x31); });
}

TEST_F(VcpuTest, ThePicReachesTheProcessorThroughLint0) {
    for (const auto& [at, value] :
         {std::pair{0x20, 0x11}, {0x21, 0x30}, {0x21, 4}, {0x21, 1}, {0x21, 0xef}})
        out(static_cast<u16>(at), static_cast<u64>(value));
    out(0x3fc, 0x08);
    out(0x3f9, 0x02);
    code({0x0f, 0xa2});
    enter(ExitReason::cpuid, [this] {
        EXPECT_EQ(page.pending_interrupt, abi::pending::valid | 0x34);
        page.pending_interrupt = 0;
    });
    out(0x20, 0x0b);
    EXPECT_EQ(in(0x20) & 0xff, 0x10u) << "line 4 is in service";
}

TEST_F(VcpuTest, StartUpOfAnotherProcessor) {
    use_deadline_timer();
    second->step(); // waits for its start
    EXPECT_EQ(host().waits.size(), 1u);
    wrmsr(0x830, u64{1} << 32 | 0x4500); // INIT
    wrmsr(0x830, u64{1} << 32 | 0x4609); // start-up at 9000h
    EXPECT_EQ(host().woken, (std::vector<u32>{1})) << "told once";
    host().script.push_back([this] {
        EXPECT_EQ(whole1.state.cs.base, 0x9000u);
        EXPECT_EQ(whole1.state.rip, 0u);
        return ExitReason::none;
    });
    second->step();
}

TEST_F(VcpuTest, UnknownHypercallIsUndefined) {
    code({0x0f, 0x01, 0xd9});
    r(Gpr::rax) = 0x1234;
    enter(ExitReason::vmcall);
    EXPECT_EQ(page.inject & 0xffff'ffff, 0x8000'0306u);
    page.inject = 0;
    r(Gpr::rax) = 0x484f'524f'5300;
    enter(ExitReason::vmcall);
    EXPECT_EQ(r(Gpr::rax), 1u);
    EXPECT_EQ(page.rip, code_at + 3);
}

TEST_F(VcpuTest, XsetbvIsChecked) {
    code({0x0f, 0x01, 0xd1});
    r(Gpr::rax) = 0;
    enter(ExitReason::xsetbv);
    EXPECT_NE(page.inject, 0u) << "x87 must stay on";
    page.inject = 0;
    r(Gpr::rax) = 1;
    enter(ExitReason::xsetbv);
    EXPECT_EQ(page.inject, 0u);
    EXPECT_EQ(page.xcr0, 1u);
}

TEST_F(VcpuTest, ControlRegisterWritesFollowTheRulesOfModes) {
    using namespace x86;
    // 32-bit code with long mode enabled, about to turn paging on: mov cr0, eax
    page.efer = efer::LME;
    page.cs.attributes = 0xc9b;
    const auto write = [this](u8 number, u64 value) {
        code({0x0f, 0x22, static_cast<u8>(0xc0 | number << 3)});
        r(Gpr::rax) = value;
        page.info[0] = 16u + number;
        page.inject = 0;
        enter(ExitReason::cr_access);
        return page.inject == 0;
    };
    page.cr0 = cr0::PE | cr0::ET;
    EXPECT_FALSE(write(0, cr0::PE | cr0::PG)) << "without CR4.PAE";
    EXPECT_FALSE(write(0, cr0::PG)) << "paging without protection";
    EXPECT_FALSE(write(0, cr0::PE | cr0::NW)) << "NW without CD";
    EXPECT_FALSE(write(4, cr4::LA57));
    EXPECT_FALSE(write(4, cr4::PCIDE)) << "outside long mode";
    EXPECT_TRUE(write(4, cr4::PAE));
    EXPECT_EQ(page.cr4, cr4::PAE);
    const u64 at = page.rip;
    EXPECT_TRUE(write(0, cr0::PE | cr0::PG | cr0::WP));
    EXPECT_EQ(page.rip, at + 3);
    EXPECT_EQ(page.efer, efer::LME | efer::LMA);
    EXPECT_EQ(page.cr0, cr0::PE | cr0::PG | cr0::WP | cr0::ET);
    EXPECT_TRUE(page.dirty & abi::group::control);
    page.cr3 = 0x8000;
    machine->memory().store<u64>(0x8000, 0x9003);
    machine->memory().store<u64>(0x9000, 0x83);
    EXPECT_FALSE(write(4, 0)) << "PAE is needed in long mode";
    EXPECT_TRUE(write(0, cr0::PE));
    EXPECT_EQ(page.efer, efer::LME);
    // LMSW ax cannot clear PE.
    code({0x0f, 0x01, 0xf0});
    r(Gpr::rax) = 0x8;
    page.info[0] = 16;
    enter(ExitReason::cr_access);
    EXPECT_EQ(page.cr0, cr0::PE | cr0::TS | cr0::ET);
}

TEST_F(VcpuTest, CutOffEventsAreDeliveredAgain) {
    code({0x0f, 0xa2});
    enter(ExitReason::cpuid, [this] { page.interrupted_event = 0x8000'00ec; });
    EXPECT_EQ(page.inject, 0x8000'00ecu);
    page.inject = 0;
    code({0x0f, 0xa2});
    enter(ExitReason::cpuid, [this] { page.interrupted_event = 0x8000'0480; });
    EXPECT_EQ(page.inject, 0u) << "a software interrupt repeats by itself";
}

TEST_F(VcpuTest, SecondFaultIsADoubleFault) {
    page.inject = 0x8000'0b0d;
    enter(ExitReason::rdpmc);
    EXPECT_EQ(page.inject & 0xffff'ffff, 0x8000'0b08u);
    EXPECT_THROW(enter(ExitReason::rdpmc), fake::Stopped);
}

TEST_F(VcpuTest, EndsAreReported) {
    const auto kind = [](std::function<void()> action) {
        try {
            action();
        } catch (const fake::Stopped& stopped) {
            return stopped.kind;
        }
        return abi::ReportKind::none;
    };
    EXPECT_EQ(kind([this] { enter(ExitReason::shutdown); }), abi::ReportKind::triple_fault);
    EXPECT_EQ(kind([this] { out(0x600, 0x34); }), abi::ReportKind::power_off);
    SetUp();
    EXPECT_EQ(kind([this] { out(0xcf9, 6); }), abi::ReportKind::reset);
    SetUp();
    EXPECT_EQ(kind([this] { enter(ExitReason::task_switch); }), abi::ReportKind::guest_error);
    SetUp();
    page.info[0] = 0xfed0'0000;
    page.info[1] = abi::memory_flag::fetch;
    EXPECT_EQ(kind([this] { enter(ExitReason::memory); }), abi::ReportKind::guest_error);
}

TEST_F(VcpuTest, OpenBusReadsOnes) {
    code({0x8b, 0x03});
    r(Gpr::rbx) = 0xfed0'0000;
    page.info[0] = 0xfed0'0000;
    page.info[1] = 0;
    enter(ExitReason::memory);
    EXPECT_EQ(r(Gpr::rax), 0xffff'ffffu);
}

TEST_F(VcpuTest, WritingTheTscMovesTimersAndClock) {
    wrmsr(msr::kvm_system_time, 0x6001);
    u64 stamp = 0;
    std::memcpy(&stamp, ram.data() + 0x6008, 8);
    EXPECT_EQ(stamp, 0u);
    wrmsr(msr::tsc, 1'000'000);
    EXPECT_EQ(page.tsc_offset, 1'000'000 - host().now);
    std::memcpy(&stamp, ram.data() + 0x6008, 8);
    EXPECT_EQ(stamp, page.tsc_offset);
    wrmsr(msr::tsc_adjust, 0);
    EXPECT_EQ(page.tsc_offset, 0u);
}

} // namespace
} // namespace horos::vmm
