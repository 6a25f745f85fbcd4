// Regressions that the fuzzer found: software interrupts, IRET, EXITINTINFO, shadows of bases; and
// that predicting with a named defect changes just what it names.
#include "guest_builder.hpp"

#include <algorithm>
#include <gtest/gtest.h>

namespace horos::model::svm::test {
namespace {

using horos::svm::EventType;
using horos::svm::Misc1;
namespace ev = horos::svm::event;

Outcome single(GuestBuilder& g) {
    const Prediction p = predict(g.machine);
    EXPECT_EQ(p.allowed.size(), 1u);
    return p.allowed.front();
}
uint64_t handler(unsigned vector) { return GuestBuilder::HANDLERS + 4ull * vector; }

// INTn clears TF on the way into its handler: no #DB follows (vol. 3 INT).
TEST(Events, SoftwareInterruptsTakeNoSingleStepTrap) {
    GuestBuilder g;
    g.code({0xcd, 0x30});
    g.save().rflags |= x86::rflags::TF;
    g.control().intercept_exceptions = 1u << 1;
    const Outcome out = single(g);
    EXPECT_EQ(exit_code_name(out.exit_code), "VMEXIT_VMMCALL");
    EXPECT_EQ(saved(out, HOROS_SAVE(rip)), handler(0x30));
}
// §3.1.6, §8.9: whether INTn pushes the RF that it was started with is not said; of an external
// interrupt it is the flag itself.
TEST(Events, ResumeFlagThatIntPushesIsOpen) {
    const auto pushed = [](bool external) {
        GuestBuilder g;
        g.save().rflags |= x86::rflags::RF;
        if (external) {
            g.control().event_inj = horos::svm::make_event(EventType::INTR, 0x30);
        } else {
            g.code({0xcd, 0x30});
        }
        const Outcome out = single(g);
        const uint64_t third = GuestBuilder::STACK - 24 + 2; // bits 23:16 of the flags' image
        for (const MemoryWrite& w : out.writes) {
            if (w.address == third) {
                return w;
            }
        }
        ADD_FAILURE() << "no flags on the stack";
        return MemoryWrite{};
    };
    EXPECT_EQ(pushed(false).known & 1, 0);
    EXPECT_EQ(pushed(true).known & 1, 1);
    EXPECT_EQ(pushed(true).value & 1, 1);
}
// Each of these is seen only with the deviation that names it.
TEST(Deviations, Breakpoints) {
    GuestBuilder g;
    g.code({0x90});
    g.save().dr7 = 0x408; // G1
    g.save().dr6 = 0xffff0ff8;
    g.machine.guest.dr = {0, GuestBuilder::CODE, GuestBuilder::CODE, 0};
    g.control().intercept_exceptions = 1u << 1;
    EXPECT_EQ(saved(single(g), HOROS_SAVE(dr6)) & 0xf, 2u) << "B3 is cleared, B2 not enabled";
    g.machine.deviations.set(Deviation::BREAKPOINT_NAMES_ALL);
    EXPECT_EQ(saved(single(g), HOROS_SAVE(dr6)) & 0xf, 6u);

    g.machine.pending.nmi = true;
    g.intercept(Misc1::NMI);
    EXPECT_EQ(exit_code_name(single(g).exit_code), "VMEXIT_NMI");
    g.machine.deviations.set(Deviation::BREAKPOINT_BEFORE_EVENTS);
    EXPECT_EQ(exit_code_name(single(g).exit_code), "VMEXIT_EXCP1");
}
TEST(Events, OtherInstructionsDoTakeIt) {
    GuestBuilder g;
    g.code({0x90});
    g.save().rflags |= x86::rflags::TF;
    g.control().intercept_exceptions = 1u << 1;
    EXPECT_EQ(exit_code_name(single(g).exit_code), "VMEXIT_EXCP1");
}

// What IRET reads: RIP, CS, RFLAGS, RSP, SS.
void frame(GuestBuilder& g, uint64_t rip, uint64_t cs, uint64_t flags, uint64_t rsp, uint64_t ss) {
    const uint64_t at = GuestBuilder::STACK - 40;
    const uint64_t words[] = {rip, cs, flags, rsp, ss};
    for (unsigned i = 0; i < 5; ++i) {
        g.put(at + 8 * i, words[i]);
    }
    g.save().rsp = at;
}
constexpr uint64_t TARGET = GuestBuilder::CODE + 0x40;

GuestBuilder iretq() {
    GuestBuilder g;
    g.code({0x48, 0xcf});
    const uint8_t vmmcall[] = {0x0f, 0x01, 0xd9};
    std::memcpy(&g.ram[TARGET], vmmcall, 3);
    return g;
}

TEST(Iret, ToTheSameLevel) {
    GuestBuilder g = iretq();
    frame(g, TARGET, 0x08, 0x246, GuestBuilder::STACK - 0x100, 0x10);
    const Outcome out = single(g);
    EXPECT_EQ(exit_code_name(out.exit_code), "VMEXIT_VMMCALL");
    EXPECT_EQ(saved(out, HOROS_SAVE(rip)), TARGET);
    EXPECT_EQ(saved(out, HOROS_SAVE(rsp)), GuestBuilder::STACK - 0x100);
    EXPECT_EQ(saved(out, HOROS_SAVE(rflags)) & 0x246, 0x246u);
    EXPECT_EQ(saved(out, HOROS_SAVE(cpl), 1), 0u);
}
// §3.1.6: an IRET that sets RF is the instruction after which it is not cleared; it lasts until the
// next one is through.
TEST(Iret, ResumeFlagLastsForTheNextInstruction) {
    constexpr uint64_t TO = GuestBuilder::STACK - 0x100;
    GuestBuilder g = iretq();
    frame(g, TARGET, 0x08, 0x202 | x86::rflags::RF, TO, 0x10);
    const uint8_t nop_vmmcall[] = {0x90, 0x0f, 0x01, 0xd9};
    std::memcpy(&g.ram[TARGET], nop_vmmcall, 4);
    g.control().intercept_exceptions = 1u << 1;
    g.save().dr7 = 0x40a; // G0, G1
    g.machine.guest.dr = {TARGET, 0, 0, 0};
    EXPECT_EQ(exit_code_name(single(g).exit_code), "VMEXIT_VMMCALL");
    g.machine.guest.dr[1] = TARGET + 1; // the instruction after that
    const Outcome out = single(g);
    EXPECT_EQ(exit_code_name(out.exit_code), "VMEXIT_EXCP1");
    EXPECT_EQ(saved(out, HOROS_SAVE(rip)), TARGET + 1);

    g.save().dr7 = 0x400;
    g.control().int_ctl = horos::svm::int_ctl::V_IRQ | horos::svm::int_ctl::V_IGN_TPR;
    g.control().v_intr_vector = 0x30; // taken as soon as IRET sets IF
    const Outcome taken = single(g);
    EXPECT_EQ(saved(taken, HOROS_SAVE(rip)), handler(0x30));
    const bool pushed = std::any_of(taken.writes.begin(), taken.writes.end(), [](const auto& w) {
        return w.address == TO - 24 + 2 && w.known % 2 == 1 && w.value % 2 == 1;
    });
    EXPECT_TRUE(pushed) << "RF in the image of the flags";
}
TEST(Iret, ToAnOuterLevel) {
    GuestBuilder g = iretq();
    for (Segment* s : {&g.save().ds, &g.save().es, &g.machine.guest.fs, &g.machine.guest.gs}) {
        s->attributes |= x86::seg::DPL_MASK;
    }
    frame(g, TARGET, 0x1b, 0x202, GuestBuilder::STACK - 0x200, 0x23);
    const Outcome out = single(g);
    EXPECT_EQ(saved(out, HOROS_SAVE(rip)), TARGET);
    EXPECT_EQ(saved(out, HOROS_SAVE(cpl), 1), 3u);
    EXPECT_EQ(saved(out, HOROS_SAVE(cs), 2), 0x1bu);
    EXPECT_EQ(saved(out, HOROS_SAVE(ss), 2), 0x23u);
}
TEST(Iret, NullCodeSegmentFaults) {
    GuestBuilder g = iretq();
    g.control().intercept_exceptions = 1u << 13;
    g.save().cs.selector = 0; // the same as on the stack: the descriptor counts, not the register
    frame(g, TARGET, 0, 0x202, GuestBuilder::STACK, 0x10);
    const Outcome out = single(g);
    EXPECT_EQ(exit_code_name(out.exit_code), "VMEXIT_EXCP13");
    EXPECT_EQ(saved(out, HOROS_CONTROL(exit_info_1)), 0u);
}
TEST(Iret, SelectorsThatDoNotFitFaultWithTheirNumber) {
    const struct {
        uint16_t cs, ss;
        uint64_t error;
    } rows[] = {{0x10, 0x10, 0x10}, // data
                {0x78, 0x10, 0x78}, // beyond the table
                {0x1b, 0x10, 0x10}, // stack of another level
                {0x08, 0x23, 0x20}};
    for (const auto& row : rows) {
        GuestBuilder g = iretq();
        g.control().intercept_exceptions = 1u << 13;
        frame(g, TARGET, row.cs, 0x202, GuestBuilder::STACK, row.ss);
        const Outcome out = single(g);
        EXPECT_EQ(exit_code_name(out.exit_code), "VMEXIT_EXCP13") << row.cs;
        EXPECT_EQ(saved(out, HOROS_CONTROL(exit_info_1)), row.error) << row.cs;
        EXPECT_EQ(saved(out, HOROS_SAVE(rip)), GuestBuilder::CODE); // nothing was loaded
    }
}
TEST(Iret, RipThatIsNotCanonicalFaults) {
    GuestBuilder g = iretq();
    g.control().intercept_exceptions = 1u << 13;
    frame(g, 1ull << 50, 0x08, 0x202, GuestBuilder::STACK, 0x10);
    EXPECT_EQ(exit_code_name(single(g).exit_code), "VMEXIT_EXCP13");
}

// §15.7.2: bits 30:12 of EXITINTINFO are reserved; in real mode nothing has an error code.
TEST(ExitIntInfo, ReservedBitsAreFree) {
    GuestBuilder g;
    g.nested_paging();
    g.put(GuestBuilder::NESTED + 0x3000 + 8 * (GuestBuilder::IDT >> 12), 0); // NPF in delivery
    g.code({0xcd, 0x30});
    const Outcome out = single(g);
    ASSERT_EQ(exit_code_name(out.exit_code), "VMEXIT_NPF");
    EXPECT_EQ(saved(out, HOROS_CONTROL(exit_int_info), 4),
              horos::svm::make_event(EventType::SOFTWARE_INTERRUPT, 0x30));
    EXPECT_EQ(saved_known(out, HOROS_CONTROL(exit_int_info)),
              ev::VALID | ev::TYPE | ev::VECTOR | ev::ERROR_CODE_VALID);
}
TEST(ExitInfo, RealModeExceptionsHaveNoErrorCode) {
    GuestBuilder g;
    g.code({0x0f, 0x01, 0x10}).real_mode(); // LGDT [bx+si]
    g.save().ds.limit = 0;
    g.machine.guest.gpr[static_cast<size_t>(Gpr::RBX)] = 0x1000;
    g.control().intercept_exceptions = 1u << 13;
    const Outcome out = single(g);
    ASSERT_EQ(exit_code_name(out.exit_code), "VMEXIT_EXCP13");
    EXPECT_EQ(saved_known(out, HOROS_CONTROL(exit_info_1)), 0u);
}

// §5.3: whether a part checks bit 8 of a PDPE is one property of the part, however many walks.
TEST(Paging, OpenBitIsDecidedOnceAPath) {
    GuestBuilder g;
    g.code({0x90, 0x90, 0x90, 0x90, 0x90});
    g.put(GuestBuilder::TABLES + 0x1000,
          (GuestBuilder::TABLES + 0x2000) | x86::pte::P | x86::pte::RW | x86::pte::G);
    g.control().intercept_exceptions = 1u << 14;
    EXPECT_EQ(predict(g.machine).allowed.size(), 2u); // runs through, or the first fetch faults
}

// ---- defects ----

TEST(Deviations, NamesAreUniqueAndFound) {
    for (size_t i = 0; i < DEVIATION_COUNT; ++i) {
        const auto d = static_cast<Deviation>(i);
        EXPECT_EQ(find_deviation(deviation_name(d)), d);
    }
    EXPECT_FALSE(find_deviation("no-such-defect"));
    EXPECT_FALSE(find_deviation(""));
}
TEST(Deviations, OneDefectChangesWhatItNamesAndIsNoted) {
    GuestBuilder g;
    g.code({0xcc});
    g.control().intercept_exceptions = 1u << 3;
    EXPECT_EQ(exit_code_name(single(g).exit_code), "VMEXIT_EXCP3");
    g.machine.deviations.set(Deviation::INT3_IS_SWINT);
    g.machine.deviations.set(Deviation::CPL_FROM_SS); // makes no difference here
    const Prediction p = predict(g.machine);
    ASSERT_EQ(p.allowed.size(), 1u);
    EXPECT_EQ(exit_code_name(p.allowed[0].exit_code), "VMEXIT_VMMCALL");
    EXPECT_EQ(saved(p.allowed[0], HOROS_SAVE(rip)), handler(3));
    EXPECT_TRUE(p.deviated.test(Deviation::INT3_IS_SWINT));
    EXPECT_EQ(p.deviated.behaviours.count(), 1u);
}
TEST(Deviations, AnUncheckedRuleLetsTheGuestIn) {
    GuestBuilder g;
    g.code({}).nested_paging();
    g.save().g_pat = 2; // not a memory type
    EXPECT_EQ(predict(g.machine).allowed.front().kind, OutcomeKind::INVALID);
    g.machine.deviations.unchecked.set(static_cast<size_t>(RuleId::CTL_NP_GPAT));
    const Prediction p = predict(g.machine);
    EXPECT_EQ(p.allowed.front().kind, OutcomeKind::EXIT);
    EXPECT_TRUE(p.deviated.unchecked.test(static_cast<size_t>(RuleId::CTL_NP_GPAT)));
}

// Real mode has CPL 0 (§15.5.1). Where a part takes the CPL from SS there too, STI and CLI compare
// it.
TEST(QemuRegressions, StiInRealModeWithTheLevelOfSs) {
    GuestBuilder g;
    g.real_mode().code({0xfb});
    g.save().ss.attributes |= 2u << x86::seg::DPL_SHIFT;
    g.control().intercept_exceptions = 1u << 13;
    EXPECT_EQ(exit_code_name(single(g).exit_code), "VMEXIT_VMMCALL");
    g.machine.deviations.set(Deviation::CPL_FROM_SS);
    EXPECT_EQ(exit_code_name(single(g).exit_code), "VMEXIT_EXCP13");
    g.save().rflags |= 2u << 12; // IOPL
    EXPECT_NE(exit_code_name(single(g).exit_code), "VMEXIT_EXCP13");
}

// VMRUN loads bases canonical (§15.5.1); a part that keeps them wide outside long mode keeps that.
TEST(QemuRegressions, WideTableBasesAreSignExtended) {
    GuestBuilder g;
    g.protected32().code({0xcd, 0x30});
    g.put(GuestBuilder::TABLES, 0x83, 4); // 4 MiB at 0
    g.save().cr0 |= x86::cr0::PG;
    g.save().cr3 = GuestBuilder::TABLES;
    g.save().cr4 = x86::cr4::PSE;
    g.save().idtr.base = 0x1080000000c00000;
    g.control().intercept_exceptions = 1u << 14;
    EXPECT_EQ(saved(single(g), HOROS_CONTROL(exit_info_2)), 0xc00180u);
    g.machine.deviations.set(Deviation::TABLE_BASES_64);
    EXPECT_EQ(saved(single(g), HOROS_CONTROL(exit_info_2)), 0x80000000c00180u);
}

// ---- found on Bochs ----

// Bits of CR0 that are reserved are not to be changed (§3.1.1): whether the selective intercept
// counts them is not said.
TEST(BochsRegressions, SelectiveCr0WriteOfReservedBitsIsOpen) {
    GuestBuilder g;
    g.code({0x0f, 0x22, 0xc0}).intercept(Misc1::CR0_SEL_WRITE);
    g.save().rax = g.save().cr0 ^ (1ull << 20 | x86::cr0::MP);
    EXPECT_EQ(single(g).kind, OutcomeKind::UNSPECIFIED);
    g.save().rax ^= x86::cr0::AM; // a bit that counts beside it
    EXPECT_EQ(exit_code_name(single(g).exit_code), "VMEXIT_CR0_SEL_WRITE");
}

// The processor sets the accessed bit of a descriptor that it loads (§4.7.2); the handler's is no
// exception.
TEST(BochsRegressions, HandlerWhoseDescriptorIsNotAccessedIsOpen) {
    GuestBuilder g;
    g.code({0xcd, 0x30});
    EXPECT_EQ(exit_code_name(single(g).exit_code), "VMEXIT_VMMCALL");
    g.ram[GuestBuilder::GDT + 0x08 + 5] &= 0xfe;
    EXPECT_EQ(single(g).kind, OutcomeKind::UNSPECIFIED);
}

// LGDT may read its limit or its base first.
TEST(BochsRegressions, EitherPartOfAPseudoDescriptorMayFault) {
    constexpr uint64_t UNMAPPED = 0x7f0000000000;
    GuestBuilder g;
    g.code({0x0f, 0x01, 0x13}); // lgdt [rbx]
    g.machine.guest.gpr[static_cast<size_t>(Gpr::RBX)] = UNMAPPED;
    g.control().intercept_exceptions = 1u << 14;
    const Prediction p = predict(g.machine);
    ASSERT_EQ(p.allowed.size(), 2u);
    EXPECT_EQ(saved(p.allowed[0], HOROS_CONTROL(exit_info_2)), UNMAPPED);
    EXPECT_EQ(saved(p.allowed[1], HOROS_CONTROL(exit_info_2)), UNMAPPED + 2);
}

// §13.1.1.4: what an instruction breakpoint with a length does is undefined.
TEST(BochsRegressions, InstructionBreakpointsWithALengthAreOpen) {
    GuestBuilder g;
    g.code({0x90});
    g.save().dr7 = 0x408; // G1
    EXPECT_EQ(exit_code_name(single(g).exit_code), "VMEXIT_VMMCALL");
    g.save().dr7 |= 2u << 22; // LEN1
    EXPECT_EQ(single(g).kind, OutcomeKind::UNSPECIFIED);
    g.save().dr7 &= ~0x8ull; // not enabled
    EXPECT_EQ(exit_code_name(single(g).exit_code), "VMEXIT_VMMCALL");
}

// A CS of type 0 does not become an LDT by being made data.
TEST(BochsRegressions, RealModeCodeSegmentOfNoKind) {
    GuestBuilder g;
    g.real_mode().code({0x90});
    g.save().cs.attributes = x86::seg::P;
    EXPECT_EQ(exit_code_name(single(g).exit_code), "VMEXIT_VMMCALL");
    g.machine.deviations.set(Deviation::REAL_CS_DATA);
    g.machine.deviations.set(Deviation::SEGMENT_KINDS);
    EXPECT_EQ(single(g).kind, OutcomeKind::UNSPECIFIED);
}

// §8.2.13: the error code of a stack pointer that is not canonical is 0.
TEST(BochsRegressions, StackPointerOfTheTssThatIsNotCanonical) {
    GuestBuilder g;
    g.cpl3().code({0xf1});
    g.put(GuestBuilder::TSS + 4, 1ull << 63);
    g.control().intercept_exceptions = 1u << 12;
    EXPECT_EQ(exit_code_name(single(g).exit_code), "VMEXIT_EXCP12");
    EXPECT_EQ(saved(single(g), HOROS_CONTROL(exit_info_1)), 0u);
    g.machine.deviations.set(Deviation::TSS_STACK_NAMES_SS);
    EXPECT_EQ(saved(single(g), HOROS_CONTROL(exit_info_1)), 0x21u);
}

// What kills a part is predicted only where nothing else can happen first.
TEST(BochsRegressions, DeathsArePredicted) {
    GuestBuilder g;
    g.protected32();
    g.code({0x50}); // push eax
    g.save().ss.attributes &= static_cast<uint16_t>(~x86::seg::WRITABLE);
    g.machine.deviations.set(Deviation::STACK_ASSERT);
    EXPECT_TRUE(single(g).why.starts_with("dies: "));
    g.machine.deviations = {};
    EXPECT_FALSE(single(g).why.starts_with("dies: "));
}

} // namespace
} // namespace horos::model::svm::test
