// Virtualization exceptions (SDM vol. 3C §25.5.7), accesses to a shadow VMCS (§25.1.3, §30.3), and
// INVPCID that does not exit.
#include "vmx_machine.hpp"

namespace {

using namespace horos::model::vmx;
using namespace horos::model::vmx::testing;

constexpr uint64_t AREA = 0x70000, LINK = 0x71000;

struct VeMachine : Machine {
    VeMachine() : Machine({0x89, 0x03, 0x0f, 0x01, 0xc1}) { // mov [rbx], eax; vmcall
        state[Field::PROC_CONTROLS_2] |= v::proc2::EPT_VIOLATION_VE;
        state[Field::VE_INFORMATION_ADDRESS] = AREA;
        state[Field::EPTP_INDEX] = 0x123;
        input.gpr[3] = DATA + 0x18;
        ram.ept_entry(DATA) &= ~uint64_t{v::ept::W};
    }
};

TEST(VmxVe, AConvertibleViolationIsAnExceptionWithItsInformation) {
    VeMachine m;
    GuestExit e = m.run();
    EXPECT_TRUE(exits(e, ExitReason::EXCEPTION_OR_NMI)) << e.why;
    EXPECT_EQ(value(e, Field::EXIT_INTERRUPTION_INFO), 0x80000314u);
    EXPECT_EQ(value(e, Field::IDT_VECTORING_INFO) & v::interruption::VALID, 0u);
    EXPECT_EQ(e.writes.at(AREA).value, 0xffffffff00000030u);
    EXPECT_TRUE(e.writes.at(AREA + 8).allows(0x1aa)); // write; read and run allowed; linear, final
    EXPECT_EQ(e.writes.at(AREA + 16).value, DATA + 0x18);
    EXPECT_EQ(e.writes.at(AREA + 24).value, DATA + 0x18);
    EXPECT_EQ(e.writes.at(AREA + 32).value & 0xffff, 0x123u);
    m.ram.ept_entry(DATA) |= v::ept::SUPPRESS_VE;
    e = m.run();
    EXPECT_TRUE(exits(e, ExitReason::EPT_VIOLATION)) << e.why;
    EXPECT_FALSE(e.writes.contains(AREA));
}

TEST(VmxVe, AnEntryThatIsNotPresentIsConvertibleTooAndAMisconfigurationNot) {
    VeMachine m;
    m.ram.ept_entry(DATA) = 0;
    EXPECT_EQ(value(m.run(), Field::EXIT_INTERRUPTION_INFO), 0x80000314u);
    m.ram.ept_entry(DATA) = v::ept::SUPPRESS_VE;
    EXPECT_TRUE(exits(m.run(), ExitReason::EPT_VIOLATION));
    m.ram.ept_entry(DATA) = DATA | v::ept::W;
    EXPECT_TRUE(exits(m.run(), ExitReason::EPT_MISCONFIGURATION));
}

TEST(VmxVe, AnAreaInUseAndTheDeliveryOfAnEventExit) {
    VeMachine m;
    m.ram.word(AREA) = 1ull << 32;
    EXPECT_TRUE(exits(m.run(), ExitReason::EPT_VIOLATION));
    m.ram.word(AREA) = 0xffffffff; // only the word at offset 4 counts
    EXPECT_TRUE(exits(m.run(), ExitReason::EXCEPTION_OR_NMI));
    m.state[Field::GUEST_RSP] = DATA + 0x800;
    m.state[Field::ENTRY_INTERRUPTION_INFO] = 0x80000202; // NMI
    m.state[Field::GUEST_IDTR_BASE] = DATA;
    m.ram.ept_entry(DATA) = 0;
    const GuestExit e = m.run();
    EXPECT_TRUE(exits(e, ExitReason::EPT_VIOLATION)) << e.why;
    EXPECT_EQ(value(e, Field::IDT_VECTORING_INFO), 0x80000202u);
}

struct ShadowMachine : Machine {
    explicit ShadowMachine(std::initializer_list<uint8_t> code) : Machine(code) {
        state[Field::PROC_CONTROLS_2] |= v::proc2::VMCS_SHADOWING;
        state[Field::VMREAD_BITMAP] = state[Field::VMWRITE_BITMAP] = BITMAPS;
        state[Field::VMCS_LINK_POINTER] = LINK;
        state[Extra::LINK_REVISION] = profile.revision() | 0x80000000;
        state[Field::GUEST_RFLAGS] |= x86::rflags::CF | x86::rflags::ZF | x86::rflags::OF;
    }
    uint64_t flags() {
        const GuestExit e = run();
        EXPECT_TRUE(exits(e, ExitReason::VMCALL)) << e.why << e.reason;
        return value(e, Field::GUEST_RFLAGS);
    }
};

TEST(VmxShadow, WhatTheGuestWroteItReads) {
    // vmwrite rax, rdx; vmread rsi, rax; vmcall
    ShadowMachine m({0x0f, 0x79, 0xc2, 0x0f, 0x78, 0xc6, 0x0f, 0x01, 0xc1});
    m.input.gpr[0] = v::encoding(Field::GUEST_CS_SELECTOR);
    m.input.gpr[2] = 0x12345678;
    const GuestExit e = m.run();
    EXPECT_TRUE(exits(e, ExitReason::VMCALL)) << e.why;
    EXPECT_EQ(e.gpr[6].value, 0x5678u);
    EXPECT_EQ(e.gpr[6].known, ~0ull);
    EXPECT_EQ(value(e, Field::GUEST_RFLAGS), x86::rflags::ONE);
    EXPECT_EQ(value(e, Field::GUEST_CS_SELECTOR), m.state[Field::GUEST_CS_SELECTOR]);
}

TEST(VmxShadow, AFieldThatWasNotWrittenHasNoMoreBitsThanItsWidth) {
    ShadowMachine m({0x0f, 0x78, 0xc6, 0x0f, 0x01, 0xc1}); // vmread rsi, rax; vmcall
    m.input.gpr[0] = v::encoding(Field::GUEST_CS_LIMIT);
    m.input.gpr[6] = ~0ull;
    const GuestExit e = m.run();
    EXPECT_TRUE(e.gpr[6].allows(0x1234));
    EXPECT_FALSE(e.gpr[6].allows(1ull << 32));
}

TEST(VmxShadow, TheFlagsTellTheFailures) {
    constexpr uint64_t ONE = x86::rflags::ONE;
    ShadowMachine m({0x0f, 0x79, 0xc2, 0x0f, 0x01, 0xc1}); // vmwrite rax, rdx; vmcall
    m.input.gpr[0] = 0x7ffe;
    EXPECT_EQ(m.flags(), ONE | x86::rflags::ZF);
    m.input.gpr[0] = v::encoding(Field::GUEST_CS_SELECTOR);
    EXPECT_EQ(m.flags(), ONE);
    m.input.gpr[0] = v::encoding(Field::GUEST_CS_SELECTOR) | 1; // it has no high half
    EXPECT_EQ(m.flags(), ONE | x86::rflags::ZF);
    m.state[Field::VMCS_LINK_POINTER] = v::NO_LINK_POINTER;
    EXPECT_EQ(m.flags(), ONE | x86::rflags::CF);
}

TEST(VmxShadow, TheBitmapAndThePrivilegeComeFirst) {
    ShadowMachine m({0x0f, 0x78, 0xc6, 0x0f, 0x01, 0xc1});
    const uint16_t number = v::encoding(Field::GUEST_CS_LIMIT);
    m.input.gpr[0] = number;
    m.ram.word(BITMAPS + number / 64 * 8) = 1ull << number % 64;
    EXPECT_TRUE(exits(m.run(), ExitReason::VMREAD));
    m.ram.word(BITMAPS + number / 64 * 8) = 0;
    m.input.gpr[0] = 0x8000 | number;
    EXPECT_TRUE(exits(m.run(), ExitReason::VMREAD));
    m.input.gpr[0] = number;
    for (unsigned n = 0; n < 6; ++n) {
        m.state[v::plus(Field::GUEST_ES_RIGHTS, n)] |= v::rights::DPL;
        m.state[v::plus(Field::GUEST_ES_SELECTOR, n)] |= 3;
    }
    EXPECT_EQ(value(m.run(), Field::EXIT_INTERRUPTION_INFO), 0x80000b0du);
}

// Vol. 2A, INVPCID.
TEST(VmxInvpcid, TheDescriptorAndTheTypeAreChecked) {
    Machine m({0x66, 0x0f, 0x38, 0x82, 0x13, 0x0f, 0x01, 0xc1}); // invpcid rdx, [rbx]; vmcall
    m.state[Field::PROC_CONTROLS_2] |= v::proc2::ENABLE_INVPCID;
    m.state[Field::PROC_CONTROLS] &= ~uint64_t{v::proc::INVLPG_EXITING};
    const auto completes = [&](uint64_t type, uint64_t low, uint64_t linear) {
        m.input.gpr[2] = type;
        m.ram.word(DATA) = low;
        m.ram.word(DATA + 8) = linear;
        const GuestExit e = m.run();
        EXPECT_TRUE(exits(e, ExitReason::VMCALL) ||
                    value(e, Field::EXIT_INTERRUPTION_INFO) == 0x80000b0du)
            << e.why;
        return exits(e, ExitReason::VMCALL);
    };
    EXPECT_TRUE(completes(0, 0, 0x1000));
    EXPECT_FALSE(completes(0, 0, 0x800000000000));
    EXPECT_TRUE(completes(1, 0, 0x800000000000));
    EXPECT_FALSE(completes(1, 5, 0));
    EXPECT_TRUE(completes(2, 5, 0));
    EXPECT_FALSE(completes(3, 0x1000, 0));
    EXPECT_TRUE(completes(3, 0, 0));
    EXPECT_FALSE(completes(4, 0, 0));
    m.state[Field::GUEST_CR4] |= x86::cr4::PCIDE;
    EXPECT_TRUE(completes(1, 5, 0));
}

} // namespace
