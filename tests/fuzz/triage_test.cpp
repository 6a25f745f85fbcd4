// Triage: each entry has its evidence and a stored case that needs it, and none of them hides a
// wrong outcome that has another cause.
#include "explain.hpp"
#include "horos/fuzz/campaign.hpp"
#include "horos/fuzz/executor.hpp"

#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <set>

namespace horos::fuzz {
namespace {

namespace fs = std::filesystem;
constexpr const char* QEMU = "qemu-svm-qemu-7.2.22";

nlohmann::json entries(const fs::path& file) {
    std::ifstream in(file);
    return nlohmann::json::parse(in).at("divergences");
}
fs::path caseOf(const std::string& id) {
    return fs::path(TRIAGE_DIR) / "cases" / QEMU / (id + ".json");
}

TEST(TriageData, EveryFileLoadsAndEveryEntrySaysWhy) {
    for (const auto& file : fs::directory_iterator(TRIAGE_DIR)) {
        if (file.path().extension() != ".json" ||
            file.path().filename().string().find("-svm-") == std::string::npos)
            continue;
        EXPECT_NO_THROW(Triage::load(file.path().string())) << file.path();
        std::set<std::string> seen;
        for (const auto& entry : entries(file.path())) {
            const auto id = entry.at("id").get<std::string>();
            EXPECT_TRUE(seen.insert(id).second) << "twice: " << id;
            EXPECT_TRUE(entry.at("section").get<std::string>().starts_with("APM vol.")) << id;
            EXPECT_GE(entry.at("evidence").get<std::string>().size(), 40u) << id;
        }
    }
}

// What is known of QEMU names the place in its source, and has a case.
TEST(TriageData, QemuEntriesNameTheirCauseAndHaveACase) {
    const fs::path file = fs::path(TRIAGE_DIR) / (std::string(QEMU) + ".json");
    std::set<std::string> ids;
    for (const auto& entry : entries(file)) {
        const auto id = entry.at("id").get<std::string>();
        ids.insert(id);
        EXPECT_TRUE(entry.value("source", "").starts_with("target/i386/")) << id;
        EXPECT_NE(entry.value("source", "").find(':'), std::string::npos) << id << ": where?";
        if (!entry.contains("fatal"))
            EXPECT_TRUE(fs::exists(caseOf(id))) << "no stored case: " << caseOf(id);
    }
    for (const auto& stored : fs::directory_iterator(caseOf("").parent_path()))
        EXPECT_TRUE(ids.contains(stored.path().stem().string())) << stored.path();
}

class OnQemu : public testing::Test {
protected:
    void SetUp() override {
        std::string version;
        try {
            version = versionOf(TargetKind::QemuSvm);
        } catch (const std::exception& error) {
            GTEST_SKIP() << error.what();
        }
        if (fmt::format("{}-{}", name(TargetKind::QemuSvm), version) != QEMU)
            GTEST_SKIP() << "the cases belong to another version than " << version;
        triage = Triage::load(fmt::format("{}/{}.json", TRIAGE_DIR, QEMU));
        target = makeTarget({TargetKind::QemuSvm, HARNESS_ELF, HARNESS_ROM});
        executor.emplace(*target, oracle, [](horos::fuzz::Run&) {});
        executor->start();
    }
    void TearDown() override {
        if (target)
            target->stop();
    }
    horos::fuzz::Run run(const std::string& id) {
        Case c = loadCase(caseOf(id).string());
        Oracle::settle(c);
        return executor->runAlone(c);
    }

    Triage triage;
    Oracle oracle{svm_model::builtin_profile("qemu-7.2-max")};
    std::unique_ptr<Target> target;
    std::optional<Executor> executor;
};

TEST_F(OnQemu, EveryEntryIsNeededByItsCase) {
    for (const Triaged& entry : triage.entries()) {
        if (!fs::exists(caseOf(entry.id)))
            continue; // reported above
        const Judgement j = judge(oracle, run(entry.id), triage);
        bool used = false;
        for (const Triaged* known : j.explained)
            used |= known->id == entry.id;
        if (j.divergence) {
            const Triaged* found = triage.find(keyOf(*j.divergence), j.divergence->input);
            used |= found && found->id == entry.id;
        }
        EXPECT_TRUE(used) << entry.id;
        // and with nothing known it is a divergence
        EXPECT_TRUE(judge(oracle, run(entry.id), Triage{}).divergence) << entry.id;
    }
}

horos::fuzz::Run copyOf(const horos::fuzz::Run& run) {
    horos::fuzz::Run copy;
    copy.input = run.input;
    copy.prediction = run.prediction;
    copy.state = run.state;
    copy.result = run.result;
    copy.log = run.log;
    copy.stray = run.stray;
    return copy;
}

// The same results with one wrong value more: known causes must not cover that.
TEST_F(OnQemu, NoEntryHidesAnotherWrongOutcome) {
    unsigned tried = 0;
    for (const Triaged& entry : triage.entries()) {
        if (!fs::exists(caseOf(entry.id)))
            continue;
        horos::fuzz::Run r = run(entry.id);
        if (r.state != TargetState::Running ||
            defectsSay(oracle, r, triage).find("unspecified") != std::string::npos)
            continue; // what the defect leads to is left open
        ++tried;
        horos::fuzz::Run host = copyOf(r);
        host.result.host[wire::H_CR3] ^= 0x1000;
        EXPECT_TRUE(judge(oracle, host, triage).divergence) << entry.id << ": host CR3";
        if (r.result.status != wire::Status::Exit)
            continue;
        horos::fuzz::Run code = copyOf(r);
        code.result.control[offsetof(horos::svm::ControlArea, exit_code) / 8] ^= 0x21;
        EXPECT_TRUE(judge(oracle, code, triage).divergence) << entry.id << ": exit code";
        horos::fuzz::Run asid = copyOf(r);
        asid.result.control[offsetof(horos::svm::ControlArea, guest_asid) / 8] ^= 1;
        EXPECT_TRUE(judge(oracle, asid, triage).divergence) << entry.id << ": ASID";
        if (observedKind(r.result) != svm_model::OutcomeKind::EXIT ||
            describe(r.result) == "VMEXIT_SHUTDOWN")
            continue; // then the saved state is not defined
        horos::fuzz::Run rip = copyOf(r);
        rip.result.save[offsetof(horos::svm::SaveArea, rip) / 8] ^= 0x10;
        EXPECT_TRUE(judge(oracle, rip, triage).divergence) << entry.id << ": RIP";
        horos::fuzz::Run cr3 = copyOf(r);
        cr3.result.save[offsetof(horos::svm::SaveArea, cr3) / 8] ^= 0x1000;
        EXPECT_TRUE(judge(oracle, cr3, triage).divergence) << entry.id << ": CR3";
    }
    EXPECT_GE(tried, 40u);
}

} // namespace
} // namespace horos::fuzz
