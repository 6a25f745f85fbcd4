// Divergences that need an earlier case: which one it is, and that the harness leaves none behind.
#include "horos/fuzz/arena.hpp"
#include "horos/fuzz/campaign.hpp"
#include "horos/fuzz/executor.hpp"
#include "sequence.hpp"

#include <algorithm>
#include <array>
#include <gtest/gtest.h>
#include <set>

namespace horos::fuzz {
namespace {

Case numbered(uint64_t number) {
    Case c;
    c.slot.id = number;
    return c;
}

std::vector<Case> numbered(uint64_t first, uint64_t last) {
    std::vector<Case> cases;
    for (uint64_t i = first; i <= last; ++i)
        cases.push_back(numbered(i));
    return cases;
}

std::vector<uint64_t> numbersOf(const std::vector<Case>& cases) {
    std::vector<uint64_t> numbers;
    for (const Case& c : cases)
        numbers.push_back(c.slot.id);
    return numbers;
}

// Shows after all of `culprits`, in whatever company.
ShowsAfter after(std::set<uint64_t> culprits, unsigned& asked) {
    return [culprits, &asked](const std::vector<Case>& cases) {
        ++asked;
        return std::all_of(culprits.begin(), culprits.end(), [&](uint64_t wanted) {
            return std::any_of(cases.begin(), cases.end(),
                               [&](const Case& c) { return c.slot.id == wanted; });
        });
    };
}

} // namespace

TEST(Sequence, OneCulpritIsFoundWhereverItIs) {
    for (uint64_t culprit : {1u, 2u, 500u, 999u, 1000u}) {
        unsigned asked = 0;
        const auto needed = neededBefore(numbered(1, 1000), after({culprit}, asked), 60);
        ASSERT_TRUE(needed);
        EXPECT_EQ(numbersOf(*needed), std::vector<uint64_t>{culprit});
        EXPECT_LE(asked, 25u);
    }
}

TEST(Sequence, TwoThatAreNeededTogetherAreFoundInTheirOrder) {
    unsigned asked = 0;
    const auto needed = neededBefore(numbered(1, 64), after({3, 40}, asked), 200);
    ASSERT_TRUE(needed);
    EXPECT_EQ(numbersOf(*needed), (std::vector<uint64_t>{3, 40}));
}

TEST(Sequence, WhatDoesNotShowIsSaidToNotShow) {
    unsigned asked = 0;
    EXPECT_FALSE(neededBefore(numbered(1, 10), after({11}, asked), 60));
    EXPECT_EQ(asked, 1u);
}

TEST(Sequence, WhenTriesRunOutTheRestStillShows) {
    unsigned asked = 0;
    const auto needed = neededBefore(numbered(1, 1000), after({1}, asked), 4);
    ASSERT_TRUE(needed);
    EXPECT_EQ(needed->front().slot.id, 1u);
    EXPECT_GT(needed->size(), 1u);
    EXPECT_EQ(asked, 4u);
}

// QEMU 7.2 keeps breakpoints that a guest armed (qemu-dr7-armed-afterwards in the triage file).
class LeftBehind : public testing::Test {
protected:
    explicit LeftBehind(TargetKind kind = TargetKind::QemuSvm, const char* profile = "qemu-7.2-max")
        : oracle_{svm_model::builtin_profile(profile)},
          triage_(Triage::load(triageFileFor(kind, versionOf(kind)))),
          target_(makeTarget({kind, HARNESS_ELF, HARNESS_ROM})),
          executor_(*target_, oracle_, [](horos::fuzz::Run&) {}) {
        executor_.start();
    }
    // A guest that arms a breakpoint or a watchpoint at `address`, and halts.
    static Case arms(uint64_t address, uint64_t dr7) {
        Case c;
        c.slot = baseCase(Mode::Long64, false);
        c.slot.save[offsetof(horos::svm::SaveArea, rax) / 8] = dr7;
        c.setCode(std::array<uint8_t, 4>{0x0f, 0x23, 0xf8, 0xf4}); // mov dr7, rax; hlt
        Oracle::settle(c);
        c.slot.dr[0] = address;
        return c;
    }
    static Case nop() {
        Case c;
        c.slot = baseCase(Mode::Long64, false);
        c.setCode(std::array<uint8_t, 2>{0x90, 0xf4});
        Oracle::settle(c);
        return c;
    }
    // A guest that reads the first bytes of the data page.
    static Case reads() {
        Case c;
        c.slot = baseCase(Mode::Long64, false);
        c.setCode(std::array<uint8_t, 3>{0x8a, 0x07, 0xf4}); // mov al, [rdi]; hlt
        c.slot.gpr[7] = DATA_ADDRESS;
        Oracle::settle(c);
        return c;
    }
    bool agrees(const Case& c) {
        const horos::fuzz::Run run = executor_.runAlone(c);
        return run.state == TargetState::Running && !judge(oracle_, run, triage_).divergence;
    }

