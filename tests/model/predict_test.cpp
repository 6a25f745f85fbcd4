// Examples of whole outcomes, each with the section of the manual that says so.
#include "guest_builder.hpp"

#include <gtest/gtest.h>

namespace horos::model::svm::test {
namespace {

using horos::svm::EventType;
using horos::svm::Misc1;
using horos::svm::Misc2;
using x86::Vector;

std::string described(const Prediction& p) {
    std::string text;
    for (const Outcome& o : p.allowed) {
        text +=
            std::string(kind_name(o.kind)) + " " + exit_code_name(o.exit_code) + " " + o.why + "; ";
    }
    return text;
}
#define EXPECT_GUEST_EXIT(builder, exit_name)                                                      \
    const Prediction p = predict((builder).machine);                                               \
    ASSERT_EQ(p.allowed.size(), 1u) << described(p);                                               \
    const Outcome& out = p.allowed[0];                                                             \
    ASSERT_EQ(out.kind, OutcomeKind::EXIT) << described(p);                                        \
    EXPECT_EQ(exit_code_name(out.exit_code), exit_name)

TEST(Predict, EmptyProgramEndsInVmmcall) {
    GuestBuilder g;
    g.code({});
    EXPECT_GUEST_EXIT(g, "VMEXIT_VMMCALL");
    EXPECT_EQ(saved(out, HOROS_SAVE(rip)), g.CODE);
    EXPECT_EQ(saved(out, HOROS_CONTROL(exit_int_info)) >> 31 & 1, 0u);
    EXPECT_EQ(out.instructions, 0u);
}

TEST(Predict, CpuidInterceptComesFirst) {
    GuestBuilder g;
    g.code({0x0f, 0xa2}).cpl3().intercept(Misc1::CPUID);
    EXPECT_GUEST_EXIT(g, "VMEXIT_CPUID");
    EXPECT_EQ(saved(out, HOROS_SAVE(rip)), g.CODE);
}

TEST(Predict, CpuidWithoutInterceptReturnsTheProfile) {
    GuestBuilder g;
    g.code({0x0f, 0xa2});
    g.save().rax = 0x8000000a;
    EXPECT_GUEST_EXIT(g, "VMEXIT_VMMCALL");
    EXPECT_EQ(saved(out, HOROS_SAVE(rip)), g.CODE + 2);
    EXPECT_EQ(out.gpr[static_cast<size_t>(Gpr::RBX)].value, 0x10u);
    EXPECT_EQ(out.gpr[static_cast<size_t>(Gpr::RDX)].value, 0x10010001u);
}

TEST(Predict, NextRipOnlyWhereTheProfileHasIt) {
    GuestBuilder without("qemu-7.2-max");
    without.code({0x0f, 0xa2}).intercept(Misc1::CPUID);
    EXPECT_EQ(saved_known(without.only(), HOROS_CONTROL(next_rip)), 0u);
    GuestBuilder with("amd-zen3-milan");
    with.code({0x0f, 0xa2}).intercept(Misc1::CPUID);
    EXPECT_EQ(saved(with.only(), HOROS_CONTROL(next_rip)), with.CODE + 2);
    EXPECT_EQ(saved_known(with.only(), HOROS_CONTROL(next_rip)), ~0ull);
}

// Table 15-7: HLT checks CPL first.
TEST(Predict, HltFaultsAtCpl3BeforeItsIntercept) {
    GuestBuilder g;
    g.code({0xf4}).cpl3().intercept(Misc1::HLT);
    g.control().intercept_exceptions = 1u << 13;
    EXPECT_GUEST_EXIT(g, "VMEXIT_EXCP13");
    EXPECT_EQ(saved(out, HOROS_CONTROL(exit_info_1)), 0u);
}

TEST(Predict, HltWithoutInterceptHalts) {
    GuestBuilder g;
    g.code({0xf4});
    const Prediction p = predict(g.machine);
    ASSERT_EQ(p.allowed.size(), 1u);
    EXPECT_EQ(p.allowed[0].kind, OutcomeKind::HALTED);
}

TEST(Predict, RdmsrUsesTheMap) {
    GuestBuilder g;
    g.code({0x0f, 0x32}).intercept(Misc1::MSR_PROT);
    g.machine.guest.gpr[static_cast<size_t>(Gpr::RCX)] = x86::msr::LSTAR;
    g.machine.guest.lstar = 0x1234;
    {
        EXPECT_GUEST_EXIT(g, "VMEXIT_VMMCALL");
        EXPECT_EQ(saved(out, HOROS_SAVE(rax)), 0x1234u);
    }
    g.ram[g.MSRPM + 0x800 + 0x82 / 4] = 1 << (2 * (0x82 % 4));
    {
        EXPECT_GUEST_EXIT(g, "VMEXIT_MSR");
        EXPECT_EQ(saved(out, HOROS_CONTROL(exit_info_1)), 0u);
    }
}

TEST(Predict, MsrOutsideTheMapAlwaysExits) {
    GuestBuilder g;
    g.code({0x0f, 0x30}).intercept(Misc1::MSR_PROT);
    g.machine.guest.gpr[static_cast<size_t>(Gpr::RCX)] = 0x40000000;
    EXPECT_GUEST_EXIT(g, "VMEXIT_MSR");
    EXPECT_EQ(saved(out, HOROS_CONTROL(exit_info_1)), 1u);
}

TEST(Predict, OutImmediateExitInformation) {
    GuestBuilder g;
    g.code({0x66, 0xe7, 0x80}).intercept(Misc1::IOIO_PROT); // out 0x80, ax
    g.ram[g.IOPM + 0x81 / 8] = 1 << (0x81 % 8);             // the second byte's port
    EXPECT_GUEST_EXIT(g, "VMEXIT_IOIO");
    namespace io = horos::svm::ioio;
    EXPECT_EQ(saved(out, HOROS_CONTROL(exit_info_1)) & 0xffff03ff,
              (0x80u << 16) | io::SZ16 | io::A64);
    EXPECT_EQ(saved(out, HOROS_CONTROL(exit_info_2)), g.CODE + 3);
}

TEST(Predict, GenericCr0WriteBeatsTheSelectiveOne) {
    GuestBuilder g;
    g.code({0x0f, 0x22, 0xc0}).intercept(Misc1::CR0_SEL_WRITE); // mov cr0, rax
    g.save().rax = g.save().cr0 | x86::cr0::AM;
    {
        EXPECT_GUEST_EXIT(g, "VMEXIT_CR0_SEL_WRITE");
    }
    g.control().intercept_cr = horos::svm::intercept_write(0);
    {
        EXPECT_GUEST_EXIT(g, "VMEXIT_CR0_WRITE");
    }
}

TEST(Predict, SelectiveCr0WriteIgnoresTs) {
    GuestBuilder g;
    g.code({0x0f, 0x22, 0xc0}).intercept(Misc1::CR0_SEL_WRITE);
    g.save().rax = g.save().cr0 | x86::cr0::TS | x86::cr0::MP;
    EXPECT_GUEST_EXIT(g, "VMEXIT_VMMCALL");
    EXPECT_EQ(saved(out, HOROS_SAVE(cr0)), g.save().rax);
}

TEST(Predict, VmmcallWithoutInterceptIsUd) {
    GuestBuilder g;
    g.code({});
    g.control().intercept_misc2 = bit(Misc2::VMRUN);
    g.control().intercept_exceptions = 1u << 6;
    EXPECT_GUEST_EXIT(g, "VMEXIT_EXCP6");
}

TEST(Predict, InjectedInterruptGoesThroughTheIdt) {
    GuestBuilder g;
    g.code({});
    g.control().event_inj = horos::svm::make_event(EventType::INTR, 0x40);
    EXPECT_GUEST_EXIT(g, "VMEXIT_VMMCALL");
    EXPECT_EQ(saved(out, HOROS_SAVE(rip)), g.HANDLERS + 4 * 0x40);
    EXPECT_EQ(saved(out, HOROS_SAVE(rsp)), g.STACK - 40);
    EXPECT_TRUE(out.event_delivered);
}

// §15.20: secondary exceptions are subject to intercepts, the injected event is in EXITINTINFO.
TEST(Predict, InjectionThatFaultsReportsTheEvent) {
    GuestBuilder g;
    g.code({});
    g.save().idtr.limit = 0;
    g.control().event_inj = horos::svm::make_event(EventType::NMI, 2);
    g.control().intercept_exceptions = 1u << 13;
    EXPECT_GUEST_EXIT(g, "VMEXIT_EXCP13");
    EXPECT_EQ(saved(out, HOROS_CONTROL(exit_info_1)), 2u * 8 + 2 + 1);
    EXPECT_EQ(saved(out, HOROS_CONTROL(exit_int_info)) & 0xffffffff,
              horos::svm::make_event(EventType::NMI, 2));
}

TEST(Predict, TripleFaultIsShutdown) {
    GuestBuilder g;
    g.code({0x0f, 0x0b});
    g.save().idtr.limit = 0;
    {
        const Prediction p = predict(g.machine);
        ASSERT_EQ(p.allowed.size(), 1u);
        EXPECT_EQ(p.allowed[0].kind, OutcomeKind::SHUTDOWN);
    }
    g.intercept(Misc1::SHUTDOWN);
    {
        EXPECT_GUEST_EXIT(g, "VMEXIT_SHUTDOWN");
    }
}

// §15.12: the second exception's intercept is checked before it is combined.
TEST(Predict, InterceptedGpBeatsDoubleFault) {
    GuestBuilder g;
    g.code({0xcd, 0x30}); // int 0x30 with a gate that is not present...
    g.put(g.IDT + 16 * 0x30, 0);
    g.save().idtr.limit = 16 * 0x31 - 1;
    g.control().intercept_exceptions = 1u << 13;
    EXPECT_GUEST_EXIT(g, "VMEXIT_EXCP13");
    EXPECT_EQ(saved(out, HOROS_CONTROL(exit_info_1)), 0x30u * 8 + 2);
    EXPECT_EQ(saved(out, HOROS_SAVE(rip)), g.CODE);
}

TEST(Predict, VirtualInterruptWaitsForIf) {
    GuestBuilder g;
    g.code({0xfb, 0x90}); // sti; nop
    g.control().int_ctl = horos::svm::int_ctl::V_IRQ | (5u << 16);
    g.control().v_intr_vector = 0x50;
    EXPECT_GUEST_EXIT(g, "VMEXIT_VMMCALL");
    // The shadow covers the NOP.
    EXPECT_EQ(saved(out, HOROS_SAVE(rip)), g.HANDLERS + 4 * 0x50);
    EXPECT_EQ(saved(out, HOROS_CONTROL(int_ctl), 4) & horos::svm::int_ctl::V_IRQ, 0u);
    EXPECT_EQ(out.instructions, 2u);
}

TEST(Predict, VirtualInterruptBelowTprIsHeld) {
    GuestBuilder g;
    g.code({0x90});
    g.save().rflags |= x86::rflags::IF;
    g.control().int_ctl = horos::svm::int_ctl::V_IRQ | (5u << 16) | 5u;
    g.control().v_intr_vector = 0x50;
    {
        EXPECT_GUEST_EXIT(g, "VMEXIT_VMMCALL");
        EXPECT_EQ(saved(out, HOROS_SAVE(rip)), g.CODE + 1);
    }
    g.control().int_ctl |= horos::svm::int_ctl::V_IGN_TPR;
    g.intercept(Misc1::VINTR);
    {
        EXPECT_GUEST_EXIT(g, "VMEXIT_VINTR");
        EXPECT_NE(saved(out, HOROS_CONTROL(int_ctl), 4) & horos::svm::int_ctl::V_IRQ, 0u);
    }
}

TEST(Predict, VgifHoldsVirtualInterruptsBack) {
    GuestBuilder g;
    namespace ic = horos::svm::int_ctl;
    g.code({0x0f, 0x01, 0xdc}); // stgi
    g.save().rflags |= x86::rflags::IF;
    g.control().int_ctl = ic::V_IRQ | ic::V_IGN_TPR | ic::V_GIF_ENABLE;
    g.control().v_intr_vector = 0x60;
    EXPECT_GUEST_EXIT(g, "VMEXIT_VMMCALL");
    EXPECT_EQ(out.instructions, 1u);
    EXPECT_EQ(saved(out, HOROS_SAVE(rip)), g.HANDLERS + 4 * 0x60);
    EXPECT_NE(saved(out, HOROS_CONTROL(int_ctl), 4) & ic::V_GIF, 0u);
}

TEST(Predict, PhysicalInterruptUnderIntrMasking) {
    GuestBuilder g;
    g.code({0x90}).intercept(Misc1::INTR);
    g.machine.pending.intr = 0x70;
    {
        EXPECT_GUEST_EXIT(g, "VMEXIT_VMMCALL"); // the guest's IF is clear
    }
    g.control().int_ctl = horos::svm::int_ctl::V_INTR_MASKING;
    g.machine.host.rflags |= x86::rflags::IF;
    {
        EXPECT_GUEST_EXIT(g, "VMEXIT_INTR");
    }
}

TEST(Predict, NestedFaultOnTheFinalPage) {
    GuestBuilder g;
    g.code({0x48, 0x89, 0x04, 0x25, 0x00, 0x00, 0x05, 0x00}).nested_paging(); // mov [0x50000], rax
    g.put(g.NESTED + 0x3000 + 8 * 0x50, (0x50ull << 12) | x86::pte::P | x86::pte::US);
    EXPECT_GUEST_EXIT(g, "VMEXIT_NPF");
    namespace npf = horos::svm::npf;
    EXPECT_EQ(saved(out, HOROS_CONTROL(exit_info_1)), npf::P | npf::RW | npf::US | npf::FINAL);
    EXPECT_EQ(saved(out, HOROS_CONTROL(exit_info_2)), 0x50000u);
}

// §15.25.5: walks of the guest's tables are user writes.
TEST(Predict, NestedFaultOnTheGuestTables) {
    GuestBuilder g;
    g.code({0x90}).nested_paging();
    g.put(g.NESTED + 0x3000 + 8 * (g.TABLES >> 12), g.TABLES | x86::pte::P | x86::pte::US);
    EXPECT_GUEST_EXIT(g, "VMEXIT_NPF");
    namespace npf = horos::svm::npf;
    EXPECT_EQ(saved(out, HOROS_CONTROL(exit_info_1)), npf::P | npf::RW | npf::US | npf::TABLE);
    EXPECT_EQ(saved(out, HOROS_CONTROL(exit_info_2)), g.TABLES);
}

TEST(Predict, PageFaultInterceptLeavesCr2) {
    GuestBuilder g;
    g.code({0x48, 0x8b, 0x04, 0x25, 0x00, 0x00, 0x40, 0x00}); // mov rax, [0x400000]
    g.control().intercept_exceptions = 1u << 14;
    g.save().cr2 = 0x77;
    EXPECT_GUEST_EXIT(g, "VMEXIT_EXCP14");
    EXPECT_EQ(saved(out, HOROS_CONTROL(exit_info_1)), 0u);
    EXPECT_EQ(saved(out, HOROS_CONTROL(exit_info_2)), 0x400000u);
    EXPECT_EQ(saved(out, HOROS_SAVE(cr2)), 0x77u);
}

TEST(Predict, Int3InterceptSavesItsOwnRip) {
    GuestBuilder g("amd-zen3-milan");
    g.code({0xcc});
    g.control().intercept_exceptions = 1u << 3;
    EXPECT_GUEST_EXIT(g, "VMEXIT_EXCP3");
    EXPECT_EQ(saved(out, HOROS_SAVE(rip)), g.CODE);
    EXPECT_EQ(saved(out, HOROS_CONTROL(next_rip)), g.CODE + 1);
}

TEST(Predict, IcebpIgnoresTheDbIntercept) {
    GuestBuilder g;
    g.code({0xf1});
    g.control().intercept_exceptions = 1u << 1;
    {
        EXPECT_GUEST_EXIT(g, "VMEXIT_VMMCALL");
        EXPECT_EQ(saved(out, HOROS_SAVE(rip)), g.HANDLERS + 4);
    }
    g.intercept(Misc2::ICEBP);
    {
        EXPECT_GUEST_EXIT(g, "VMEXIT_ICEBP");
    }
}

// Table 15-7: XSETBV checks the intercept before #GP.
TEST(Predict, XsetbvInterceptBeforeGp) {
    GuestBuilder g;
    g.code({0x0f, 0x01, 0xd1}).cpl3().intercept(Misc2::XSETBV);
    g.save().cr4 |= x86::cr4::OSXSAVE;
    EXPECT_GUEST_EXIT(g, "VMEXIT_XSETBV");
}

TEST(Predict, TrapFlagAfterTheFirstInstruction) {
    GuestBuilder g;
    g.code({0x90, 0x90});
    g.save().rflags |= x86::rflags::TF;
    g.control().intercept_exceptions = 1u << 1;
    EXPECT_GUEST_EXIT(g, "VMEXIT_EXCP1");
    EXPECT_EQ(saved(out, HOROS_SAVE(rip)), g.CODE + 1);
    EXPECT_NE(saved(out, HOROS_SAVE(dr6)) & x86::dr6::BS, 0u);
}

TEST(Predict, RealModeInterrupt) {
    GuestBuilder g;
    g.code({0xcd, 0x21}).real_mode(); // int 0x21
    g.put(4 * 0x21, 0x1000'0100, 4);  // 1000:0100
    g.put(0x10100, 0xd9010f, 3);
    EXPECT_GUEST_EXIT(g, "VMEXIT_VMMCALL");
    EXPECT_EQ(saved(out, HOROS_SAVE(rip)), 0x100u);
    EXPECT_EQ(saved(out, HOROS_SAVE(rsp)), 0x7ffau);
}

// An interrupt's frame is defined altogether, so that IRET takes the guest back.
TEST(Predict, HandlerReturnsByIret) {
    GuestBuilder g;
    g.code({0x90});
    g.put(g.HANDLERS + 4 * 0x40, 0xcf48, 2); // iretq
    g.control().event_inj = horos::svm::make_event(EventType::INTR, 0x40);
    EXPECT_GUEST_EXIT(g, "VMEXIT_VMMCALL");
    EXPECT_EQ(saved(out, HOROS_SAVE(rip)), g.CODE + 1);
    EXPECT_EQ(saved(out, HOROS_SAVE(rsp)), g.STACK);
    EXPECT_EQ(out.instructions, 2u);
}

// Found by the fuzzer: sequential flow in 16-bit code does not wrap at 64 KiB.
TEST(Predict, SixteenBitCodeBeyond64KiB) {
    GuestBuilder g;
    g.code({0x90}).protected32();
    g.save().cs.attributes = x86::seg::CODE16;
    EXPECT_GUEST_EXIT(g, "VMEXIT_VMMCALL");
    EXPECT_EQ(saved(out, HOROS_SAVE(rip)), g.CODE + 1); // CODE is 0x10000
}

// Found by the fuzzer: reserved flags and wide SYSENTER_CS are not promised to be kept or dropped.
TEST(Predict, LoadedReservedBitsAreOpen) {
    GuestBuilder g;
    g.code({});
    g.save().rflags |= 1ull << 40;
    g.machine.guest.sysenter_cs = 0x4000000000008;
    g.control().event_inj = horos::svm::make_event(EventType::INTR, 0x40);
    const Outcome out = g.only();
    EXPECT_EQ(out.sysenter_cs.known, 0xffffu);
    for (const MemoryWrite& w : out.writes) {
        if (w.address == g.STACK - 24 + 5) {
            EXPECT_EQ(w.known, 0xfe);
        }
    }
}

TEST(Predict, InvalidStateSavesOnlyTheExitCode) {
    GuestBuilder g;
    g.code({});
    g.save().cr0 |= x86::cr0::NW;
    const Prediction p = predict(g.machine);
    ASSERT_EQ(p.allowed.size(), 1u);
    EXPECT_EQ(p.allowed[0].kind, OutcomeKind::INVALID);
    EXPECT_TRUE(p.broken[static_cast<size_t>(RuleId::SAVE_CR0_CD_NW)]);
    EXPECT_EQ(p.broken.count(), 1u);
}

TEST(Predict, AsidBeyondTheCountMayBeEither) {
    GuestBuilder g;
    g.code({});
    g.control().guest_asid = 0x1000;
    const Prediction p = predict(g.machine);
    ASSERT_EQ(p.allowed.size(), 2u);
    EXPECT_EQ(p.allowed[0].kind, OutcomeKind::INVALID);
    EXPECT_EQ(p.allowed[1].kind, OutcomeKind::EXIT);
}

TEST(Predict, MisalignedRaxFaultsInTheHost) {
    GuestBuilder g;
    g.code({});
    g.machine.host.rax = 0x1008;
    const Prediction p = predict(g.machine);
    ASSERT_EQ(p.allowed.size(), 1u);
    EXPECT_EQ(p.allowed[0].kind, OutcomeKind::FAULT);
    EXPECT_EQ(p.allowed[0].fault.vector, Vector::GP);
}

TEST(Predict, UdBeatsGpInTheHost) {
    GuestBuilder g;
    g.code({});
    g.machine.host.rax = 0x1008;
    g.machine.host.efer &= ~x86::efer::SVME;
    const Prediction p = predict(g.machine);
    ASSERT_EQ(p.allowed.size(), 1u);
    EXPECT_EQ(p.allowed[0].fault.vector, Vector::UD);
}

TEST(Compare, FindsTheFirstWrongFieldAndAllowsTheRest) {
    GuestBuilder g;
    g.code({});
    const Prediction p = predict(g.machine);
    auto seen_vmcb = std::make_unique<Vmcb>();
    std::memcpy(static_cast<void*>(seen_vmcb.get()), p.allowed[0].vmcb.value.data(), 4096);
    Observation seen;
    seen.vmcb = seen_vmcb.get();
    EXPECT_TRUE(compare(p, g.machine, seen).empty());
    seen_vmcb->save.rip += 3;
    seen_vmcb->control.exit_info_1 = 0x1234; // undefined for VMMCALL
    const std::vector<Difference> d = compare(p, g.machine, seen);
    ASSERT_EQ(d.size(), 1u);
    EXPECT_EQ(d[0].field, "save.rip");
    EXPECT_EQ(d[0].observed, g.CODE + 3);
}

} // namespace
} // namespace horos::model::svm::test
