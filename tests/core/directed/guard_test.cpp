// The entry guard: every rule that it can name, nothing changed after a refusal, the VMM's wishes
// in the control block after an acceptance.
#include "kernel/svm/quirks.hpp"
#include "spec/invariants.hpp"
#include "support/check.hpp"
#include "support/scenario.hpp"
#include <cstring>
#include <gtest/gtest.h>
#include <rapidcheck.h>

namespace horos::test {

using svm::RuleId;

struct Guard : testing::Test {
    Scenario w;
    Frame vcpu = 0;

    void SetUp() override {
        w.build();
        vcpu = w.object(sel::vcpu1);
    }
    VcpuState& page() { return state_pages[vcpus[vcpu].state].state; }
    svm::Vmcb& block() { return vmcbs[vcpus[vcpu].control]; }

    // A request that the guard accepts: 64-bit mode.
    void ask_for_long_mode() {
        journal_begin();
        VcpuState& s = page();
        std::memset(&s, 0, sizeof s);
        s.deadline = no_deadline;
        s.dirty = group::all;
        s.cr0 = x86::cr0::PG | x86::cr0::PE | x86::cr0::ET;
        s.cr4 = x86::cr4::PAE;
        s.efer = x86::efer::LME | x86::efer::LMA;
        s.cs.attributes = x86::seg::L;
        s.dr6 = x86::dr6::RESET;
        s.dr7 = x86::dr7::RESET;
        s.pat = x86::PAT_RESET;
        s.xcr0 = 1;
    }
    Outcome run() { return w.s.call(0, Call::vcpu_run, {sel::vcpu1}); }

