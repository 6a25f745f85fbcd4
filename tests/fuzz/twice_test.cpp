// Cases of two VMRUNs: what the model allows after the first, and that the harness runs it.
#include "horos/defs/x86.hpp"
#include "horos/fuzz/campaign.hpp"
#include "horos/fuzz/executor.hpp"
#include "horos/fuzz/faults.hpp"
#include "horos/fuzz/report.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <set>

using namespace horos::fuzz;
using horos::svm::CleanBit;
using horos::svm::ExitCode;
using horos::svm::SaveArea;

namespace {

constexpr uint64_t SAVE_CR2 = wire::SAVE_OFFSET + offsetof(SaveArea, cr2);
constexpr uint64_t DATA_ENTRY = pageAddress(page::TABLES) + 8 * page::DATA;
constexpr uint64_t MOVED = pageAddress(page::SYSTEM) | 0x63; // present, writable, accessed, dirty

Case twice(std::initializer_list<uint8_t> code) {
    Case c;
    c.slot = baseCase(Mode::Long64, false);
    c.slot.flags |= wire::TWICE;
    c.setCode(std::vector<uint8_t>(code));
    auto v = c.vmcb();
    v.control.tlb_control = 0;
    c.setVmcb(v);
    Oracle::settle(c);
    return c;
}
void edit(Case& c, uint64_t place, uint64_t value) { c.slot.edit[c.slot.edits++] = {place, value}; }

// mov rax, cr2; hlt, with another CR2 at first.
Case changedCr2(uint32_t clean) {
    Case c = twice({0x0f, 0x20, 0xd0, 0xf4});
    auto v = c.vmcb();
    v.save.cr2 = 0x2000;
    v.control.clean_bits = clean;
    c.setVmcb(v);
    edit(c, SAVE_CR2, 0x1000);
    return c;
}

// mov rax, [rdi]; hlt, with another page there at first.
Case changedPage() {
    Case c = twice({0x48, 0x8b, 0x07, 0xf4});
    edit(c, DATA_ENTRY, MOVED);
    return c;
}

uint64_t word(const svm_model::Outcome& outcome, size_t offset) {
    uint64_t value = 0;
    std::memcpy(&value, outcome.vmcb.value.data() + wire::SAVE_OFFSET + offset, 8);
    return value;
}
std::set<uint64_t> raxOf(const svm_model::Prediction& p) {
    std::set<uint64_t> values;
    for (const auto& outcome : p.allowed)
        values.insert(word(outcome, offsetof(SaveArea, rax)));
    return values;
}

std::string problemOf(const Case& c) {
    try {
        (void)fromJson(toJson(c));
        return "";
    } catch (const CaseError& error) {
        return error.what();
    }
}

} // namespace

TEST(FuzzTwice, ACleanBitKeepsTheOldFieldOnlyWherePartsHaveThem) {
    constexpr uint32_t CR2 = bit(CleanBit::CR2);
    Oracle qemu(svm_model::builtin_profile("qemu-7.2-max"));
    EXPECT_EQ(raxOf(qemu.predict(changedCr2(CR2))), (std::set<uint64_t>{0x2000}));
    Oracle zen(svm_model::builtin_profile("amd-zen3-milan"));
    EXPECT_EQ(raxOf(zen.predict(changedCr2(CR2))), (std::set<uint64_t>{0x1000, 0x2000}));
    const auto loaded = zen.predict(changedCr2(0));
    EXPECT_EQ(raxOf(loaded), (std::set<uint64_t>{0x2000})) << loaded.allowed.front().why;
}