    static constexpr uint64_t ENABLED = 0x401, WATCH_READS = 0x000f0401; // four bytes, L0
    Oracle oracle_;
    Triage triage_;
    std::unique_ptr<Target> target_;
    Executor executor_;
};

TEST_F(LeftBehind, TheHarnessDisarmsWhatAGuestArmed) {
    for (int round = 0; round < 3; ++round) {
        (void)executor_.runAlone(arms(CODE_ADDRESS, ENABLED));
        EXPECT_TRUE(agrees(nop()));
        (void)executor_.runAlone(arms(DATA_ADDRESS, WATCH_READS));
        EXPECT_TRUE(agrees(reads()));
    }
    EXPECT_EQ(executor_.restarts(), 0u);
}

// A guest that writes over a handler and runs it: QEMU keeps the translation unless its own
// processor writes there again.
TEST_F(LeftBehind, CodeThatAGuestWroteIsForgotten) {
    Case ud;
    ud.slot = baseCase(Mode::Long64, false);
    ud.setCode(std::array<uint8_t, 2>{0x0f, 0x0b});
    Case writes = ud;
    writes.slot.gpr[7] = CODE_ADDRESS + HANDLERS_OFFSET + 4 * 6;
    writes.slot.save[offsetof(horos::svm::SaveArea, rax) / 8] = 0x90;
    writes.setCode(std::array<uint8_t, 4>{0x88, 0x07, 0x0f, 0x0b}); // mov [rdi], al; ud2
    EXPECT_TRUE(agrees(ud));
    const horos::fuzz::Run run = executor_.runAlone(writes);
    EXPECT_FALSE(run.stray.empty());
    EXPECT_TRUE(agrees(ud));
    EXPECT_EQ(executor_.restarts(), 0u);
}

// An NMI that the guest takes masks further ones until an IRET, and an interrupt that it takes
// stays in service until the APIC is told; the halting guest does neither.
TEST_F(LeftBehind, EventsThatAGuestTookDoNotHoldBackLaterOnes) {
    using horos::svm::bit;
    using horos::svm::Misc1;
    for (bool nmi : {true, false})
        for (int round = 0; round < 3; ++round) {
            Case c = nop();
            c.slot.flags |= nmi ? wire::PEND_NMI : wire::PEND_INTR;
            auto v = c.vmcb();
            v.save.rflags |= 0x200;
            c.setVmcb(v);
            EXPECT_TRUE(agrees(c)) << "intercepted, " << (nmi ? "NMI" : "INTR");
            v.control.intercept_misc1 &= ~(bit(Misc1::NMI) | bit(Misc1::INTR));
            c.setVmcb(v);
            const horos::fuzz::Run taken = executor_.runAlone(c);
            EXPECT_EQ(taken.result.nmis + taken.result.intrs, 0u) << "the guest took it";
        }
}

// Bochs keeps what it decoded and runs it again without a look at the limit of CS, which here ends
// inside the instruction.
class LeftBehindOnBochs : public LeftBehind {
protected:
    LeftBehindOnBochs() : LeftBehind(TargetKind::BochsSvm, "bochs-2.7-ryzen") {}
};
TEST_F(LeftBehindOnBochs, CodeDecodedUnderALargerLimitIsForgotten) {
    Case wide;
    wide.slot = baseCase(Mode::Protected16, false);
    wide.setCode(std::array<uint8_t, 3>{0xe7, 0x80, 0xf4}); // out 0x80, ax; hlt
    Case narrow = wide;
    auto v = narrow.vmcb();
    v.save.cs.limit = 0;
    narrow.setVmcb(v);
    for (int round = 0; round < 3; ++round) {
        EXPECT_TRUE(agrees(wide));
        EXPECT_TRUE(agrees(narrow));
    }
}

// Without that (the flag that asks for it is taken away) the next guest stops at the breakpoint.
TEST_F(LeftBehind, TheCaseThatArmedItIsFound) {
    std::vector<Case> before(70, nop());
    for (size_t i = 0; i < before.size(); ++i)
        before[i].slot.gpr[1] = i;
    before[41] = arms(0, ENABLED);
    before[41].slot.gpr[3] = CODE_ADDRESS;
    before[41].setCode( // mov dr0, rbx; mov dr7, rax; hlt
        std::array<uint8_t, 7>{0x0f, 0x23, 0xc3, 0x0f, 0x23, 0xf8, 0xf4});
    before[41].slot.flags &= ~uint32_t{wire::DEBUG_REGS};
    const Case victim = nop();
    const auto shows = [&](const std::vector<Case>& cases) {
        return executor_.renew() && executor_.repeat(cases) && !agrees(victim);
    };
    EXPECT_FALSE(shows({}));
    const auto needed = neededBefore(before, shows, 60);
    ASSERT_TRUE(needed);
    ASSERT_EQ(needed->size(), 1u);
    EXPECT_EQ(contentName(needed->front()), contentName(before[41]));
}

} // namespace horos::fuzz
