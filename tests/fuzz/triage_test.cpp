// Triage: each entry has its evidence and a stored case that needs it, and none of them hides a
// wrong outcome that has another cause.
#include "explain.hpp"
#include "horos/fuzz/campaign.hpp"
#include "horos/fuzz/executor.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

namespace horos::fuzz {
namespace {

namespace fs = std::filesystem;

nlohmann::json entries(const fs::path& file) {
    std::ifstream in(file);
    return nlohmann::json::parse(in).at("divergences");
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

// What is known of a target names the place in its source, and has a case.
struct Known {
    TargetKind kind;
    const char* file;
    const char* profile;
    std::vector<std::string> sources; // how the places in its source begin
    unsigned followed;                // cases at least whose course no defect leaves open
};
const Known QEMU{TargetKind::QemuSvm, "qemu-svm-qemu-7.2.22", "qemu-7.2-max", {"target/i386/"}, 40};
const Known BOCHS{
    TargetKind::BochsSvm, "bochs-svm-bochs-2.7", "bochs-2.7-ryzen", {"cpu/", "memory/"}, 25};

fs::path caseOf(const Known& known, const std::string& id) {
    return fs::path(TRIAGE_DIR) / "cases" / known.file / (id + ".json");
}

class TriageCases : public testing::TestWithParam<Known> {};

TEST_P(TriageCases, EntriesNameTheirCauseAndHaveACase) {
    const Known& known = GetParam();
    const fs::path file = fs::path(TRIAGE_DIR) / (std::string(known.file) + ".json");
    std::set<std::string> ids;
    for (const auto& entry : entries(file)) {
        const auto id = entry.at("id").get<std::string>();
        ids.insert(id);
        const auto source = entry.value("source", "");
        const bool placed =
            std::any_of(known.sources.begin(), known.sources.end(),
                        [&](const std::string& folder) { return source.starts_with(folder); });
        EXPECT_TRUE(placed) << id << ": " << source;
        EXPECT_NE(source.find(':'), std::string::npos) << id << ": where?";
        if (!entry.contains("fatal"))
            EXPECT_TRUE(fs::exists(caseOf(known, id))) << "no stored case: " << caseOf(known, id);
    }
    for (const auto& stored : fs::directory_iterator(caseOf(known, "").parent_path()))
        EXPECT_TRUE(ids.contains(stored.path().stem().string())) << stored.path();
}

std::string nameOf(const testing::TestParamInfo<Known>& info) {
    return info.param.kind == TargetKind::QemuSvm ? "Qemu" : "Bochs";
}
INSTANTIATE_TEST_SUITE_P(Targets, TriageCases, testing::Values(QEMU, BOCHS), nameOf);

class OnTarget : public testing::TestWithParam<Known> {
protected:
    void SetUp() override {
        const Known& known = GetParam();
        std::string version;
        try {
            version = versionOf(known.kind);
        } catch (const std::exception& error) {
            GTEST_SKIP() << error.what();
        }
        if (fmt::format("{}-{}", name(known.kind), version) != known.file)
            GTEST_SKIP() << "the cases belong to another version than " << version;
        triage = Triage::load(fmt::format("{}/{}.json", TRIAGE_DIR, known.file));
        target = makeTarget({known.kind, HARNESS_ELF, HARNESS_ROM});
        executor.emplace(*target, oracle, [](horos::fuzz::Run&) {});
        executor->start();
    }
    void TearDown() override {
        if (target)
            target->stop();
    }
    static bool stored(const Triaged& entry) {
        return fs::exists(caseOf(GetParam(), entry.id)); // others are reported above
    }
    horos::fuzz::Run run(const std::string& id) {
        Case c = loadCase(caseOf(GetParam(), id).string());
        Oracle::settle(c);
        return executor->runAlone(c);
    }

    Triage triage;
    Oracle oracle{svm_model::builtin_profile(GetParam().profile)};
    std::unique_ptr<Target> target;
    std::optional<Executor> executor;
};
INSTANTIATE_TEST_SUITE_P(Targets, OnTarget, testing::Values(QEMU, BOCHS), nameOf);

TEST_P(OnTarget, EveryEntryIsNeededByItsCase) {
    for (const Triaged& entry : triage.entries()) {
        if (!stored(entry))
            continue;
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
TEST_P(OnTarget, NoEntryHidesAnotherWrongOutcome) {
    unsigned tried = 0;
    for (const Triaged& entry : triage.entries()) {
        if (!stored(entry))
            continue;
        horos::fuzz::Run r = run(entry.id);
        if (r.state != TargetState::Running ||
            defectsSay(oracle, r, triage).find("unspecified") != std::string::npos)
            continue; // what the defect leads to is left open
        ++tried;
        if (r.result.status != wire::Status::Exit)
            continue; // a fault in the host: nothing else is compared
        horos::fuzz::Run host = copyOf(r);
        host.result.host[wire::H_CR3] ^= 0x1000;
        EXPECT_TRUE(judge(oracle, host, triage).divergence) << entry.id << ": host CR3";
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
        if (describe(r.result) != "VMEXIT_EXCP8") // it saves no defined RIP (§15.12.9)
            EXPECT_TRUE(judge(oracle, rip, triage).divergence) << entry.id << ": RIP";
        horos::fuzz::Run cr3 = copyOf(r);
        cr3.result.save[offsetof(horos::svm::SaveArea, cr3) / 8] ^= 0x1000;
        EXPECT_TRUE(judge(oracle, cr3, triage).divergence) << entry.id << ": CR3";
    }
    EXPECT_GE(tried, GetParam().followed);
}

} // namespace
} // namespace horos::fuzz