TEST(FuzzTwice, AChangedTableMayNotBeSeenUnlessFlushed) {
    const uint64_t now = arenaTemplate()[page::DATA * 512],
                   before = arenaTemplate()[page::SYSTEM * 512];
    ASSERT_NE(now, before);
    Oracle oracle(svm_model::builtin_profile("qemu-7.2-max"));
    Case c = changedPage();
    EXPECT_EQ(raxOf(oracle.predict(c)), (std::set<uint64_t>{now, before}));
    auto v = c.vmcb();
    v.control.guest_asid = 2;
    c.setVmcb(v);
    edit(c, offsetof(horos::svm::ControlArea, guest_asid) & ~7ull, 1);
    EXPECT_EQ(raxOf(oracle.predict(c)), (std::set<uint64_t>{now})) << "another ASID";
    c = changedPage();
    v = c.vmcb();
    v.control.tlb_control = 1;
    c.setVmcb(v);
    EXPECT_EQ(raxOf(oracle.predict(c)), (std::set<uint64_t>{now})) << "flushed";
}

// What could be a mixture of old and new entries is not predicted.
TEST(FuzzTwice, MixturesAreOpen) {
    Oracle oracle(svm_model::builtin_profile("qemu-7.2-max"));
    Case two = changedPage();
    edit(two, DATA_ENTRY + 8, MOVED);
    EXPECT_TRUE(oracle.predict(two).unspecified());
    auto v = two.vmcb();
    v.control.tlb_control = 1;
    two.setVmcb(v);
    EXPECT_FALSE(oracle.predict(two).unspecified()) << "flushed: nothing is left of the old ones";
    Case upper = twice({0xf4});
    edit(upper, pageAddress(page::TABLES) + 16, MOVED);
    EXPECT_TRUE(oracle.predict(upper).unspecified());
    Case root = twice({0xf4});
    edit(root, wire::SAVE_OFFSET + offsetof(SaveArea, cr3), pageAddress(page::NESTED));
    EXPECT_TRUE(oracle.predict(root).unspecified());
    EXPECT_FALSE(oracle.predict(twice({0xf4})).unspecified());
}

TEST(FuzzTwice, StoredAndReadBack) {
    Case c = changedPage();
    edit(c, SAVE_CR2, 0x1234);
    const Case binary = decode(encode(c)), json = fromJson(toJson(c));
    EXPECT_EQ(contentName(binary), contentName(c));
    EXPECT_EQ(contentName(json), contentName(c));
    EXPECT_EQ(json.slot.edits, 2u);
    Case without = c;
    without.slot.edits = 1;
    EXPECT_NE(contentName(without), contentName(c));
    edit(c, pageAddress(page::SPARE), 1);
    EXPECT_NE(problemOf(c).find("neither in the VMCB nor in a window"), std::string::npos);
    c = changedPage();
    c.slot.edit[0].place += 4;
    EXPECT_NE(problemOf(c).find("neither in the VMCB nor in a window"), std::string::npos);
    c = changedPage();
    c.slot.flags |= wire::PEND_NMI;
    EXPECT_NE(problemOf(c).find("not for cases with an earlier VMRUN"), std::string::npos);
}

namespace {

class FuzzTwiceTarget : public testing::TestWithParam<TargetKind> {
protected:
    FuzzTwiceTarget()
        : oracle_(svm_model::builtin_profile(defaultProfile(GetParam()))),
          target_(makeTarget({GetParam(), HARNESS_ELF, HARNESS_ROM})),
          executor_(*target_, oracle_, [](horos::fuzz::Run&) {}) {
        executor_.start();
    }
    Oracle oracle_;
    Triage triage_ = Triage::load(triageFileFor(GetParam(), versionOf(GetParam())));
    std::unique_ptr<Target> target_;
    Executor executor_;
};

} // namespace

TEST_P(FuzzTwiceTarget, TheSecondVmrunIsAsTheCaseSays) {
    for (const Case& c : {changedCr2(0x1fff), changedPage(), twice({0xf4})}) {
        horos::fuzz::Run run = executor_.runAlone(c);
        ASSERT_EQ(run.state, TargetState::Running);
        EXPECT_EQ(ExitCode(run.result.control[14]), ExitCode::HLT);
        EXPECT_TRUE(run.stray.empty()) << "all is put back";
        EXPECT_FALSE(judge(oracle_, run, triage_).divergence);
    }
}

