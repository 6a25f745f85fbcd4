// Events that change to another stack (vol. 3A §6.12.1, §6.14), virtual-8086 mode (§20.3), task
// switches (vol. 3C §25.4.2), and I/O that does not exit.
#include "vmx_machine.hpp"

namespace {

using namespace horos::model::vmx;
using namespace horos::model::vmx::testing;

constexpr uint64_t IDT = 0x12000, GDT = 0x13000, HANDLER = 0x14000, TSS = 0x15000,
                   STACK = DATA + 0x400;
constexpr uint32_t TS = 0x80000b0a, NP = 0x80000b0b, SS = 0x80000b0c, GP = 0x80000b0d;

// A guest at CPL 3 that executes `code`; vector 6 has a handler at CPL 0.
struct User : Machine {
    bool wide;
    User(std::initializer_list<uint8_t> code, bool is_wide, unsigned level = 3)
        : Machine(code), wide(is_wide) {
        state[Field::EXCEPTION_BITMAP] = 0xffffffff & ~(1u << 6 | 1u << 3);
        for (unsigned n = 0; n < 6; ++n) {
            auto& rights = state[v::plus(Field::GUEST_ES_RIGHTS, n)];
            rights = wide ? rights : n == 1 ? 0xc09b : 0xc093;
            rights |= level << 5;
            state[v::plus(Field::GUEST_ES_LIMIT, n)] = 0xffffffff;
            state[v::plus(Field::GUEST_ES_SELECTOR, n)] = 0x20 | level;
        }
        if (!wide) {
            state[Field::ENTRY_CONTROLS] &= ~uint64_t{v::entry_ctl::IA32E_MODE_GUEST};
            state[Field::GUEST_EFER] = 0;
            state[Field::GUEST_CR0] &= ~uint64_t{x86::cr0::PG};
            state[Field::PROC_CONTROLS] |= v::proc::ACTIVATE_SECONDARY;
            state[Field::PROC_CONTROLS_2] |= v::proc2::ENABLE_EPT | v::proc2::UNRESTRICTED_GUEST;
        }
        state[Field::GUEST_IDTR_BASE] = IDT;
        state[Field::GUEST_IDTR_LIMIT] = 0xfff;
        state[Field::GUEST_GDTR_BASE] = GDT;
        state[Field::GUEST_GDTR_LIMIT] = 0x4f;
        state[Field::GUEST_TR_BASE] = TSS;
        state[Field::GUEST_TR_LIMIT] = 0x67;
        state[Field::GUEST_TR_SELECTOR] = 0x48;
        ram.word(GDT + 0x08) = 0x00af9b000000ffffull;
        ram.word(GDT + 0x10) = 0x00cf93000000ffffull;
        ram.word(GDT + 0x18) = 0x00cf9b000000ffffull;
        ram.word(GDT + 0x28) = 0x67 | TSS << 16 | 0x89ull << 40; // tasks: free, and busy
        ram.word(GDT + 0x30) = 0x67 | TSS << 16 | 0x8bull << 40;
        ram.word(GDT + 0x38) = 0x28ull << 16 | 0xe5ull << 40; // a gate to the first
        ram.word(TSS) = STACK << 32;
        ram.word(TSS + 8) = wide ? STACK >> 32 : 0x10;
        ram.word(HANDLER) = 0xc1010f;
        gate(6, 0x8e);
    }
    void gate(unsigned vector, uint64_t type, uint64_t ist = 0) {
        const uint64_t selector = wide ? 0x08 : 0x18;
        ram.word(IDT + vector * (wide ? 16 : 8)) =
            (HANDLER & 0xffff) | selector << 16 | ist << 32 | type << 40 | HANDLER >> 16 << 48;
    }
    uint64_t pushed(const GuestExit& e, uint64_t address) {
        const auto word = e.writes.find(address & ~7ull);
        const uint64_t all = word != e.writes.end() ? word->second.value : ~0ull;
        return wide ? all : all >> (address & 7) * 8 & 0xffffffff;
    }
    void expect_fault(uint32_t information, uint32_t error) {
        const GuestExit e = run();
        EXPECT_TRUE(exits(e, ExitReason::EXCEPTION_OR_NMI)) << e.why;
        EXPECT_EQ(value(e, Field::EXIT_INTERRUPTION_INFO), information);
        EXPECT_EQ(value(e, Field::EXIT_INTERRUPTION_ERROR_CODE), error);
        EXPECT_EQ(value(e, Field::GUEST_RSP), DATA + 0x800); // nothing of the switch is left
        EXPECT_EQ(e[Field::GUEST_SS_SELECTOR].value, state[Field::GUEST_SS_SELECTOR]);
    }
};
const std::initializer_list<uint8_t> UD2 = {0x0f, 0x0b};

TEST(VmxStack, ALongModeHandlerOfAnInnerLevelHasTheStackOfTheTssAndANullSs) {
    User m(UD2, true);
    const GuestExit e = m.run();
    EXPECT_TRUE(exits(e, ExitReason::VMCALL)) << e.why;
    EXPECT_EQ(value(e, Field::GUEST_RSP), STACK - 40);
    EXPECT_EQ(value(e, Field::GUEST_SS_SELECTOR), 0u);
    EXPECT_EQ(value(e, Field::GUEST_SS_RIGHTS), v::rights::UNUSABLE);
    EXPECT_EQ(value(e, Field::GUEST_CS_SELECTOR), 0x08u);
    EXPECT_EQ(m.pushed(e, STACK - 8), 0x23u);
    EXPECT_EQ(m.pushed(e, STACK - 16), DATA + 0x800);
    EXPECT_EQ(m.pushed(e, STACK - 32), 0x23u);
    EXPECT_EQ(m.pushed(e, STACK - 40), CODE);
}

TEST(VmxStack, AnIstEntryIsUsedAtEveryLevelAndAligned) {
    for (const unsigned level : {0u, 3u}) {
        User m(UD2, true, level);
        m.gate(6, 0x8e, 2);
        m.ram.word(TSS + 0x28) = (DATA + 0x208ull) << 32; // IST2 lies at 2Ch
        const GuestExit e = m.run();
        EXPECT_TRUE(exits(e, ExitReason::VMCALL)) << e.why;
        EXPECT_EQ(value(e, Field::GUEST_RSP), DATA + 0x200 - 40);
        EXPECT_EQ(value(e, Field::GUEST_SS_SELECTOR), level == 0 ? 0x20u : 0u);
    }
}

// Bochs saves DPL 0 there (deviation null-ss-level-0); DPL is CPL, §27.3.2.
TEST(VmxStack, ANullSsOfAnInnerLevelIsSavedWithThatLevel) {
    User m(UD2, true);
    m.ram.word(GDT + 0x08) = 0x00afbb000000ffffull;
    m.ram.word(TSS + 8) = STACK << 32;
    m.ram.word(TSS + 16) = STACK >> 32;
    GuestExit e = m.run();
    EXPECT_EQ(value(e, Field::GUEST_SS_RIGHTS), v::rights::UNUSABLE | 1u << 5) << e.why;
    m.input.deviations.set(size_t(Deviation::NULL_SS_LEVEL_0));
    e = m.run();
    EXPECT_EQ(value(e, Field::GUEST_SS_RIGHTS), v::rights::UNUSABLE);
    EXPECT_TRUE(e.deviated[size_t(Deviation::NULL_SS_LEVEL_0)]);
    User loaded({0x0f, 0x01, 0xc1}, true, 1); // unusable as the entry loaded it: no such defect
    loaded.state[Field::GUEST_SS_RIGHTS] = v::rights::UNUSABLE | 1u << 5;
    loaded.input.deviations.set(size_t(Deviation::NULL_SS_LEVEL_0));
    EXPECT_EQ(value(loaded.run(), Field::GUEST_SS_RIGHTS), v::rights::UNUSABLE | 1u << 5);
}

TEST(VmxStack, ALongModeStackIsCheckedAgainstTheTssAndForItsForm) {
    User limit(UD2, true);
    limit.state[Field::GUEST_TR_LIMIT] = 0x0a;
    limit.expect_fault(TS, 0x49);
    User form(UD2, true);
    form.ram.word(TSS + 8) = 0x8000; // bit 47
    form.expect_fault(SS, 1);
}

// Vol. 2A, INT n: stack and target are checked before the first item is pushed.
TEST(VmxStack, ATargetThatCannotBeReachedFaultsBeforeAnythingIsPushed) {
    User narrow(UD2, false, 0);
    narrow.ram.word(GDT + 0x18) = 0x00409b0000000fffull; // a limit below the handler
    GuestExit e = narrow.run();
    EXPECT_EQ(value(e, Field::EXIT_INTERRUPTION_INFO), GP) << e.why;
    EXPECT_TRUE(e.writes.empty());
    User wide(UD2, true, 0);
    wide.ram.word(IDT + 6 * 16 + 8) = 0x8000; // bit 47
    e = wide.run();
    EXPECT_EQ(value(e, Field::EXIT_INTERRUPTION_INFO), GP) << e.why;
    EXPECT_TRUE(e.writes.empty());
    wide.input.deviations.set(size_t(Deviation::LONG_TARGET_AFTER_PUSH));
    e = wide.run();
    EXPECT_EQ(value(e, Field::EXIT_INTERRUPTION_INFO), GP);
    EXPECT_EQ(e.writes.size(), 5u);
}

TEST(VmxStack, AStackWithoutRoomFaultsBeforeAnythingIsPushed) {
    User m(UD2, false, 0);
    m.state[Field::GUEST_SS_RIGHTS] = 0x4097;      // expands down: only what is above its limit
    m.state[Field::GUEST_SS_LIMIT] = DATA + 0x7f9; // the second item does not fit
    const GuestExit e = m.run();
    EXPECT_EQ(value(e, Field::EXIT_INTERRUPTION_INFO), SS) << e.why;
    EXPECT_TRUE(e.writes.empty());
}

// CPL stays 3 in a conforming segment, and pushes are accesses of CPL (vol. 3A §4.6.1).
TEST(VmxStack, AConformingHandlersFrameIsPushedAtTheLevelThatGoesOn) {
    User m(UD2, true);
    m.ram.word(GDT + 0x08) = 0x00af9f000000ffffull;
    m.ram.word(TABLES + 0x3000 + (DATA >> 12) * 8) &= ~4ull; // a supervisor's page
    GuestExit e = m.run();
    EXPECT_EQ(value(e, Field::EXIT_INTERRUPTION_INFO), 0x80000b0eu) << e.why;
    EXPECT_EQ(value(e, Field::EXIT_INTERRUPTION_ERROR_CODE), 7u);
    m.input.deviations.set(size_t(Deviation::CONFORMING_PUSH_LEVEL));
    EXPECT_TRUE(exits(m.run(), ExitReason::VMCALL));
}

TEST(VmxStack, A32BitHandlerOfAnInnerLevelFindsTheOldStackBelowIt) {
    User m(UD2, false);
    const GuestExit e = m.run();
    EXPECT_TRUE(exits(e, ExitReason::VMCALL)) << e.why;
    EXPECT_EQ(value(e, Field::GUEST_RSP), STACK - 20);
    EXPECT_EQ(value(e, Field::GUEST_SS_SELECTOR), 0x10u);
    EXPECT_EQ(value(e, Field::GUEST_CS_SELECTOR), 0x18u);
    EXPECT_EQ(m.pushed(e, STACK - 4) & 0xffff, 0x23u);
    EXPECT_EQ(m.pushed(e, STACK - 8), DATA + 0x800);
    EXPECT_EQ(m.pushed(e, STACK - 20), CODE);
}

TEST(VmxStack, TheInnerStackSegmentIsChecked) {
    const auto with_ss = [](uint64_t selector, uint32_t information, uint32_t error) {
        User m(UD2, false);
        m.ram.word(TSS + 8) = selector;
        m.expect_fault(information, error);
    };
    with_ss(0, TS, 1);
    with_ss(0x11, TS, 0x11);   // RPL
    with_ss(0x18, TS, 0x19);   // code
    with_ss(0x1f8, TS, 0x1f9); // beyond the GDT
    User absent(UD2, false);
    absent.ram.word(GDT + 0x40) = 0x00cf13000000ffffull;
    absent.ram.word(TSS + 8) = 0x40;
    absent.expect_fault(SS, 0x41);
    User limit(UD2, false);
    limit.state[Field::GUEST_TR_LIMIT] = 8;
    limit.expect_fault(TS, 0x49);
    // Between what editions of the manual ask for, both are allowed.
    limit.state[Field::GUEST_TR_LIMIT] = 9;
    EXPECT_EQ(run_guest(limit.input).size(), 2u);
}

// ---- virtual-8086 mode ----

struct Virtual8086 : User {
    explicit Virtual8086(std::initializer_list<uint8_t> code, unsigned iopl = 0)
        : User(code, false) {
        for (unsigned n = 0; n < 6; ++n) {
            state[v::plus(Field::GUEST_ES_SELECTOR, n)] = n == 1 ? CODE >> 4 : DATA >> 4;
            state[v::plus(Field::GUEST_ES_BASE, n)] = n == 1 ? CODE : DATA;
            state[v::plus(Field::GUEST_ES_LIMIT, n)] = 0xffff;
            state[v::plus(Field::GUEST_ES_RIGHTS, n)] = 0xf3;
        }
        state[Field::GUEST_CR0] |= x86::cr0::PG; // the tables of PAE paging
        state[Field::GUEST_CR3] = TABLES;
        state[Field::GUEST_PDPTE0] = (TABLES + 0x2000) | 1;
        state[Field::GUEST_RFLAGS] |= x86::rflags::VM | uint64_t{iopl} << 12;
        state[Field::GUEST_RIP] = 0;
        state[Field::GUEST_RSP] = 0x800;
    }
};

TEST(VmxVirtual8086, AnExceptionLeavesTheModeAndPushesTheDataSegments) {
    Virtual8086 m(UD2);
    const GuestExit e = m.run();
    EXPECT_TRUE(exits(e, ExitReason::VMCALL)) << e.why;
    EXPECT_EQ(value(e, Field::GUEST_RSP), STACK - 36);
    EXPECT_EQ(value(e, Field::GUEST_RFLAGS) & x86::rflags::VM, 0u);
    EXPECT_NE(value(e, Field::GUEST_DS_RIGHTS) & v::rights::UNUSABLE, 0u);
    EXPECT_EQ(m.pushed(e, STACK - 4) & 0xffff, DATA >> 4);  // GS
    EXPECT_EQ(m.pushed(e, STACK - 20) & 0xffff, DATA >> 4); // SS
    EXPECT_EQ(m.pushed(e, STACK - 24), 0x800u);
    EXPECT_NE(m.pushed(e, STACK - 28) & x86::rflags::VM, 0u);
    EXPECT_EQ(m.pushed(e, STACK - 32) & 0xffff, CODE >> 4);
}

TEST(VmxVirtual8086, AHandlerMustBeOfLevel0) {
    Virtual8086 m(UD2);
    m.ram.word(GDT + 0x18) = 0x00cf9f000000ffffull; // conforming
    const GuestExit e = m.run();
    EXPECT_EQ(value(e, Field::EXIT_INTERRUPTION_INFO), GP) << e.why;
    EXPECT_EQ(value(e, Field::EXIT_INTERRUPTION_ERROR_CODE), 0x19u);
}

TEST(VmxVirtual8086, TheHandlersLevelIsCheckedBeforeItsStack) {
    Virtual8086 m(UD2);
    m.ram.word(GDT + 0x18) = 0x00cfbb000000ffffull; // level 1
    m.state[Field::GUEST_TR_LIMIT] = 0x0b;          // no stack of level 1
    GuestExit e = m.run();
    EXPECT_EQ(value(e, Field::EXIT_INTERRUPTION_INFO), GP) << e.why;
    EXPECT_EQ(value(e, Field::EXIT_INTERRUPTION_ERROR_CODE), 0x19u);
    m.input.deviations.set(size_t(Deviation::V86_STACK_FIRST));
    e = m.run();
    EXPECT_EQ(value(e, Field::EXIT_INTERRUPTION_INFO), TS);
    EXPECT_EQ(value(e, Field::EXIT_INTERRUPTION_ERROR_CODE), 0x49u);
    m.state[Field::GUEST_TR_LIMIT] = 0x67; // with a stack both agree
    EXPECT_EQ(value(m.run(), Field::EXIT_INTERRUPTION_INFO), GP);
}

TEST(VmxVirtual8086, ASoftwareInterruptNeedsIopl3) {
    Virtual8086 refused({0xcd, 0x06});
    const GuestExit fault = refused.run();
    EXPECT_EQ(value(fault, Field::EXIT_INTERRUPTION_INFO), GP) << fault.why;
    EXPECT_EQ(value(fault, Field::EXIT_INTERRUPTION_ERROR_CODE), 0u);
    Virtual8086 taken({0xcd, 0x06}, 3);
    taken.gate(6, 0xee);
    const GuestExit e = taken.run();
    EXPECT_TRUE(exits(e, ExitReason::VMCALL)) << e.why;
    EXPECT_EQ(taken.pushed(e, STACK - 36), 2u); // after INT n
}

// ---- task switches ----

TEST(VmxTaskSwitch, AFarJumpToATssExitsWithItsSelector) {
    User m({0xea, 0, 0, 0, 0, 0x28, 0}, false, 0);
    const GuestExit e = m.run();
    EXPECT_TRUE(exits(e, ExitReason::TASK_SWITCH)) << e.why;
    EXPECT_EQ(value(e, Field::EXIT_QUALIFICATION), 0x80000028u);
    EXPECT_EQ(value(e, Field::EXIT_INSTRUCTION_LENGTH), 7u);
    EXPECT_EQ(value(e, Field::GUEST_RIP), CODE);
}

TEST(VmxTaskSwitch, AFarCallThroughATaskGateExitsWithTheSelectorOfTheTss) {
    User m({0x9a, 0, 0, 0, 0, 0x38, 0}, false, 3); // the gate's DPL is 3, the TSS's is 0
    const GuestExit e = m.run();
    EXPECT_TRUE(exits(e, ExitReason::TASK_SWITCH)) << e.why;
    EXPECT_EQ(value(e, Field::EXIT_QUALIFICATION), 0x28u);
    User direct({0x9a, 0, 0, 0, 0, 0x28, 0}, false, 3);
    direct.expect_fault(GP, 0x28);
}

TEST(VmxTaskSwitch, TheTssIsCheckedBeforeTheExit) {
    const auto with = [](uint64_t descriptor, uint32_t information) {
        User m({0xea, 0, 0, 0, 0, 0x28, 0}, false, 0);
        m.ram.word(GDT + 0x28) = descriptor;
        m.expect_fault(information, 0x28);
    };
    with(0x66 | TSS << 16 | 0x89ull << 40, TS); // its limit
    with(0x67 | TSS << 16 | 0x09ull << 40, NP); // not present
    with(0x67 | TSS << 16 | 0x8bull << 40, GP); // busy
    with(0x67 | TSS << 16 | 0x82ull << 40, GP); // an LDT
    User wide({0xff, 0x1b}, true, 0);           // call far [rbx]
    wide.ram.word(DATA) = 0x28ull << 32;
    wide.expect_fault(GP, 0x28); // no task switches in IA-32e mode
}

TEST(VmxTaskSwitch, IretWithNtGoesBackToABusyTask) {
    User m({0xcf}, false, 0);
    m.state[Field::GUEST_RFLAGS] |= x86::rflags::NT;
    m.ram.word(TSS) |= 0x30;
    const GuestExit e = m.run();
    EXPECT_TRUE(exits(e, ExitReason::TASK_SWITCH)) << e.why;
    EXPECT_EQ(value(e, Field::EXIT_QUALIFICATION), 0x40000030u);
    EXPECT_EQ(value(e, Field::EXIT_INSTRUCTION_LENGTH), 1u);
    m.ram.word(TSS) = (m.ram.word(TSS) & ~0xffffull) | 0x28; // not busy
    m.expect_fault(TS, 0x28);
    User wide({0x48, 0xcf}, true, 0);
    wide.state[Field::GUEST_RFLAGS] |= x86::rflags::NT;
    wide.expect_fault(GP, 0);
}

TEST(VmxTaskSwitch, AnEventThroughATaskGateIsReportedAsVectoring) {
    User m(UD2, false);
    m.ram.word(IDT + 48) = 0x28ull << 16 | 0x85ull << 40;
    GuestExit e = m.run();
    EXPECT_TRUE(exits(e, ExitReason::TASK_SWITCH)) << e.why;
    EXPECT_EQ(value(e, Field::EXIT_QUALIFICATION), 0xc0000028u);
    EXPECT_EQ(value(e, Field::IDT_VECTORING_INFO), 0x80000306u);
    EXPECT_EQ(value(e, Field::GUEST_RIP), CODE);
    User interrupt({0xcd, 0x06}, false);
    interrupt.ram.word(IDT + 48) = 0x28ull << 16 | 0xe5ull << 40;
    e = interrupt.run();
    EXPECT_EQ(value(e, Field::IDT_VECTORING_INFO), 0x80000406u);
    EXPECT_EQ(value(e, Field::EXIT_INSTRUCTION_LENGTH), 2u);
}

// ---- I/O and extended state ----

TEST(VmxPlainIo, TheMapOfTheTssDecidesAboveIopl) {
    User m({0xee, 0x0f, 0x01, 0xc1}, true); // out dx, al
    m.state[Field::PROC_CONTROLS] |= v::proc::USE_IO_BITMAPS;
    m.state[Field::GUEST_TR_LIMIT] = 0x100;
    m.ram.word(TSS + 0x60) = 0x80ull << 48;
    m.input.gpr[2] = 0x84;
    EXPECT_TRUE(exits(m.run(), ExitReason::VMCALL));
    m.ram.word(TSS + 0x90) = 1u << 4;
    m.expect_fault(GP, 0);
    m.state[Field::GUEST_RFLAGS] |= x86::rflags::IOPL;
    EXPECT_TRUE(exits(m.run(), ExitReason::VMCALL));
}

TEST(VmxPlainIo, XrstorsOfAnAreaThatIsNotCompactedFaults) {
    User m({0x0f, 0xc7, 0x1b}, true, 0);
    m.state[Field::GUEST_CR4] |= x86::cr4::OSXSAVE;
    m.state[Field::PROC_CONTROLS_2] |= v::proc2::ENABLE_XSAVES;
    m.expect_fault(GP, 0);
    m.ram.word(DATA + 520) = 1ull << 63;
    EXPECT_TRUE(m.run().open);
}

} // namespace
