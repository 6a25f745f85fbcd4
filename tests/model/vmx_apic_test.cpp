// The virtual APIC of a guest, and virtual interrupts: what SDM vol. 3C chapter 29 says of each.
#include "vmx_machine.hpp"

#include <rapidcheck/gtest.h>

namespace {

using namespace horos::model::vmx;
using namespace horos::model::vmx::testing;

constexpr uint64_t VAPIC = 0x50000, ACCESS = 0x15000, GDT = 0x13000, IDT = 0x60000,
                   HANDLER = 0x14000;

struct ApicMachine : Machine {
    explicit ApicMachine(std::initializer_list<uint8_t> code, uint32_t features = 0)
        : Machine(code) {
        state[Field::PROC_CONTROLS] |= v::proc::USE_TPR_SHADOW | v::proc::USE_MSR_BITMAPS;
        state[Field::PROC_CONTROLS] &=
            ~uint64_t{v::proc::CR8_LOAD_EXITING | v::proc::CR8_STORE_EXITING};
        state[Field::PROC_CONTROLS_2] |= features;
        state[Field::VIRTUAL_APIC_ADDRESS] = VAPIC;
        state[Field::APIC_ACCESS_ADDRESS] = ACCESS;
        state[Field::GUEST_GDTR_BASE] = GDT;
        state[Field::GUEST_IDTR_BASE] = IDT;
        ram.word(GDT + 8) = 0x00af9b000000ffffull;
        for (uint64_t n = 0; n < 256; ++n) {
            ram.word(IDT + n * 16) =
                (HANDLER & 0xffff) | 0x08ull << 16 | 0x8eull << 40 | HANDLER >> 16 << 48;
        }
        ram.word(HANDLER) = 0xc1010f; // vmcall
        input.gpr[3] = ACCESS;
    }
    uint64_t& apic(uint64_t offset) { return ram.word(VAPIC + offset); }
    void request(uint8_t vector) {
        apic(0x200 + vector / 32 * 16) |= 1ull << vector % 32;
        state[Field::GUEST_INTERRUPT_STATUS] =
            std::max<uint64_t>(state[Field::GUEST_INTERRUPT_STATUS] & 0xff, vector) |
            (state[Field::GUEST_INTERRUPT_STATUS] & 0xff00);
    }
    // The word at an offset after the run.
    uint32_t after(const GuestExit& e, uint64_t offset) {
        const auto word = e.writes.find(VAPIC + (offset & ~7ull));
        return uint32_t((word != e.writes.end() ? word->second.value : apic(offset & ~7ull)) >>
                        (offset & 4) * 8);
    }
};
constexpr uint32_t ACCESSES = v::proc2::VIRTUALIZE_APIC_ACCESSES,
                   X2APIC = v::proc2::VIRTUALIZE_X2APIC,
                   REGISTERS = v::proc2::APIC_REGISTER_VIRTUALIZATION,
                   DELIVERY = v::proc2::VIRTUAL_INTERRUPT_DELIVERY;

// §29.3.
TEST(VmxApic, MovToCr8WritesTheVirtualTprAndExitsBelowTheThreshold) {
    ApicMachine m({0x44, 0x0f, 0x22, 0xc0, 0x0f, 0x01, 0xc1}, ACCESSES); // mov cr8, rax; vmcall
    m.apic(0x80) = 0xffffff99;
    m.state[Extra::VTPR] = 0x99;
    m.input.gpr[0] = 5;
    m.state[Field::TPR_THRESHOLD] = 5;
    const GuestExit e = m.run();
    EXPECT_TRUE(exits(e, ExitReason::VMCALL)) << e.why;
    EXPECT_EQ(m.after(e, 0x80), 0x50u);
    m.input.gpr[0] = 4;
    const GuestExit below = m.run();
    EXPECT_TRUE(exits(below, ExitReason::TPR_BELOW_THRESHOLD)) << below.why;
    EXPECT_EQ(value(below, Field::GUEST_RIP), CODE + 4); // after the instruction
    EXPECT_EQ(m.after(below, 0x80), 0x40u);
    m.input.gpr[0] = 0x10;
    EXPECT_EQ(value(m.run(), Field::EXIT_INTERRUPTION_INFO), 0x80000b0du);
}

TEST(VmxApic, MovFromCr8ReadsTheVirtualTpr) {
    ApicMachine m({0x44, 0x0f, 0x20, 0xc1, 0x0f, 0x01, 0xc1}, ACCESSES); // mov rcx, cr8; vmcall
    m.apic(0x80) = m.state[Extra::VTPR] = 0x97;
    EXPECT_EQ(m.run().gpr[1].value, 9u);
}

// §29.4.2 for every offset: without register virtualisation the TPR alone is read.
TEST(VmxApic, ReadsOfTheAccessPageAreVirtualisedByOffsetAndSize) {
    for (uint64_t offset = 0; offset < 0x1000 - 4; ++offset) {
        ApicMachine m({0x8b, 0x03, 0x0f, 0x01, 0xc1}, ACCESSES); // mov eax, [rbx]; vmcall
        m.apic(0x80) = 0x77;
        m.apic(0x30) = 0x12345678;
        m.input.gpr[3] = ACCESS + offset;
        const GuestExit e = m.run();
        ASSERT_EQ(exits(e, ExitReason::VMCALL), offset == 0x80) << offset << e.why;
        if (offset == 0x80) {
            EXPECT_EQ(e.gpr[0].value, 0x77u);
        } else {
            ASSERT_TRUE(exits(e, ExitReason::APIC_ACCESS)) << offset;
            EXPECT_EQ(value(e, Field::EXIT_QUALIFICATION), offset);
            EXPECT_EQ(value(e, Field::GUEST_RIP), CODE);
        }
        m.state[Field::PROC_CONTROLS_2] |= REGISTERS;
        const uint64_t o = offset;
        const bool readable =
            o % 16 == 0 &&
            (o == 0x20 || o == 0x30 || o == 0x80 || o == 0xb0 || (o >= 0xd0 && o <= 0x280) ||
             o == 0x300 || o == 0x310 || (o >= 0x320 && o <= 0x380) || o == 0x3e0);
        ASSERT_EQ(exits(m.run(), ExitReason::VMCALL), readable) << offset;
    }
}

TEST(VmxApic, AnAccessOfEightBytesExitsAndOneWithoutTprShadowToo) {
    ApicMachine wide({0x48, 0x8b, 0x03}, ACCESSES | REGISTERS); // mov rax, [rbx]
    wide.input.gpr[3] = ACCESS + 0x80;
    EXPECT_TRUE(exits(wide.run(), ExitReason::APIC_ACCESS));
    ApicMachine m({0x89, 0x13}, ACCESSES); // mov [rbx], edx
    m.input.gpr[3] = ACCESS + 0x80;
    m.state[Field::PROC_CONTROLS] &= ~uint64_t{v::proc::USE_TPR_SHADOW};
    const GuestExit e = m.run();
    EXPECT_TRUE(exits(e, ExitReason::APIC_ACCESS));
    EXPECT_EQ(value(e, Field::EXIT_QUALIFICATION), 0x1080u);
}

// §29.4.3: the write is done, the instruction complete, and then the exit names the offset.
TEST(VmxApic, AWriteThatSoftwareMustFinishExitsAfterTheInstruction) {
    ApicMachine m({0x89, 0x13}, ACCESSES | REGISTERS); // mov [rbx], edx
    m.input.gpr[3] = ACCESS + 0xf0;
    m.input.gpr[2] = 0x1ff;
    const GuestExit e = m.run();
    EXPECT_TRUE(exits(e, ExitReason::APIC_WRITE)) << e.why;
    EXPECT_EQ(value(e, Field::EXIT_QUALIFICATION), 0xf0u);
    EXPECT_EQ(value(e, Field::GUEST_RIP), CODE + 2);
    EXPECT_EQ(m.after(e, 0xf0), 0x1ffu);
    m.input.gpr[3] = ACCESS + 0x30; // read-only
    EXPECT_EQ(value(m.run(), Field::EXIT_QUALIFICATION), 0x1030u);
    m.input.gpr[3] = ACCESS + 0x84; // not the low four of sixteen bytes
    EXPECT_EQ(value(m.run(), Field::EXIT_QUALIFICATION), 0x1084u);
}

TEST(VmxApic, TheHighCommandKeepsItsDestinationOnly) {
    ApicMachine m({0x89, 0x13, 0x0f, 0x01, 0xc1}, ACCESSES | REGISTERS);
    m.input.gpr[3] = ACCESS + 0x310;
    m.input.gpr[2] = 0x12345678;
    const GuestExit e = m.run();
    EXPECT_TRUE(exits(e, ExitReason::VMCALL)) << e.why;
    EXPECT_EQ(m.after(e, 0x310), 0x12000000u);
}

// Found by a case on Bochs, which takes an offset inside the register for the register.
TEST(VmxApic, WithoutRegisterVirtualisationTheOffsetIsExact) {
    ApicMachine m({0x88, 0x13}, ACCESSES | DELIVERY); // mov [rbx], dl
    m.input.gpr[3] = ACCESS + 0x301;
    EXPECT_TRUE(exits(m.run(), ExitReason::APIC_ACCESS));
    m.input.deviations.set(size_t(Deviation::APIC_WRITE_WITHIN));
    EXPECT_TRUE(exits(m.run(), ExitReason::APIC_WRITE));
}

// §29.4.1.
TEST(VmxApic, ViolationsComeBeforeAccessExits) {
    ApicMachine m({0x89, 0x13}, ACCESSES);
    m.ram.ept_entry(ACCESS) &= ~2ull;
    EXPECT_TRUE(exits(m.run(), ExitReason::EPT_VIOLATION));
}

TEST(VmxApic, AnAccessByTheDeliveryOfAnEventSaysSo) {
    ApicMachine m({0x90}, ACCESSES | REGISTERS);
    m.state[Field::GUEST_RSP] = ACCESS + 0x100;
    m.state[Field::ENTRY_INTERRUPTION_INFO] = 0x80000202; // NMI
    const GuestExit e = m.run();
    EXPECT_TRUE(exits(e, ExitReason::APIC_ACCESS)) << e.why;
    EXPECT_EQ(value(e, Field::EXIT_QUALIFICATION), 0x30f8u);
    EXPECT_EQ(value(e, Field::IDT_VECTORING_INFO), 0x80000202u);
}

TEST(VmxApic, FetchesAndPageTablesOnTheAccessPageExit) {
    ApicMachine m({0x90}, ACCESSES);
    m.state[Field::APIC_ACCESS_ADDRESS] = CODE;
    GuestExit e = m.run();
    EXPECT_TRUE(exits(e, ExitReason::APIC_ACCESS)) << e.why;
    EXPECT_EQ(value(e, Field::EXIT_QUALIFICATION) >> 12, 2u);
    m.state[Field::APIC_ACCESS_ADDRESS] = TABLES;
    e = m.run();
    EXPECT_TRUE(exits(e, ExitReason::APIC_ACCESS)) << e.why;
    EXPECT_EQ(value(e, Field::EXIT_QUALIFICATION) >> 12, 15u);
}

// §29.5.
TEST(VmxApic, X2apicRegistersAreReadFromThePage) {
    ApicMachine m({0x0f, 0x32, 0x0f, 0x01, 0xc1}, X2APIC); // rdmsr; vmcall
    m.apic(0x80) = m.state[Extra::VTPR] = 0x42;
    m.apic(0x310) = 0x1234567890abcdef;
    m.input.gpr[1] = 0x808;
    EXPECT_EQ(m.run().gpr[0].value, 0x42u);
    m.input.gpr[1] = 0x831;
    EXPECT_TRUE(m.run().open); // the machine's own APIC
    m.state[Field::PROC_CONTROLS_2] |= REGISTERS;
    const GuestExit e = m.run();
    EXPECT_EQ(e.gpr[0].value, 0x90abcdefu);
    EXPECT_EQ(e.gpr[2].value, 0x12345678u);
}

TEST(VmxApic, X2apicWritesCheckReservedBitsAndStore) {
    ApicMachine m({0x0f, 0x30, 0x0f, 0x01, 0xc1}, X2APIC | DELIVERY); // wrmsr; vmcall
    m.input.gpr[2] = 0;
    m.input.gpr[1] = 0x808;
    m.input.gpr[0] = 0x55;
    EXPECT_EQ(m.after(m.run(), 0x80), 0x55u);
    EXPECT_EQ(m.after(m.run(), 0xa0), 0x55u);
    m.input.gpr[0] = 0x155;
    EXPECT_EQ(value(m.run(), Field::EXIT_INTERRUPTION_INFO), 0x80000b0du);
    m.input.gpr[1] = 0x80b;
    m.input.gpr[0] = 1;
    EXPECT_EQ(value(m.run(), Field::EXIT_INTERRUPTION_INFO), 0x80000b0du);
    m.input.gpr[1] = 0x83f;
    m.input.gpr[0] = 0x0f; // not a vector that may be
    const GuestExit e = m.run();
    EXPECT_TRUE(exits(e, ExitReason::APIC_WRITE)) << e.why;
    EXPECT_EQ(value(e, Field::EXIT_QUALIFICATION), 0x3f0u);
    EXPECT_EQ(m.after(e, 0x3f0), 0x0fu);
    m.input.gpr[0] = 0x61;
    EXPECT_EQ(m.after(m.run(), 0x3f0), 0x61u);
    EXPECT_EQ(m.after(m.run(), 0x230), 2u);
    m.input.deviations.set(size_t(Deviation::SELF_IPI_NOT_STORED));
    EXPECT_EQ(m.after(m.run(), 0x3f0), 0u);
}

// §29.1.4.
TEST(VmxApic, EoiEndsTheServiceAndExitsWhereTheBitmapSays) {
    ApicMachine m({0x89, 0x13, 0x0f, 0x01, 0xc1}, ACCESSES | DELIVERY);
    m.input.gpr[3] = ACCESS + 0xb0;
    m.input.gpr[2] = 0x77;
    m.state[Field::GUEST_INTERRUPT_STATUS] = 0x5100;
    m.apic(0x120) = 1u << 0x11; // 51h
    m.apic(0x110) = 1u << 0x03; // 23h
    GuestExit e = m.run();
    EXPECT_TRUE(exits(e, ExitReason::VMCALL)) << e.why;
    EXPECT_EQ(value(e, Field::GUEST_INTERRUPT_STATUS), 0x2300u);
    EXPECT_EQ(m.after(e, 0x120), 0u);
    EXPECT_EQ(m.after(e, 0xa0), 0x20u);
    EXPECT_EQ(m.after(e, 0xb0), 0u);
    m.state[Field::EOI_EXIT_BITMAP_1] = 1ull << 0x11;
    e = m.run();
    EXPECT_TRUE(exits(e, ExitReason::VIRTUALIZED_EOI)) << e.why;
    EXPECT_EQ(value(e, Field::EXIT_QUALIFICATION), 0x51u);
    EXPECT_EQ(value(e, Field::GUEST_RIP), CODE + 2);
}

// §29.1.5, §29.4.3.2: every bit of the command that must be as it is.
TEST(VmxApic, ASelfIpiIsSentByExactlyOneKindOfCommand) {
    constexpr uint32_t GOOD = 1u << 18 | 0x61;
    const auto run = [](uint32_t command) {
        ApicMachine m({0x89, 0x13, 0x0f, 0x01, 0xc1}, ACCESSES | DELIVERY);
        m.input.gpr[3] = ACCESS + 0x300;
        m.input.gpr[2] = command;
        return m.run();
    };
    EXPECT_EQ(value(run(GOOD), Field::GUEST_INTERRUPT_STATUS), 0x61u);
    for (unsigned bit = 8; bit < 32; ++bit) {
        const bool ignored = bit == 11 || bit == 14; // destination mode, level
        EXPECT_EQ(exits(run(GOOD ^ 1u << bit), ExitReason::APIC_WRITE), !ignored) << bit;
    }
    EXPECT_TRUE(exits(run(1u << 18 | 0x0f), ExitReason::APIC_WRITE));
}

// §29.2.
TEST(VmxApic, AVirtualInterruptIsDeliveredWithoutAnExit) {
    ApicMachine m({0x90, 0x90}, DELIVERY);
    m.request(0x61);
    m.request(0x35);
    m.state[Field::GUEST_RFLAGS] |= x86::rflags::IF;
    const GuestExit e = m.run();
    EXPECT_TRUE(exits(e, ExitReason::VMCALL)) << e.why;
    EXPECT_EQ(value(e, Field::GUEST_RIP), HANDLER);
    EXPECT_EQ(value(e, Field::GUEST_INTERRUPT_STATUS), 0x6135u);
    EXPECT_EQ(m.after(e, 0x130), 2u);
    EXPECT_EQ(m.after(e, 0x230), 0u);
    EXPECT_EQ(m.after(e, 0xa0), 0x60u);
    EXPECT_EQ(value(e, Field::IDT_VECTORING_INFO) & v::interruption::VALID, 0u);
}

TEST(VmxApic, AVirtualInterruptWaitsForPriorityFlagAndShadow) {
    const auto delivered = [](const GuestExit& e) {
        return (value(e, Field::GUEST_INTERRUPT_STATUS) & 0xff00) != 0;
    };
    ApicMachine m({0x90, 0x0f, 0x01, 0xc1}, DELIVERY);
    m.request(0x61);
    EXPECT_FALSE(delivered(m.run())); // IF
    m.state[Field::GUEST_RFLAGS] |= x86::rflags::IF;
    EXPECT_TRUE(delivered(m.run()));
    m.apic(0x80) = m.state[Extra::VTPR] = 0x60;
    EXPECT_FALSE(delivered(m.run())); // the same priority class
    m.apic(0x80) = m.state[Extra::VTPR] = 0x5f;
    EXPECT_TRUE(delivered(m.run()));
    m.state[Field::GUEST_INTERRUPTIBILITY] = 1; // by STI: one instruction later
    const GuestExit late = m.run();
    EXPECT_TRUE(delivered(late));
    EXPECT_EQ(late.instructions, 1u);
    m.state[Field::GUEST_INTERRUPTIBILITY] = 0;
    m.state[Field::PROC_CONTROLS] |= v::proc::INTERRUPT_WINDOW_EXITING;
    EXPECT_TRUE(exits(m.run(), ExitReason::INTERRUPT_WINDOW));
}

TEST(VmxApic, AVirtualInterruptEndsHlt) {
    ApicMachine m({0xf4}, DELIVERY);
    m.state[Field::PROC_CONTROLS] &= ~uint64_t{v::proc::HLT_EXITING};
    m.state[Field::PIN_CONTROLS] |= v::pin::PREEMPTION_TIMER;
    m.state[Field::PREEMPTION_TIMER] = 50;
    m.state[Field::GUEST_ACTIVITY] = 1;
    m.state[Field::GUEST_RFLAGS] |= x86::rflags::IF;
    m.request(0x61);
    EXPECT_TRUE(exits(m.run(), ExitReason::VMCALL)) << m.run().why;
    m.input.deviations.set(size_t(Deviation::HLT_MISSES_VIRTUAL_INTERRUPT));
    EXPECT_TRUE(exits(m.run(), ExitReason::PREEMPTION_TIMER));
}

TEST(VmxApic, AnExitFromItsDeliveryReportsTheVirtualInterrupt) {
    ApicMachine m({0x90}, DELIVERY);
    m.state[Field::GUEST_RFLAGS] |= x86::rflags::IF;
    m.request(0x61);
    m.ram.ept_entry(IDT) = 0;
    const GuestExit e = m.run();
    EXPECT_TRUE(exits(e, ExitReason::EPT_VIOLATION)) << e.why;
    EXPECT_EQ(value(e, Field::IDT_VECTORING_INFO), 0x80000061u);
    EXPECT_EQ(value(e, Field::GUEST_INTERRUPT_STATUS), 0x6100u);
    EXPECT_FALSE(e[Field::IDT_VECTORING_INFO].allows(0x80000b0d));
    m.input.deviations.set(size_t(Deviation::VIRTUAL_INTERRUPT_UNRECORDED));
    EXPECT_TRUE(m.run()[Field::IDT_VECTORING_INFO].allows(0x80000b0d));
}

// §26.3.2.5: found by a case on Bochs, which injects first.
TEST(VmxApic, AnEntryComputesThePriorityBeforeItInjects) {
    ApicMachine m({0x90}, DELIVERY);
    m.apic(0x80) = m.state[Extra::VTPR] = 0x37;
    m.state[Field::ENTRY_INTERRUPTION_INFO] = 0x80000202; // NMI
    m.ram.ept_entry(IDT) = 0;
    EXPECT_EQ(m.after(m.run(), 0xa0), 0x37u);
    m.input.deviations.set(size_t(Deviation::ENTRY_PPR_AFTER_EVENT));
    EXPECT_EQ(m.after(m.run(), 0xa0), 0u);
}

// RVI and SVI name the highest bits that are set, whatever is requested and in service.
RC_GTEST_PROP(VmxApic, TheStatusFollowsThePage, ()) {
    ApicMachine m({0x89, 0x13, 0xfb, 0x90, 0x90, 0x0f, 0x01, 0xc1}, ACCESSES | DELIVERY);
    m.input.gpr[3] = ACCESS + (*rc::gen::arbitrary<bool>() ? 0xb0 : 0x80);
    m.input.gpr[2] = *rc::gen::inRange<uint64_t>(0, 256);
    uint8_t requested = 0, serviced = 0;
    for (unsigned n = 0; n < 3; ++n) {
        const uint8_t r = *rc::gen::inRange(16, 256), q = *rc::gen::inRange(16, 256);
        m.apic(0x200 + r / 32 * 16) |= 1ull << r % 32;
        m.apic(0x100 + q / 32 * 16) |= 1ull << q % 32;
        requested = std::max(requested, r);
        serviced = std::max(serviced, q);
    }
    m.state[Field::GUEST_INTERRUPT_STATUS] = serviced << 8 | requested;
    const GuestExit e = m.run();
    RC_ASSERT(!e.open);
    const auto highest = [&](uint64_t base) {
        unsigned found = 0;
        for (unsigned vector = 0; vector < 256; ++vector) {
            const uint32_t word = m.after(e, base + vector / 32 * 16);
            found = (word >> vector % 32 & 1) != 0 ? vector : found;
        }
        return found;
    };
    RC_ASSERT(value(e, Field::GUEST_INTERRUPT_STATUS) == (highest(0x100) << 8 | highest(0x200)));
}

} // namespace