// Its one visible effect: a first guest that spins.
TEST_P(FuzzTwiceTarget, TheEarlierVmrunIsRun) {
    Case c = twice({0xf4, 0xf4, 0xf4, 0xf4, 0xf4, 0xf4, 0xf4, 0xf4, 0xeb, 0xfe});
    edit(c, wire::SAVE_OFFSET + offsetof(SaveArea, rip), CODE_ADDRESS + 8);
    EXPECT_EQ(executor_.runAlone(c).state, TargetState::Hung);
}

// A result that neither memory nor what was kept explains; and one that a part with a TLB of its
// own would give.
TEST_P(FuzzTwiceTarget, TheComparisonHoldsTheResultAgainstTheAllowedSet) {
    horos::fuzz::Run run = executor_.runAlone(changedPage());
    uint64_t& rax = run.result.save[offsetof(SaveArea, rax) / 8];
    const auto differs = [&] {
        return !oracle_.compare(run.input, run.prediction, run.result).empty();
    };
    const bool wasDifferent = differs(); // QEMU writes half of the exit code, which triage knows
    rax = arenaTemplate()[page::SYSTEM * 512];
    EXPECT_EQ(differs(), wasDifferent);
    rax ^= 1;
    EXPECT_TRUE(differs());
    const auto findings = oracle_.compare(run.input, run.prediction, run.result);
    EXPECT_TRUE(std::any_of(findings.begin(), findings.end(),
                            [](const Finding& f) { return f.field == "save.rax"; }));
}

TEST_P(FuzzTwiceTarget, SeededFaultsAreFound) {
    const auto faults = seededFaults(oracle_.profile());
    const auto finds = [&](const char* name, const Case& c) {
        const auto fault = std::find_if(faults.begin(), faults.end(),
                                        [&](const Fault& f) { return f.name == name; });
        horos::fuzz::Run run = executor_.runAlone(c);
        EXPECT_FALSE(judge(oracle_, run, triage_).divergence) << name;
        oracle_.withMachine(c,
                            [&](const svm_model::Machine& m) { fault->apply(m, run.prediction); });
        return judge(oracle_, run, Triage{}).divergence.has_value() &&
               !oracle_.compare(run.input, run.prediction, run.result).empty();
    };
    EXPECT_TRUE(finds("a changed table is not seen", changedPage()));
    if (GetParam() == TargetKind::QemuSvm) // Bochs 2.7 does not load CR2, as triage knows
        EXPECT_TRUE(finds("CR2 behind its clean bit is the old one", changedCr2(0x1fff)));
}

TEST_P(FuzzTwiceTarget, WhatTheEarlierVmrunDoesNotMatterForIsMinimisedAway) {
    if (GetParam() != TargetKind::QemuSvm)
        GTEST_SKIP() << "the stored case is of QEMU";
    Case c = twice({0xf1, 0xf4}); // ICEBP, which QEMU 7.2 does not intercept
    edit(c, SAVE_CR2, 0x1000);
    auto v = c.vmcb();
    v.control.intercept_misc2 |= bit(horos::svm::Misc2::ICEBP);
    c.setVmcb(v);
    const Judgement judgement = judge(oracle_, executor_.runAlone(c), Triage{});
    ASSERT_TRUE(judgement.divergence);
    EXPECT_TRUE(judgement.divergence->input.slot.flags & wire::TWICE);
    const Divergence small = minimise(executor_, oracle_, Triage{}, *judgement.divergence, 400);
    EXPECT_FALSE(small.input.slot.flags & wire::TWICE);
    EXPECT_EQ(small.input.slot.edits, 0u);
}

INSTANTIATE_TEST_SUITE_P(Each, FuzzTwiceTarget,
                         testing::Values(TargetKind::QemuSvm, TargetKind::BochsSvm),
                         [](const auto& info) {
                             return info.param == TargetKind::QemuSvm ? "qemu" : "bochs";
                         });