    template <class Change>
    void refuses(u32 rule, Change change) {
        ask_for_long_mode();
        change(page());
        const svm::Vmcb before = block();
        const StatePage page_before = state_pages[vcpus[vcpu].state];
        const Vcpu vcpu_before = vcpus[vcpu];
        const u64 entries = w.s.guest_entries;
        const Outcome out = run();
        EXPECT_EQ(out.error, Error::guard) << "rule " << rule;
        EXPECT_EQ(out.values.v[0], rule);
        EXPECT_EQ(w.s.guest_entries, entries);
        EXPECT_EQ(std::memcmp(&before, &block(), sizeof before), 0) << "rule " << rule;
        EXPECT_EQ(std::memcmp(&page_before, &state_pages[vcpus[vcpu].state], frame_size), 0);
        EXPECT_EQ(std::memcmp(&vcpu_before, &vcpus[vcpu], sizeof(Vcpu)), 0);
        EXPECT_NO_THROW(check_invariants());
    }
    template <class Change>
    void refuses(RuleId rule, Change change) {
        refuses(static_cast<u32>(rule), change);
    }
    template <class Change>
    void accepts(Change change) {
        ask_for_long_mode();
        change(page());
        const Outcome out = run();
        EXPECT_TRUE(out.ok()) << "rule " << out.values.v[0];
        EXPECT_NO_THROW(check_invariants());
    }
};

TEST_F(Guard, NamesEachRuleOfTheRegisters) {
    refuses(RuleId::SAVE_EFER_MBZ, [](VcpuState& s) { s.efer |= 2; });
    refuses(RuleId::SAVE_CR0_CD_NW, [](VcpuState& s) { s.cr0 |= x86::cr0::NW; });
    refuses(RuleId::SAVE_CR0_HIGH, [](VcpuState& s) { s.cr0 |= u64{1} << 32; });
    refuses(RuleId::SAVE_CR3_MBZ, [](VcpuState& s) { s.cr3 = u64{1} << 40; });
    refuses(RuleId::SAVE_CR4_MBZ, [](VcpuState& s) { s.cr4 |= u64{1} << 31; });
    refuses(RuleId::SAVE_DR6_HIGH, [](VcpuState& s) { s.dr6 |= u64{1} << 32; });
    refuses(RuleId::SAVE_DR7_HIGH, [](VcpuState& s) { s.dr7 |= u64{1} << 63; });
    for (u32 i = 0; i < 8; ++i) {
        for (const u64 type : {2, 3, 8, 255})
            refuses(RuleId::CTL_NP_GPAT,
                    [=](VcpuState& s) { s.pat = (s.pat & ~(u64{0xff} << 8 * i)) | type << 8 * i; });
    }
}

TEST_F(Guard, NamesEachRuleOfPaging) {
    refuses(RuleId::SAVE_LME_PG_PAE, [](VcpuState& s) { s.cr4 = 0; });
    refuses(RuleId::SAVE_LME_PG_PE, [](VcpuState& s) { s.cr0 = x86::cr0::PG; });
    refuses(RuleId::SAVE_CS_L_D, [](VcpuState& s) { s.cs.attributes |= x86::seg::DB; });
}

TEST_F(Guard, NamesEachRuleOfEvents) {
    for (const u64 type : {1, 5, 6, 7})
        refuses(RuleId::CTL_EVENT_TYPE,
                [=](VcpuState& s) { s.inject = event::valid | type << event::type_shift; });
    const auto exception = [](u64 vector) {
        return event::valid | event::exception << event::type_shift | vector;
    };
    for (const u64 vector : {2, 15, 20, 22, 27, 31, 32, 255})
        refuses(RuleId::CTL_EVENT_VECTOR, [=](VcpuState& s) { s.inject = exception(vector); });
    for (const u64 vector : {9, 21, 28, 29}) // no guest of Horos has these
        refuses(RuleId::CTL_EVENT_VECTOR_FEATURE,
                [=](VcpuState& s) { s.inject = exception(vector); });
    refuses(RuleId::CTL_EVENT_MODE, [=](VcpuState& s) { s.inject = exception(5); });
    refuses(RuleId::CTL_EVENT_MODE_OF, [=](VcpuState& s) { s.inject = exception(4); });
}

// An event that the kernel is still to deliver counts with the mode that the VMM changes.
TEST_F(Guard, LooksAtAPendingEventToo) {
    accepts([](VcpuState& s) { s.cs.attributes = 0; });
    refuses(RuleId::CTL_EVENT_MODE, [this](VcpuState& s) {
        block().control.event_inj = event::valid | event::exception << event::type_shift | 5;
        s.dirty = group::segments;
    });
}

TEST_F(Guard, NamesItsOwnRules) {
    for (const u64 x : {u64{0}, u64{2}, u64{5}, u64{9}})
        refuses(guard_rule::xcr0, [=](VcpuState& s) { s.xcr0 = x; });
    refuses(guard_rule::extra_exits, [](VcpuState& s) { s.extra_exits = extra_exit::known + 1; });
}

TEST_F(Guard, RefusesOnQemuWhatItsHostWouldNotSurvive) {
    machine.loses_paging = 1;
    refuses(guard_rule::long_mode_without_pae, [](VcpuState& s) {
        s.cr0 = x86::cr0::PE;
        s.cr4 = 0;
    });
    accepts([](VcpuState&) {});
    EXPECT_NE(block().control.intercept_misc1 & bit(svm::Misc1::CR0_SEL_WRITE), 0u);
    accepts([](VcpuState& s) { s.cr0 = x86::cr0::PE; });
    EXPECT_NE(block().control.intercept_cr & svm::intercept_write(4), 0u);
}

TEST_F(Guard, AcceptsTheOtherSideOfEachRule) {
    accepts([](VcpuState&) {});
    accepts([](VcpuState& s) { s.efer |= x86::efer::SCE | x86::efer::NXE; });
    accepts([](VcpuState& s) { s.cr0 |= x86::cr0::NW | x86::cr0::CD; });
    accepts([](VcpuState& s) { s.cr3 = (u64{1} << 40) - 1; });
    accepts([](VcpuState& s) { s.dr6 = 0xffff'ffff; });
    accepts([](VcpuState& s) { s.cs.attributes = x86::seg::DB; });
    accepts([](VcpuState& s) { s.pat = 0x0706'0504'0100'0605; });
    accepts([](VcpuState& s) { s.xcr0 = 7; });
    accepts([](VcpuState& s) { s.extra_exits = extra_exit::known; });
    accepts([](VcpuState& s) { // legacy mode, no paging
        s.cr0 = x86::cr0::PE;
        s.efer = 0;
        s.cr4 = 0;
        s.cs.attributes = x86::seg::L | x86::seg::DB;
    });
    for (const u64 e :
         {u64{0x20}, event::nmi << 8 | 2, event::exception << 8 | 30, event::software << 8 | 0x80})
        accepts([=](VcpuState& s) { s.inject = event::valid | e; });
    accepts([](VcpuState& s) { s.inject = 7 << 8; }); // not valid: none
    for (const u64 vector : {4, 5})                   // #OF and #BR, outside 64-bit mode
        accepts([=](VcpuState& s) {
            s.cs.attributes = 0;
            s.inject = event::valid | event::exception << 8 | vector;
        });
}

TEST_F(Guard, HandsOverTheState) {
    u64 injected = 0;
    w.s.guest = [&](u32, svm::Vmcb& b) {
        injected = b.control.event_inj;
        EXPECT_EQ(b.save.rip, 0x1234u);
        EXPECT_EQ(b.save.rax, 11u);
        EXPECT_EQ(b.save.rsp, 22u);
        EXPECT_EQ(b.save.cpl, 3u);
        EXPECT_EQ(b.save.efer, x86::efer::LME | x86::efer::LMA | x86::efer::SVME);
        EXPECT_EQ(b.save.rflags & x86::rflags::ONE, x86::rflags::ONE);
        EXPECT_EQ(b.control.tsc_offset, 5u);
        EXPECT_EQ(b.control.intercept_exceptions, 1u << 13 | mandatory::exceptions);
        EXPECT_EQ(b.save.lstar, 0x7000u);
        EXPECT_EQ(b.save.tr.base, 0x8000u);
    };
    accepts([](VcpuState& s) {
        s.rip = 0x1234;
        s.gpr[0] = 11;
        s.gpr[4] = 22;
        s.ss.attributes = 3 << x86::seg::DPL_SHIFT;
        s.tsc_offset = 5;
        s.exception_exits = 1u << 13;
        s.lstar = 0x7000;
        s.tr.base = 0x8000;
        s.inject = event::valid | event::exception << 8 | 14 | event::has_error_code |
                   u64{6} << event::error_code_shift;
    });
    EXPECT_EQ(injected, event::valid | event::exception << 8 | 14 | event::has_error_code |
                            u64{6} << event::error_code_shift);
    EXPECT_EQ(page().dirty, 0u);
    EXPECT_EQ(page().inject, 0u);
}

TEST_F(Guard, CleanGroupsAreNotRead) {
    accepts([](VcpuState&) {});
    journal_begin();
    page().cr0 = ~u64{0};
    page().pat = ~u64{0};
    page().xcr0 = 0;
    page().cr2 = ~u64{0};
    page().inject = event::valid | 7 << event::type_shift;
    page().pending_interrupt = pending::valid | 0x40;
    page().deadline = 0;
    page().dirty = 0;
    EXPECT_TRUE(run().ok());
    EXPECT_EQ(block().save.cr0, x86::cr0::PG | x86::cr0::PE | x86::cr0::ET);
    EXPECT_EQ(block().save.cr2, 0u);
    EXPECT_EQ(block().control.int_ctl & svm::int_ctl::V_IRQ, 0u);
    EXPECT_EQ(vcpus[vcpu].deadline, no_deadline);
}

TEST_F(Guard, InterruptsAndWindows) {
    const auto control = [&](auto change) {
        u32 word = 0;
        w.s.guest = [&](u32, svm::Vmcb& b) {
            word = b.control.int_ctl;
            EXPECT_EQ((b.control.intercept_misc1 & bit(svm::Misc1::VINTR)) != 0,
                      (word & svm::int_ctl::V_IGN_TPR) != 0);
        };
        accepts(change);
        return word;
    };
    using namespace svm::int_ctl;
    EXPECT_EQ(control([](VcpuState& s) { s.tpr = 0xff; }), V_INTR_MASKING | V_TPR_PRIO);
    EXPECT_EQ(control([](VcpuState& s) { s.pending_interrupt = pending::valid | 0x53; }),
              V_INTR_MASKING | V_IRQ | 5u << V_INTR_PRIO_SHIFT);
    EXPECT_EQ(control([](VcpuState& s) { s.requests = request::window; }),
              V_INTR_MASKING | V_IRQ | V_IGN_TPR | V_INTR_PRIO);
    // A change of something else leaves the window open.
    EXPECT_EQ(control([](VcpuState& s) { s.dirty = group::policy; }),
              V_INTR_MASKING | V_IRQ | V_IGN_TPR | V_INTR_PRIO);
}

// Whatever is asked for, the result is a refusal without change or a control block that keeps the
// kernel's own promises.
TEST_F(Guard, AnyRequestIsRefusedOrSafe) {
    const bool passed = rc::check("any request is refused or safe", [this] {
        const auto words = *rc::gen::container<std::vector<u64>>(
            sizeof(VcpuState) / 8, rc::gen::resize(100, rc::gen::arbitrary<u64>()));
        ask_for_long_mode();
        VcpuState random;
        std::memcpy(&random, words.data(), sizeof random);
        VcpuState& s = page();
        const u32 groups = *rc::gen::inRange<u32>(0, group::all + 1);
        s.dirty = groups;
        if (*rc::gen::inRange(0, 4) == 0)
            std::memcpy(&s, &random, sizeof random);
        s.extra_exits = random.extra_exits & extra_exit::known;
        s.exception_exits = random.exception_exits;
        s.requests = random.requests;
        const svm::Vmcb before = block();
        w.s.guest = nullptr;
        const Outcome out = run();
        RC_ASSERT(out.known);
        if (out.error == Error::guard)
            RC_ASSERT(std::memcmp(&before, &block(), sizeof before) == 0);
        RC_ASSERT(spec::inv_vmcb_intercepts(vcpu) && spec::inv_vmcb_paging(vcpu));
        RC_ASSERT(spec::inv_vmcb_host_owned(vcpu) && spec::inv_vmcb_state(vcpu));
        check_invariants();
    });
    EXPECT_TRUE(passed);
}

} // namespace horos::test
