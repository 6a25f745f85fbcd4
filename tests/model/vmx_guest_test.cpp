// Exits of a guest: directed cases for what the manual says of each, and properties of EPT walks.
#include "vmx_machine.hpp"

#include <rapidcheck/gtest.h>

namespace {

using namespace horos::model::vmx;
using namespace horos::model::vmx::testing;
using horos::vmx::ExitReason;
namespace x86 = horos::x86;

TEST(VmxGuest, CpuidExitsWithItsLengthAndNothingChanged) {
    Machine m({0x0f, 0xa2});
    const GuestExit e = m.run();
    EXPECT_TRUE(exits(e, ExitReason::CPUID)) << e.why;
    EXPECT_EQ(value(e, Field::EXIT_INSTRUCTION_LENGTH), 2u);
    EXPECT_EQ(value(e, Field::EXIT_QUALIFICATION), 0u);
    EXPECT_EQ(value(e, Field::GUEST_RIP), CODE);
}

TEST(VmxGuest, HltExitsOrWaits) {
    Machine m({0xf4});
    m.state[Field::PROC_CONTROLS] |= horos::vmx::proc::HLT_EXITING;
    EXPECT_TRUE(exits(m.run(), ExitReason::HLT));
    m.state[Field::PROC_CONTROLS] &= ~uint64_t{horos::vmx::proc::HLT_EXITING};
    EXPECT_TRUE(m.run().open);
    m.state[Field::PIN_CONTROLS] |= horos::vmx::pin::PREEMPTION_TIMER;
    m.state[Field::PREEMPTION_TIMER] = 50;
    const GuestExit e = m.run();
    EXPECT_TRUE(exits(e, ExitReason::PREEMPTION_TIMER));
    EXPECT_EQ(value(e, Field::GUEST_ACTIVITY), 1u);
    EXPECT_EQ(value(e, Field::GUEST_RIP), CODE + 1);
}

TEST(VmxGuest, MovToCr0LooksAtMaskAndShadow) {
    Machine m({0x0f, 0x22, 0xc2}); // mov cr0, rdx
    m.input.gpr[2] = m.state[Field::GUEST_CR0] | x86::cr0::TS;
    m.state[Field::CR0_MASK] = x86::cr0::TS;
    m.state[Field::CR0_SHADOW] = x86::cr0::TS;
    EXPECT_FALSE(exits(m.run(), ExitReason::CR_ACCESS)); // as the shadow has it
    m.state[Field::CR0_SHADOW] = 0;
    const GuestExit e = m.run();
    EXPECT_TRUE(exits(e, ExitReason::CR_ACCESS));
    EXPECT_EQ(value(e, Field::EXIT_QUALIFICATION), 2u << 8);
}

TEST(VmxGuest, MovDrExitsBeforeThePrivilegeIsLookedAt) {
    Machine m({0x0f, 0x23, 0xe0}); // mov dr4, rax
    for (unsigned n = 0; n < 6; ++n) {
        m.state[horos::vmx::plus(Field::GUEST_ES_RIGHTS, n)] |= horos::vmx::rights::DPL;
        m.state[horos::vmx::plus(Field::GUEST_ES_SELECTOR, n)] |= 3;
    }
    const GuestExit fault = m.run();
    EXPECT_TRUE(exits(fault, ExitReason::EXCEPTION_OR_NMI));
    EXPECT_EQ(value(fault, Field::EXIT_INTERRUPTION_INFO), 0x80000b0du); // #GP(0)
    m.state[Field::PROC_CONTROLS] |= horos::vmx::proc::MOV_DR_EXITING;
    const GuestExit e = m.run();
    EXPECT_TRUE(exits(e, ExitReason::MOV_DR));
    EXPECT_EQ(value(e, Field::EXIT_QUALIFICATION), 4u);
}

TEST(VmxGuest, TheMsrBitmapDecidesAndNumbersOutsideItExit) {
    Machine m({0x0f, 0x32});
    m.state[Field::PROC_CONTROLS] |= horos::vmx::proc::USE_MSR_BITMAPS;
    m.input.gpr[1] = 0x174;
    m.state[Field::GUEST_SYSENTER_CS] = 0x77;
    const GuestExit plain = m.run();
    EXPECT_FALSE(exits(plain, ExitReason::RDMSR));
    m.ram.word(BITMAPS + 0x174 / 64 * 8) = 1ull << (0x174 % 64);
    EXPECT_TRUE(exits(m.run(), ExitReason::RDMSR));
    m.input.gpr[1] = 0x2000;
    EXPECT_TRUE(exits(m.run(), ExitReason::RDMSR));
}

TEST(VmxGuest, AnIoAccessExitsIfOneOfItsPortsDoes) {
    Machine m({0xed, 0x0f, 0x01, 0xc1}); // in eax, dx
    m.state[Field::PROC_CONTROLS] |= horos::vmx::proc::USE_IO_BITMAPS;
    m.input.gpr[2] = 0x7ffe;
    m.ram.word(BITMAPS + 0x1000) = 2; // port 8001h
    const GuestExit e = m.run();
    EXPECT_TRUE(exits(e, ExitReason::IO));
    EXPECT_EQ(value(e, Field::EXIT_QUALIFICATION), 0x7ffe0000u | 8 | 3);
    m.input.gpr[2] = 0x7ffd; // what the port gives is not known
    const GuestExit plain = m.run();
    EXPECT_TRUE(exits(plain, ExitReason::VMCALL));
    EXPECT_EQ(plain.gpr[0].known, 0xffffffff00000000ull);
    m.input.gpr[2] = 0xfffe; // wraps around
    EXPECT_TRUE(exits(m.run(), ExitReason::IO));
}

TEST(VmxGuest, PageFaultsExitByMaskAndMatch) {
    Machine m({0x89, 0x03});                            // mov [rbx], eax
    m.ram.word(TABLES + 0x3000 + (DATA >> 12) * 8) = 0; // not present: error code 2
    m.state[Field::EXCEPTION_BITMAP] = 1u << 14;
    m.state[Field::PF_ERROR_CODE_MASK] = 3;
    m.state[Field::PF_ERROR_CODE_MATCH] = 2;
    const GuestExit e = m.run();
    EXPECT_TRUE(exits(e, ExitReason::EXCEPTION_OR_NMI));
    EXPECT_EQ(value(e, Field::EXIT_QUALIFICATION), DATA);
    EXPECT_EQ(value(e, Field::EXIT_INTERRUPTION_ERROR_CODE), 2u);
    m.state[Field::PF_ERROR_CODE_MATCH] = 1;
    m.state[Field::GUEST_IDTR_LIMIT] = 0;
    EXPECT_TRUE(exits(m.run(), ExitReason::TRIPLE_FAULT));
}

// Found by a case on Bochs: what the bitmap names exits before a double fault is made of it.
TEST(VmxGuest, AnInterceptedFaultOfDeliveryIsNoDoubleFault) {
    Machine m({0x89, 0x03});
    m.ram.word(TABLES + 0x3000 + (DATA >> 12) * 8) = 0;
    m.state[Field::GUEST_IDTR_LIMIT] = 0;
    m.state[Field::EXCEPTION_BITMAP] = 1u << 13 | 1u << 8;
    const GuestExit e = m.run();
    EXPECT_EQ(value(e, Field::EXIT_INTERRUPTION_INFO) & 0xff, 13u);
    EXPECT_EQ(value(e, Field::IDT_VECTORING_INFO), 0x80000b0eu);
    m.state[Field::EXCEPTION_BITMAP] = 1u << 8;
    const GuestExit d = m.run();
    EXPECT_EQ(value(d, Field::EXIT_INTERRUPTION_INFO) & 0xff, 8u);
    EXPECT_EQ(value(d, Field::IDT_VECTORING_INFO) & 0x80000000, 0u);
}

TEST(VmxGuest, AnInjectedEventThatMeetsAViolationIsReported) {
    Machine m({0x90});
    m.state[Field::GUEST_IDTR_BASE] = 0x12000;
    m.ram.ept_entry(0x12000) = 0;
    m.state[Field::ENTRY_INTERRUPTION_INFO] = 0x80000202; // NMI
    const GuestExit e = m.run();
    EXPECT_TRUE(exits(e, ExitReason::EPT_VIOLATION)) << e.why;
    EXPECT_EQ(value(e, Field::IDT_VECTORING_INFO), 0x80000202u);
    EXPECT_EQ(value(e, Field::GUEST_INTERRUPTIBILITY), 8u);
    EXPECT_EQ(value(e, Field::GUEST_PHYSICAL_ADDRESS), 0x12020u);
}

// §27.1: found by a case on Bochs. A direct exit keeps the blocking, one from delivery ends it.
TEST(VmxGuest, AnExitFromDeliveryFindsNoBlockingBySti) {
    Machine m({0xfb, 0x0f, 0x0b}); // sti; ud2
    m.state[Field::GUEST_IDTR_BASE] = 0x12000;
    m.ram.ept_entry(0x12000) = 0;
    const GuestExit direct = m.run();
    EXPECT_TRUE(exits(direct, ExitReason::EXCEPTION_OR_NMI)) << direct.why;
    EXPECT_EQ(value(direct, Field::GUEST_INTERRUPTIBILITY), 1u);
    m.state[Field::EXCEPTION_BITMAP] = 0;
    const GuestExit e = m.run();
    EXPECT_TRUE(exits(e, ExitReason::EPT_VIOLATION)) << e.why;
    EXPECT_EQ(value(e, Field::GUEST_INTERRUPTIBILITY), 0u);
    EXPECT_EQ(value(e, Field::IDT_VECTORING_INFO), 0x80000306u);
}

TEST(VmxGuest, ADebugExceptionClearsGeneralDetectBeforeAnExitFromItsDelivery) {
    namespace v = horos::vmx;
    Machine m({0x90});
    m.state[Field::GUEST_RFLAGS] |= x86::rflags::TF;
    m.state[Field::GUEST_IDTR_BASE] = 0x12000;
    m.ram.ept_entry(0x12000) = 0;
    m.state[Field::ENTRY_CONTROLS] |= v::entry_ctl::LOAD_DEBUG_CONTROLS;
    m.state[Field::EXIT_CONTROLS] |= v::exit_ctl::SAVE_DEBUG_CONTROLS;
    m.state[Field::GUEST_DR7] = x86::dr7::ONE | x86::dr7::GD;
    EXPECT_EQ(value(m.run(), Field::GUEST_DR7), x86::dr7::ONE | x86::dr7::GD); // direct
    m.state[Field::EXCEPTION_BITMAP] = 0;
    const GuestExit e = m.run();
    EXPECT_TRUE(exits(e, ExitReason::EPT_VIOLATION)) << e.why;
    EXPECT_EQ(value(e, Field::GUEST_DR7), x86::dr7::ONE);
}

// Vol. 3B §17.2.3: found by a case on Bochs.
TEST(VmxGuest, BreakpointsThatAreNotEnabledMayBeReported) {
    namespace pending = horos::vmx::pending_debug;
    Machine m({0x90});
    m.state[Field::GUEST_PENDING_DEBUG] = pending::BS | 0xc;
    const GuestExit e = m.run();
    EXPECT_TRUE(exits(e, ExitReason::EXCEPTION_OR_NMI)) << e.why;
    EXPECT_TRUE(e[Field::EXIT_QUALIFICATION].allows(0x400c));
    EXPECT_TRUE(e[Field::EXIT_QUALIFICATION].allows(0x4000));
    EXPECT_FALSE(e[Field::EXIT_QUALIFICATION].allows(0x000c));
    m.state[Field::GUEST_PENDING_DEBUG] |= pending::ENABLED_BREAKPOINT;
    EXPECT_FALSE(m.run()[Field::EXIT_QUALIFICATION].allows(0x4000));
}

// Found by a case on Bochs: an IDT that reaches beyond the canonical addresses is no page fault.
TEST(VmxGuest, AnIdtThatIsNotCanonicalIsAGeneralProtectionFault) {
    Machine m({0x90});
    m.state[Field::GUEST_IDTR_BASE] = 0x7fffffffffff;
    m.state[Field::ENTRY_INTERRUPTION_INFO] = 0x80000301; // #DB
    const GuestExit e = m.run();
    EXPECT_TRUE(exits(e, ExitReason::EXCEPTION_OR_NMI)) << e.why;
    EXPECT_EQ(value(e, Field::EXIT_INTERRUPTION_INFO), 0x80000b0du);
    EXPECT_EQ(e[Field::EXIT_INTERRUPTION_ERROR_CODE].known, 0u);
    m.state[Field::EXCEPTION_BITMAP] = ~(1u << 13);
    EXPECT_TRUE(m.run().open); // which error code it delivers is not said
}

// Vol. 1 §3.4.1.1: found by a case on Bochs.
TEST(VmxGuest, HighHalvesOfRegistersAreUndefinedOutside64BitMode) {
    Machine m({0x0f, 0xa2});
    m.state[Field::GUEST_RSP] = 0x800000001000;
    EXPECT_FALSE(m.run()[Field::GUEST_RSP].allows(0x1000));
    m.state[Field::GUEST_CS_RIGHTS] = 0xc09b;
    const GuestExit e = m.run();
    EXPECT_TRUE(exits(e, ExitReason::CPUID)) << e.why;
    EXPECT_TRUE(e[Field::GUEST_RSP].allows(0x1000));
    EXPECT_FALSE(e[Field::GUEST_RSP].allows(0x2000));
}

// Bochs looks at CR0.TS first where it has XSAVES at all.
TEST(VmxGuest, TheDefectOfXsavesIsThatOfPartsThatHaveIt) {
    for (const std::string_view part : {"bochs-2.7-skylake-x", "bochs-2.7-haswell"}) {
        Machine m({0x0f, 0xc7, 0x2b}, part); // xsaves [rbx]
        m.input.deviations.set(size_t(Deviation::XSAVES_ORDER));
        m.state[Field::GUEST_CR0] |= x86::cr0::TS;
        m.state[Field::GUEST_CR4] |= x86::cr4::OSXSAVE;
        const unsigned vector = part == "bochs-2.7-haswell" ? 6 : 7;
        const GuestExit e = m.run();
        EXPECT_EQ(value(e, Field::EXIT_INTERRUPTION_INFO) & 0xff, vector) << part;
    }
}

TEST(VmxGuest, TheSingleStepTrapEndsHlt) {
    namespace v = horos::vmx;
    Machine m({0xf4});
    constexpr uint64_t GDT = 0x13000, IDT = 0x12000, HANDLER = 0x14000;
    m.ram.word(GDT + 8) = 0x00af9b000000ffffull;
    m.ram.word(IDT + 16) = (HANDLER & 0xffff) | 0x08ull << 16 | 0x8eull << 40 | HANDLER >> 16 << 48;
    m.ram.word(HANDLER) = 0xc1010f; // vmcall
    m.state[Field::GUEST_GDTR_BASE] = GDT;
    m.state[Field::GUEST_IDTR_BASE] = IDT;
    m.state[Field::GUEST_RFLAGS] |= x86::rflags::TF;
    m.state[Field::EXCEPTION_BITMAP] = 0;
    m.state[Field::PROC_CONTROLS] &= ~uint64_t{v::proc::HLT_EXITING};
    m.state[Field::PIN_CONTROLS] |= v::pin::PREEMPTION_TIMER;
    m.state[Field::PREEMPTION_TIMER] = 50;
    EXPECT_TRUE(exits(m.run(), ExitReason::VMCALL)) << m.run().why;
    m.input.deviations.set(size_t(Deviation::HLT_OUTLASTS_TRAP));
    const GuestExit e = m.run();
    EXPECT_TRUE(exits(e, ExitReason::PREEMPTION_TIMER)) << e.why;
    EXPECT_EQ(value(e, Field::GUEST_RIP), HANDLER);
    EXPECT_EQ(value(e, Field::GUEST_ACTIVITY), 1u);
}

// §27.2.1: found by a case on Bochs, which reports what an earlier instruction left.
TEST(VmxGuest, ARegisterOperandHasNoDisplacement) {
    Machine m({0x0f, 0x00, 0xc0}); // sldt eax
    m.state[Field::PROC_CONTROLS_2] |= horos::vmx::proc2::DESCRIPTOR_TABLE_EXITING;
    const GuestExit e = m.run();
    EXPECT_TRUE(exits(e, ExitReason::LDTR_TR_ACCESS)) << e.why;
    EXPECT_FALSE(e[Field::EXIT_QUALIFICATION].allows(4));
    m.input.deviations.set(size_t(Deviation::REGISTER_DISPLACEMENT));
    EXPECT_TRUE(m.run()[Field::EXIT_QUALIFICATION].allows(4));
}

// §27.1: found by a case on Bochs, which wakes first.
TEST(VmxGuest, AnNmiWindowFromHltSavesHlt) {
    Machine m({0x90});
    m.state[Field::GUEST_ACTIVITY] = 1;
    m.state[Field::PIN_CONTROLS] |= horos::vmx::pin::NMI_EXITING | horos::vmx::pin::VIRTUAL_NMIS;
    m.state[Field::PROC_CONTROLS] |= horos::vmx::proc::NMI_WINDOW_EXITING;
    EXPECT_TRUE(exits(m.run(), ExitReason::NMI_WINDOW));
    EXPECT_EQ(value(m.run(), Field::GUEST_ACTIVITY), 1u);
    m.input.deviations.set(size_t(Deviation::EXIT_WAKES));
    EXPECT_EQ(value(m.run(), Field::GUEST_ACTIVITY), 0u);
    // The same of the shutdown state, in which a second defect of Bochs clears IF.
    m.input.deviations.reset();
    m.state[Field::GUEST_ACTIVITY] = 2;
    m.state[Field::GUEST_RFLAGS] |= x86::rflags::IF;
    EXPECT_TRUE(exits(m.run(), ExitReason::NMI_WINDOW));
    EXPECT_EQ(value(m.run(), Field::GUEST_ACTIVITY), 2u);
    EXPECT_NE(value(m.run(), Field::GUEST_RFLAGS) & x86::rflags::IF, 0u);
    m.input.deviations.set(size_t(Deviation::SHUTDOWN_CLEARS_IF));
    EXPECT_EQ(value(m.run(), Field::GUEST_RFLAGS) & x86::rflags::IF, 0u);
}

TEST(VmxGuest, EptpSwitchingChangesTheMap) {
    Machine m({0x0f, 0x01, 0xd4, 0x8b, 0x03}); // vmfunc; mov eax, [rbx]
    m.state[Field::PROC_CONTROLS_2] |= horos::vmx::proc2::ENABLE_VM_FUNCTIONS;
    m.state[Field::VM_FUNCTION_CONTROLS] = 1;
    m.state[Field::EPTP_LIST_ADDRESS] = 0x50000;
    m.input.gpr[0] = 0;
    m.input.gpr[1] = 3;
    EXPECT_TRUE(exits(m.run(), ExitReason::VMFUNC)); // entry 3 is no EPTP
    m.ram.word(0x50018) = 0x60000 | 0x1e;            // an empty root
    const GuestExit e = m.run();
    EXPECT_TRUE(exits(e, ExitReason::EPT_VIOLATION));
    m.input.gpr[1] = 512;
    EXPECT_TRUE(exits(m.run(), ExitReason::VMFUNC));
}

TEST(VmxGuest, PageModificationLoggingWritesAndFills) {
    Machine m({0x89, 0x03, 0x0f, 0x01, 0xc1}); // mov [rbx], eax; vmcall
    m.state[Field::EPTP] |= horos::vmx::eptp::ACCESSED_DIRTY;
    m.state[Field::PROC_CONTROLS_2] |= horos::vmx::proc2::ENABLE_PML;
    m.state[Field::PML_ADDRESS] = 0x70000;
    m.state[Field::PML_INDEX] = 5;
    m.ram.ept_entry(DATA) &= ~horos::vmx::ept::D;
    const GuestExit e = m.run();
    EXPECT_TRUE(exits(e, ExitReason::VMCALL)) << e.why;
    EXPECT_EQ(e.writes.at(0x70000 + 5 * 8).value, DATA);
    EXPECT_EQ(value(e, Field::PML_INDEX), 4u);
    m.state[Field::PML_INDEX] = 512;
    EXPECT_TRUE(exits(m.run(), ExitReason::PML_FULL));
}

// The defect "pml-index-always" is one of EPT walks: cached translations make none.
TEST(VmxGuest, TheDefectOfTheLogsIndexIsPredictedWithAndWithoutCachedTranslations) {
    Machine m({0x89, 0x03, 0x0f, 0x01, 0xc1}); // mov [rbx], eax; vmcall
    m.state[Field::EPTP] |= horos::vmx::eptp::ACCESSED_DIRTY;
    m.state[Field::PROC_CONTROLS_2] |= horos::vmx::proc2::ENABLE_PML;
    m.state[Field::PML_ADDRESS] = 0x70000;
    m.state[Field::PML_INDEX] = 0; // what is left after the store is below zero
    m.ram.ept_entry(DATA) &= ~horos::vmx::ept::D;
    EXPECT_TRUE(exits(m.run(), ExitReason::VMCALL));
    m.input.deviations.set(size_t(Deviation::PML_INDEX_ALWAYS));
    EXPECT_TRUE(exits(m.run(), ExitReason::PML_FULL));
    bool cached = false;
    for (const GuestExit& e : run_guest(m.input)) {
        cached = cached || exits(e, ExitReason::VMCALL);
    }
    EXPECT_TRUE(cached);
}

// Every value of the twelve low bits of the last entry: what §28.3.3.1 and §28.3.3.2 say.
TEST(VmxGuest, EveryLeafEntryIsPresentMisconfiguredOrEnough) {
    for (uint64_t low = 0; low < 4096; ++low) {
        Machine m({0x8b, 0x03, 0x0f, 0x01, 0xc1}); // mov eax, [rbx]; vmcall
        m.ram.ept_entry(DATA) = DATA | low;
        const GuestExit e = m.run();
        const bool r = (low & 1) != 0, w = (low & 2) != 0, x = (low & 4) != 0;
        const uint64_t type = low >> 3 & 7;
        const bool execute_only = (m.profile.ept_vpid & horos::vmx::ept_cap::EXECUTE_ONLY) != 0;
        const bool present = r || w || x;
        const bool bad = present && ((!r && w) || (!r && x && !execute_only) || type == 2 ||
                                     type == 3 || type == 7);
        const ExitReason wanted = bad ? ExitReason::EPT_MISCONFIGURATION
                                  : r ? ExitReason::VMCALL
                                      : ExitReason::EPT_VIOLATION;
        ASSERT_TRUE(exits(e, wanted)) << low << " " << e.reason;
        if (wanted == ExitReason::EPT_VIOLATION) {
            const uint64_t q = present ? 1 | (low & 7) << 3 | 0x180 : 1 | 0x180;
            ASSERT_TRUE(e[Field::EXIT_QUALIFICATION].allows(q)) << low;
            ASSERT_EQ(value(e, Field::GUEST_LINEAR_ADDRESS), DATA);
        }
    }
}

// More rights never take an access away; and what an outcome says of its bits is consistent.
RC_GTEST_PROP(VmxGuest, RightsAreMonotone, ()) {
    const bool write = *rc::gen::arbitrary<bool>();
    const auto entry = *rc::gen::inRange<uint64_t>(0, 8);
    Machine m(write ? std::initializer_list<uint8_t>{0x89, 0x03, 0x0f, 0x01, 0xc1}
                    : std::initializer_list<uint8_t>{0x8b, 0x03, 0x0f, 0x01, 0xc1});
    m.ram.ept_entry(DATA) = DATA | 0x330 | entry;
    const bool before = exits(m.run(), ExitReason::VMCALL);
    m.ram.ept_entry(DATA) |= 7;
    RC_ASSERT(exits(m.run(), ExitReason::VMCALL));
    RC_ASSERT(before == ((entry & (write ? 3 : 1)) == (write ? 3u : 1u)));
}

// Whatever the code and the registers are, the model says something definite or says why not.
RC_GTEST_PROP(VmxGuest, AnyCodeHasAnOutcome, ()) {
    Machine m({});
    m.ram.word(CODE) = *rc::gen::arbitrary<uint64_t>();
    m.ram.word(CODE + 8) = *rc::gen::arbitrary<uint64_t>();
    for (uint64_t& g : m.input.gpr) {
        g = *rc::gen::arbitrary<uint64_t>();
    }
    m.state[Field::EXCEPTION_BITMAP] = *rc::gen::arbitrary<uint32_t>();
    const GuestExit e = m.run();
    RC_ASSERT(e.open != e.why.empty());
    if (!e.open) {
        RC_ASSERT((e[Field::EXIT_REASON].value & ~0xffffull) == 0);
    }
}

} // namespace
