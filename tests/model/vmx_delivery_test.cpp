// Delivery of events in real-address mode (vol. 3A §20.1.4) and through 32-bit and 16-bit gates
// (vol. 3A §6.12.1).
#include "vmx_machine.hpp"

namespace {

using namespace horos::model::vmx;
using namespace horos::model::vmx::testing;

constexpr uint64_t GDT = 0x13000, IDT = 0x12000, HANDLER = 0x14000, STACK = DATA + 0x800;

// 32-bit, without paging of its own kind of trouble: PAE tables that lead to the same pages.
struct NarrowMachine : Machine {
    explicit NarrowMachine(bool real) : Machine({0x0f, 0x0b}) { // ud2
        state[Field::ENTRY_CONTROLS] &= ~uint64_t{v::entry_ctl::IA32E_MODE_GUEST};
        state[Field::GUEST_EFER] = 0;
        state[Field::GUEST_CR0] &= ~(x86::cr0::PG | (real ? x86::cr0::PE : 0));
        state[Field::EXCEPTION_BITMAP] = 0;
        for (unsigned n = 0; n < 6; ++n) {
            state[v::plus(Field::GUEST_ES_RIGHTS, n)] =
                n == 1 ? (real ? 0x809b : 0xc09b) : (real ? 0x8093 : 0xc093);
            state[v::plus(Field::GUEST_ES_LIMIT, n)] = 0xffffffff;
        }
        state[Field::GUEST_IDTR_BASE] = IDT;
        state[Field::GUEST_IDTR_LIMIT] = 0xff;
        state[Field::GUEST_GDTR_BASE] = GDT;
        state[Field::GUEST_GDTR_LIMIT] = 0x1f;
        state[Field::GUEST_RSP] = STACK;
        ram.word(GDT + 0x18) = 0x00cf9b000000ffffull;
        ram.word(HANDLER) = 0xc1010f; // vmcall
    }
    void gate(unsigned vector, uint64_t type, uint64_t selector = 0x18) {
        ram.word(IDT + vector * 8) =
            (HANDLER & 0xffff) | selector << 16 | type << 40 | HANDLER >> 16 << 48;
    }
    uint64_t pushed(const GuestExit& e, uint64_t address, unsigned bytes) {
        const auto word = e.writes.find(address & ~7ull);
        const uint64_t all = word != e.writes.end() ? word->second.value : 0;
        return all >> (address & 7) * 8 & ((1ull << bytes * 8) - 1);
    }
};

TEST(VmxDelivery, RealAddressModePushesThreeWordsAndTakesTheVector) {
    NarrowMachine m(true);
    m.state[Field::GUEST_CS_BASE] = CODE;
    m.state[Field::GUEST_CS_SELECTOR] = 0x1234;
    m.state[Field::GUEST_RIP] = 0;
    m.state[Field::GUEST_SS_BASE] = DATA;
    m.state[Field::GUEST_RSP] = 0x10800;
    m.state[Field::GUEST_RFLAGS] |= x86::rflags::IF;
    m.ram.word(IDT + 24) = 0x1400ull << 16 | 0x0000; // vector 6: 1400:0000
    const GuestExit e = m.run();
    EXPECT_TRUE(exits(e, ExitReason::VMCALL)) << e.why;
    EXPECT_EQ(value(e, Field::GUEST_CS_BASE), HANDLER);
    EXPECT_EQ(value(e, Field::GUEST_CS_SELECTOR), 0x1400u);
    EXPECT_EQ(value(e, Field::GUEST_RIP), 0u);
    EXPECT_EQ(value(e, Field::GUEST_RSP), 0x107fau); // SP alone moves
    EXPECT_EQ(value(e, Field::GUEST_RFLAGS), x86::rflags::ONE);
    EXPECT_EQ(m.pushed(e, DATA + 0x7fe, 2), x86::rflags::ONE | x86::rflags::IF);
    EXPECT_EQ(m.pushed(e, DATA + 0x7fc, 2), 0x1234u);
    EXPECT_EQ(m.pushed(e, DATA + 0x7fa, 2), 0u);
}

// Found by a case on Bochs. Vol. 2A, INT n: the pushes stand before the read of the vector.
TEST(VmxDelivery, RealAddressModePushesBeforeItReadsTheVector) {
    NarrowMachine m(true);
    m.state[Field::GUEST_SS_BASE] = DATA;
    m.state[Field::GUEST_RSP] = 0x800;
    m.ram.ept_entry(DATA) = 0;
    m.ram.ept_entry(IDT) = 0;
    const GuestExit e = m.run();
    EXPECT_TRUE(exits(e, ExitReason::EPT_VIOLATION)) << e.why;
    EXPECT_EQ(value(e, Field::GUEST_PHYSICAL_ADDRESS), DATA + 0x7fe);
    EXPECT_EQ(value(e, Field::GUEST_RSP), 0x800u);
}

TEST(VmxDelivery, A32BitGatePushesDoublewordsAndTheErrorCode) {
    NarrowMachine m(false);
    m.gate(6, 0x8e);
    m.gate(11, 0x8e);
    m.state[Field::GUEST_RFLAGS] |= x86::rflags::IF;
    GuestExit e = m.run();
    EXPECT_TRUE(exits(e, ExitReason::VMCALL)) << e.why;
    EXPECT_EQ(value(e, Field::GUEST_RIP), HANDLER);
    EXPECT_EQ(value(e, Field::GUEST_CS_SELECTOR), 0x18u);
    EXPECT_EQ(value(e, Field::GUEST_RSP), STACK - 12);
    EXPECT_EQ(value(e, Field::GUEST_RFLAGS), x86::rflags::ONE);
    EXPECT_EQ(m.pushed(e, STACK - 12, 4), CODE);
    EXPECT_EQ(m.pushed(e, STACK - 8, 2), m.state[Field::GUEST_CS_SELECTOR]);
    EXPECT_EQ(m.pushed(e, STACK - 4, 2), x86::rflags::ONE | x86::rflags::IF);
    m.gate(6, 0x0e); // not present: #NP with the gate as its error code
    e = m.run();
    EXPECT_TRUE(exits(e, ExitReason::VMCALL)) << e.why;
    EXPECT_EQ(value(e, Field::GUEST_RSP), STACK - 16);
    EXPECT_EQ(m.pushed(e, STACK - 16, 4), 6u * 8 + 3);
}

TEST(VmxDelivery, A16BitTrapGatePushesWordsAndKeepsTheFlag) {
    NarrowMachine m(false);
    m.gate(6, 0x87);
    m.ram.word(IDT + 48) &= ~(0xffffull << 48); // its offset has no high half
    m.state[Field::GUEST_RFLAGS] |= x86::rflags::IF;
    m.ram.word(GDT + 0x18) = 0x00cf9b000000ffffull | (HANDLER & 0xff0000) << 16;
    const GuestExit e = m.run();
    EXPECT_EQ(value(e, Field::GUEST_RIP), HANDLER & 0xffff) << e.why;
    EXPECT_EQ(value(e, Field::GUEST_RSP), STACK - 6);
    EXPECT_NE(value(e, Field::GUEST_RFLAGS) & x86::rflags::IF, 0u);
}

TEST(VmxDelivery, TheHandlersDescriptorIsChecked) {
    NarrowMachine m(false);
    m.state[Field::EXCEPTION_BITMAP] = 1u << 13 | 1u << 11;
    m.gate(6, 0x8e, 0);
    EXPECT_EQ(value(m.run(), Field::EXIT_INTERRUPTION_ERROR_CODE), 1u);
    m.gate(6, 0x8e, 0x20); // beyond the limit
    EXPECT_EQ(value(m.run(), Field::EXIT_INTERRUPTION_ERROR_CODE), 0x21u);
    m.gate(6, 0x8e);
    m.ram.word(GDT + 0x18) = 0x00cf930000000000ull | 0xffff; // data
    EXPECT_EQ(value(m.run(), Field::EXIT_INTERRUPTION_INFO) & 0xff, 13u);
    m.ram.word(GDT + 0x18) = 0x00cf1b000000ffffull; // not present
    EXPECT_EQ(value(m.run(), Field::EXIT_INTERRUPTION_INFO) & 0xff, 11u);
    m.ram.word(GDT + 0x18) = 0x00409b0000000fffull; // the handler lies beyond the limit
    const GuestExit e = m.run();
    EXPECT_EQ(value(e, Field::EXIT_INTERRUPTION_INFO) & 0xff, 13u);
    EXPECT_EQ(value(e, Field::IDT_VECTORING_INFO), 0x80000306u); // while the event is delivered
}

} // namespace
