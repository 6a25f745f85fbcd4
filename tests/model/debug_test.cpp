// DR6 and DR7 around a #DB (APM vol. 2 rev. 3.42 §13.1.1.3, §13.1.1.4, §15.12.2), and what the
// fuzzer found on Bochs beside it.
#include "guest_builder.hpp"

#include <gtest/gtest.h>

namespace horos::model::svm::test {
namespace {

using horos::svm::EventType;
using horos::svm::Misc1;

constexpr uint64_t GD = x86::dr7::GD;

Outcome single(GuestBuilder& g) {
    const Prediction p = predict(g.machine);
    EXPECT_EQ(p.allowed.size(), 1u);
    return p.allowed.front();
}
constexpr size_t DR6 = HOROS_SAVE(dr6), DR7 = HOROS_SAVE(dr7);

// With GD set, and an execution breakpoint at the code, which is a NOP.
GuestBuilder guarded(bool breakpoint) {
    GuestBuilder g;
    g.code({0x90});
    g.save().dr7 = x86::dr7::RESET | GD | (breakpoint ? 1u : 0u);
    g.save().rflags |= breakpoint ? 0 : x86::rflags::TF;
    g.machine.guest.dr = {GuestBuilder::CODE, 0, 0, 0};
    return g;
}

TEST(DebugRegisters, AnyDebugExceptionClearsGeneralDetect) {
    for (const bool breakpoint : {false, true}) {
        for (const bool intercepted : {false, true}) {
            GuestBuilder g = guarded(breakpoint);
            g.control().intercept_exceptions = intercepted ? 1u << 1 : 0;
            const Outcome out = single(g);
            EXPECT_EQ(exit_code_name(out.exit_code),
                      intercepted ? "VMEXIT_EXCP1" : "VMEXIT_VMMCALL");
            EXPECT_EQ(saved(out, DR7) & GD, 0u) << breakpoint << intercepted;
            EXPECT_NE(saved_known(out, DR7) & GD, 0u) << breakpoint << intercepted;
            g.machine.deviations.set(Deviation::GD_STAYS);
            EXPECT_EQ(saved(single(g), DR7) & GD, GD);
        }
    }
}

// Vector 1 without a debug condition: not said.
TEST(DebugRegisters, Int1AndInjectionLeaveGeneralDetectOpen) {
    GuestBuilder int1;
    int1.code({0xf1});
    int1.save().dr7 |= GD;
    EXPECT_EQ(saved_known(single(int1), DR7) & GD, 0u);
    GuestBuilder injected;
    injected.code({});
    injected.save().dr7 |= GD;
    injected.control().event_inj = horos::svm::make_event(EventType::EXCEPTION, 1);
    EXPECT_EQ(saved_known(single(injected), DR7) & GD, 0u);
    injected.control().event_inj = horos::svm::make_event(EventType::EXCEPTION, 6);
    EXPECT_EQ(saved_known(single(injected), DR7) & GD, GD) << "another vector";
}

TEST(DebugRegisters, GeneralDetectNamesNoBreakpoint) {
    GuestBuilder g;
    g.code({0x0f, 0x21, 0xc0}); // mov rax, dr0
    g.save().dr7 |= GD;
    g.save().dr6 = 0xffff0ff5;
    g.control().intercept_exceptions = 1u << 1;
    const Outcome out = single(g);
    EXPECT_EQ(saved(out, DR6) & 0xe00f, x86::dr6::BD);
    EXPECT_EQ(saved_known(out, DR6) & 0xe00f, 0xe00fu);
    EXPECT_EQ(saved(out, DR7) & GD, 0u);
    g.machine.deviations.set(Deviation::DB_COMMIT_LATE);
    EXPECT_EQ(saved(single(g), DR6) & 0xe00f, 5u);
    EXPECT_EQ(saved(single(g), DR7) & GD, GD);
}

// Breakpoints update B3:B0 (§13.1.1.3); whether a single step does is not said.
TEST(DebugRegisters, SingleStepLeavesOldMatchesOpen) {
    GuestBuilder g;
    g.code({0x90});
    g.save().rflags |= x86::rflags::TF;
    g.save().dr6 = 0xffff0ff8;
    g.control().intercept_exceptions = 1u << 1;
    const Outcome out = single(g);
    EXPECT_EQ(saved(out, DR6) & x86::dr6::BS, x86::dr6::BS);
    EXPECT_EQ(saved_known(out, DR6) & 0xf, 7u) << "B3 alone was set before";
    g.machine.deviations.set(Deviation::DB_COMMIT_LATE);
    EXPECT_EQ(saved_known(single(g), DR6) & 0xf, 0xfu) << "nothing was written yet";
}

TEST(DebugRegisters, TaskSwitchBitStays) {
    GuestBuilder g = guarded(true);
    g.save().dr6 = x86::dr6::RESET | x86::dr6::BT;
    EXPECT_EQ(saved(single(g), DR6) & 0xe00f, x86::dr6::BT | 1u);
    g.machine.deviations.set(Deviation::BT_CLEARED);
    EXPECT_EQ(saved(single(g), DR6) & 0xe00f, 1u);
    g.control().intercept_exceptions = 1u << 1;
    EXPECT_EQ(saved(single(g), DR6) & 0xe00f, x86::dr6::BT | 1u) << "only where it is delivered";
}

// ---- found on Bochs ----

// A trap comes after the instruction: the instruction pointer of that moment is the target's.
TEST(BochsRegressions, NextRipOfATrapIsWhereItWent) {
    GuestBuilder g;
    g.code({0xeb, 0x10}); // jmp +0x10
    g.save().rflags |= x86::rflags::TF;
    g.control().intercept_exceptions = 1u << 1;
    g.machine.deviations.set(Deviation::NEXT_RIP_ALWAYS);
    EXPECT_EQ(saved(single(g), HOROS_CONTROL(next_rip)), GuestBuilder::CODE + 0x12);
}

// §4.8.4: in an interrupt gate the last doubleword is ignored.
TEST(BochsRegressions, UpperTypeOfAGateIsIgnored) {
    GuestBuilder g;
    g.code({0xcd, 0x30});
    g.ram[GuestBuilder::IDT + 16 * 0x30 + 13] = 0x1f;
    g.control().intercept_exceptions = 1u << 13;
    EXPECT_EQ(exit_code_name(single(g).exit_code), "VMEXIT_VMMCALL");
    g.machine.deviations.set(Deviation::GATE_UPPER_TYPE);
    const Outcome out = single(g);
    EXPECT_EQ(exit_code_name(out.exit_code), "VMEXIT_EXCP13");
    EXPECT_EQ(saved(out, HOROS_CONTROL(exit_info_1)), 0x30u * 8 + 2);
}

// Whether the bytes after offset 0xffffffff are outside the segment or its first ones is not said.
TEST(BochsRegressions, InstructionAcrossFourGibIsOpen) {
    GuestBuilder g;
    g.protected32().code({});
    g.save().cs.base = GuestBuilder::CODE + 1;
    g.save().rip = 0xffffffff;
    EXPECT_EQ(single(g).kind, OutcomeKind::UNSPECIFIED);
    g.save().rip = 0xfffffffe; // all of it before the end
    g.save().cs.base = GuestBuilder::CODE + 2;
    g.ram[GuestBuilder::CODE] = g.ram[GuestBuilder::CODE + 1] = 0x90;
    EXPECT_EQ(single(g).kind, OutcomeKind::UNSPECIFIED) << "NOP, NOP, and then the wrap";
    g.ram[GuestBuilder::CODE] = 0x0f; // CPUID
    g.ram[GuestBuilder::CODE + 1] = 0xa2;
    g.intercept(Misc1::CPUID);
    EXPECT_EQ(exit_code_name(single(g).exit_code), "VMEXIT_CPUID");
}

// A CS whose type is a TSS's is loaded but for L; another system type is not loaded at all.
TEST(BochsRegressions, CodeSegmentWithoutSIsLoadedButForL) {
    GuestBuilder g;
    g.protected32().code({});
    constexpr auto S = static_cast<uint16_t>(~x86::seg::S);
    g.save().cs.attributes &= S; // a busy TSS, with D set
    EXPECT_EQ(exit_code_name(single(g).exit_code), "VMEXIT_VMMCALL");
    g.machine.deviations.set(Deviation::SEGMENT_KINDS);
    const Prediction p = predict(g.machine);
    ASSERT_EQ(p.allowed.size(), 2u);
    EXPECT_EQ(exit_code_name(p.allowed[0].exit_code), "VMEXIT_VMMCALL");
    EXPECT_EQ(p.allowed[1].kind, OutcomeKind::INVALID) << "if L was left over, beside D";
    g.save().cs.attributes = static_cast<uint16_t>((g.save().cs.attributes & ~0xfu) | 0xc);
    EXPECT_EQ(single(g).kind, OutcomeKind::UNSPECIFIED);
}

// What a guest wrote it reads back, also once that is more than is searched one after the other.
TEST(BochsRegressions, ManyWritesAreReadBack) {
    for (const uint8_t count : {2, 40}) { // eight bytes each
        GuestBuilder g;
        std::vector<uint8_t> program;
        for (unsigned i = 0; i < count; ++i) {
            program.insert(program.end(), {0x51, 0x48, 0xff, 0xc1}); // push rcx; inc rcx
        }
        program.insert(program.end(), {0x58, 0x5a, 0x0f, 0x01, 0xd9}); // pop rax; pop rdx; vmmcall
        std::copy(program.begin(), program.end(), &g.ram[GuestBuilder::CODE]);
        g.machine.guest.gpr[static_cast<size_t>(Gpr::RCX)] = 0x1000;
        g.machine.max_instructions = 200;
        const Outcome out = single(g);
        EXPECT_EQ(exit_code_name(out.exit_code), "VMEXIT_VMMCALL");
        EXPECT_EQ(saved(out, HOROS_SAVE(rax)), 0x1000u + count - 1);
        EXPECT_EQ(out.gpr[static_cast<size_t>(Gpr::RDX)].value, 0x1000u + count - 2);
        EXPECT_EQ(out.writes.size(), 8u * count + 2) << "and A and D of the tables";
    }
}

// An intercepted task switch did not take place: the shadow still holds, and TF's trap is not due.
TEST(BochsRegressions, ShadowAtAnInterceptedTaskSwitch) {
    GuestBuilder g;
    g.protected32().code({0xea, 0, 0, 0, 0, 0x30, 0}).intercept(Misc1::TASK_SWITCH); // jmp 0x30:0
    g.save().gdtr.limit = 0x37;
    g.put(GuestBuilder::GDT + 0x30, 0x0000890140000067ull); // an available TSS
    g.control().int_state = horos::svm::int_state::INTERRUPT_SHADOW;
    const auto shadow = [&] {
        const Outcome out = single(g);
        EXPECT_EQ(exit_code_name(out.exit_code), "VMEXIT_TASK_SWITCH");
        return saved(out, HOROS_CONTROL(int_state)) & 1;
    };
    EXPECT_EQ(shadow(), 1u);
    g.machine.deviations.set(Deviation::SHADOW_LOST);
    EXPECT_EQ(shadow(), 0u);
    g.save().rflags |= x86::rflags::TF;
    g.machine.deviations.set(Deviation::TRAP_LEAKS);
    EXPECT_EQ(shadow(), 0u) << "a task switch drops the trap";
}

// Writing back what CR0 holds changes nothing, also where that has reserved bits.
TEST(BochsRegressions, ReservedBitsOfCr0ThatStayAreNoChange) {
    GuestBuilder g;
    g.code({0x0f, 0x22, 0xc0}).intercept(Misc1::CR0_SEL_WRITE); // mov cr0, rax
    g.save().cr0 |= 1u << 9;
    g.save().rax = g.save().cr0;
    EXPECT_EQ(exit_code_name(single(g).exit_code), "VMEXIT_VMMCALL");
    g.machine.deviations.set(Deviation::CR0_SEL_COUNTS_RESERVED);
    EXPECT_EQ(exit_code_name(single(g).exit_code), "VMEXIT_CR0_SEL_WRITE");
}

// A course that is not followed may end in the message that looks tables up where there are none.
TEST(BochsRegressions, UnfollowedCourseMayDieOfItsTables) {
    GuestBuilder g;
    g.code({0x0f, 0x05}); // SYSCALL, which is #UD or not followed
    g.save().efer |= x86::efer::SCE;
    g.save().cr3 |= 1ull << 51;
    g.nested_paging();
    g.machine.deviations.unchecked.set(static_cast<size_t>(RuleId::SAVE_CR3_MBZ));
    g.machine.deviations.unchecked.set(static_cast<size_t>(RuleId::SAVE_CR3_PHYS));
    g.machine.deviations.set(Deviation::CR3_WIDE);
    const auto dies = [&] {
        for (const Outcome& out : predict(g.machine).allowed) {
            if (out.why == "dies: without a message") {
                return true;
            }
        }
        return false;
    };
    EXPECT_FALSE(dies());
    g.machine.deviations.set(Deviation::SHUTDOWN_PANIC);
    g.machine.deviations.set(Deviation::TABLE_CRASH);
    EXPECT_TRUE(dies());
    g.save().cr3 &= ~(1ull << 51);
    EXPECT_FALSE(dies());
}

} // namespace
} // namespace horos::model::svm::test
