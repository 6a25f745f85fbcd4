#include "horos/fuzz/arena.hpp"
#include "horos/fuzz/cluster.hpp"

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <unistd.h>

using namespace horos::fuzz;

namespace {

Divergence sample() {
    Divergence d;
    d.input.slot = baseCase(Mode::Long64, false);
    d.expected = d.observed = "VMEXIT_HLT";
    d.findings = {{"save.rflags", 2, ~0ull, 0x102, ""}};
    return d;
}

Triage triageOf(const std::string& entry) {
    // CTest runs tests of this file side by side.
    auto file = std::filesystem::temp_directory_path() /
                ("horos-fuzz-triage-test-" + std::to_string(getpid()) + ".json");
    std::ofstream(file) << "{\"divergences\":[{\"id\":\"x\",\"verdict\":\"target\",\"section\":"
                           "\"s\",\"evidence\":\"e\","
                        << entry << "}]}";
    Triage loaded = Triage::load(file.string());
    std::filesystem::remove(file);
    return loaded;
}

} // namespace

TEST(FuzzCluster, ControlFlowIsOneCause) {
    Divergence d = sample();
    d.findings.push_back({"save.rip", 1, ~0ull, 2, ""});
    d.findings.push_back({"stack[+1]", 1, ~0ull, 2, ""});
    EXPECT_EQ(keyOf(d).fields, "flow");
}

TEST(FuzzCluster, ACheckThatIsNotMadeIsOneRow) {
    Divergence a = sample(), b = sample();
    a.expected = b.expected = "VMEXIT_INVALID";
    a.rules = b.rules = {"r1"};
    b.observed = "VMEXIT_CPUID";
    EXPECT_EQ(keyOf(a), keyOf(b));
    b.observed = "hang";
    EXPECT_EQ(keyOf(a), keyOf(b));
    b.rules = {"r2"};
    EXPECT_NE(keyOf(a), keyOf(b));
}

TEST(FuzzTriage, FieldsAreExplainedBitByBit) {
    Triage t = triageOf(R"("field":{"name":"save.rflags","ignore":"0x100"})");
    Divergence d = sample();
    EXPECT_EQ(t.explain(d).size(), 1u);
    EXPECT_TRUE(d.findings.empty());
    d = sample();
    d.findings[0].observed = 0x302; // one more bit than is known
    EXPECT_TRUE(t.explain(d).empty());
    EXPECT_EQ(d.findings.size(), 1u);
}

TEST(FuzzTriage, SeveralMissingChecksAreKnownOnlyIfEachIs) {
    Triage t = triageOf(R"("match":{"rules":"r1","observed":"entered"})");
    Divergence d = sample();
    EXPECT_NE(t.find({"r1", "VMEXIT_INVALID", "entered", "", ""}, d.input), nullptr);
    EXPECT_EQ(t.find({"r1+r2", "VMEXIT_INVALID", "entered", "", ""}, d.input), nullptr);
    EXPECT_NE(t.find({"r1+r1", "VMEXIT_INVALID", "entered", "", ""}, d.input), nullptr);
}

TEST(FuzzTriage, TagsLookAtTheCase) {
    Triage t = triageOf(R"("match":{"tag":"cpl-mismatch"})");
    Divergence d = sample();
    EXPECT_EQ(t.find(keyOf(d), d.input), nullptr);
    auto v = d.input.vmcb();
    v.save.cpl = 3;
    d.input.setVmcb(v);
    EXPECT_NE(t.find(keyOf(d), d.input), nullptr);
}

TEST(FuzzTriage, FatalShapesAreSeenBeforeTheyRun) {
    Triage t = triageOf(R"("fatal":{"expected":"VMEXIT_SHUTDOWN","observed":"died*3rd*"})");
    Divergence d = sample();
    svm_model::Prediction p;
    p.allowed.emplace_back();
    p.allowed.front().kind = svm_model::OutcomeKind::EXIT;
    p.allowed.front().exit_code = horos::svm::ExitCode::HLT;
    EXPECT_EQ(t.fatal(p, d.input), nullptr);
    p.allowed.front().exit_code = horos::svm::ExitCode::SHUTDOWN;
    EXPECT_NE(t.fatal(p, d.input), nullptr);
    d.expected = "VMEXIT_SHUTDOWN";
    d.observed = "died: 3rd exception";
    EXPECT_NE(t.find(keyOf(d), d.input), nullptr);
    d.observed = "died: of something else";
    EXPECT_EQ(t.find(keyOf(d), d.input), nullptr);
}

TEST(FuzzTriage, BadFilesAreNamed) {
    EXPECT_THROW(triageOf(R"("match":{})"), std::runtime_error) << "would hide everything";
    EXPECT_THROW(triageOf(R"("match":{"colour":"red"})"), std::runtime_error);
    EXPECT_THROW(triageOf(R"("nothing":{})"), std::runtime_error);
    EXPECT_THROW(Triage::load("/nonexistent"), std::runtime_error);
}

TEST(FuzzTriage, StoredFilesLoad) {
    unsigned files = 0;
    for (const auto& entry : std::filesystem::directory_iterator(TRIAGE_DIR)) {
        if (entry.path().filename().string().find("-svm-") == std::string::npos)
            continue; // another vendor's
        EXPECT_FALSE(Triage::load(entry.path().string()).entries().empty());
        ++files;
    }
    EXPECT_EQ(files, 2u);
}

TEST(FuzzTriage, Wildcards) {
    EXPECT_TRUE(matches("", "anything"));
    EXPECT_TRUE(matches("a*c", "abbc"));
    EXPECT_TRUE(matches("*", ""));
    EXPECT_FALSE(matches("a*c", "abbd"));
    EXPECT_FALSE(matches("abc", "abcd"));
}
