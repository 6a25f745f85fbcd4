#include "commands.hpp"
#include "explain.hpp"
#include "horos/fuzz/corpus.hpp"
#include "horos/fuzz/faults.hpp"
#include "horos/fuzz/report.hpp"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace horos::fuzz {

using svm_model::find_profile;

namespace {

Case settled(const std::string& file) {
    Case c = loadCase(file);
    Oracle::settle(c);
    return c;
}

} // namespace

int replay(const Common& common, const std::string& file, const std::vector<std::string>& before,
           bool dump) {
    const Case c = settled(file);
    TargetOptions options = common.options();
    auto profile =
        find_profile(common.profile.empty() ? defaultProfile(options.kind) : common.profile);
    Oracle oracle(profile);
    auto target = makeTarget(options);
    Executor executor(*target, oracle, [](Run&) {});
    executor.start();
    std::vector<Case> earlier;
    for (const std::string& name : before)
        earlier.push_back(settled(name));
    (void)executor.repeat(earlier); // one right after the other, as in a campaign
    if (dump)
        fmt::print("{}\n", toJson(c).dump(2));
    auto prediction = oracle.predict(c);
    for (const auto& outcome : prediction.allowed)
        fmt::print("the model allows: {} {} {}\n", svm_model::kind_name(outcome.kind),
                   outcome.kind == svm_model::OutcomeKind::EXIT
                       ? svm_model::exit_code_name(outcome.exit_code)
                       : "",
                   outcome.why);
    for (size_t i = 0; i < prediction.broken.size(); ++i)
        if (prediction.broken.test(i) && prediction.applicable.test(i)) {
            const auto& rule = svm_model::rule_info(horos::svm::RuleId(i));
            fmt::print("  breaks {} ({}): {}\n", rule.name, rule.section, rule.title);
        }
    Run run = executor.runAlone(c);
    if (run.state == TargetState::Running && run.result.status == wire::Status::Exit)
        fmt::print("{} did: {} info1 {:#x} info2 {:#x} intinfo {:#x} rip {:#x}\n", common.target,
                   svm_model::exit_code_name(horos::svm::ExitCode(run.result.control[14])),
                   run.result.control[15], run.result.control[16], run.result.control[17],
                   run.result.save[47]);
    Triage triage;
    std::string triageFile = triageFileFor(options.kind, versionOf(options.kind));
    if (std::filesystem::exists(triageFile))
        triage = Triage::load(triageFile);
    Judgement j = judge(oracle, run, triage);
    for (const Triaged* known : j.explained)
        fmt::print("known field: {} ({}; {}): {}\n", known->id, known->verdict, known->section,
                   known->evidence);
    if (!j.divergence) {
        fmt::print("{} does what the model allows{}\n", common.target,
                   j.explained.empty() ? "" : ", known fields apart");
        return GOOD;
    }
    const Divergence& divergence = *j.divergence;
    fmt::print("DIVERGENCE {}\n", keyOf(divergence).text());
    for (const Finding& f : divergence.findings)
        fmt::print("  {:<28} allowed {:#x} (known {:#x}) observed {:#x}  {}\n", f.field, f.expected,
                   f.known, f.observed, f.section);
    if (triage.deviations().any())
        fmt::print("{}\n", defectsSay(oracle, run, triage));
    if (!divergence.log.empty())
        fmt::print("{}\n", divergence.log);
    if (const Triaged* known = triage.find(keyOf(divergence), divergence.input)) {
        fmt::print("known: {} ({}; {}): {}\n", known->id, known->verdict, known->section,
                   known->evidence);
        return GOOD;
    }
    return NEW_DIVERGENCES;
}

// The stem of the file names the GoogleTest: letters, digits and underlines only.
int reproduce(const Common& common, const std::string& file, const std::string& folder) {
    std::string name = std::filesystem::path(file).stem().string();
    std::replace_if(
        name.begin(), name.end(), [](char c) { return !std::isalnum(uint8_t(c)); }, '_');
    const TargetOptions options = common.options();
    writeReproducer(folder, name, name, loadCase(file), options,
                    common.profile.empty() ? defaultProfile(options.kind) : common.profile);
    fmt::print("{}\n", folder);
    return GOOD;
}

int list(const Common& common, const std::string& what) {
    if (what == "rules") {
        for (const auto& rule : svm_model::all_rules())
            fmt::print("{:<40} {}\n", rule.name, rule.section);
    } else if (what == "faults") {
        auto kind = parseTarget(common.target);
        auto profile = find_profile(common.profile.empty() ? defaultProfile(kind) : common.profile);
        for (const Fault& fault : seededFaults(profile))
            fmt::print("{:<20} {}\n", fault.kind, fault.name);
    } else if (what == "triage") {
        auto kind = parseTarget(common.target);
        std::string file = triageFileFor(kind, versionOf(kind));
        const Triage triage = Triage::load(file);
        for (const Triaged& t : triage.entries())
            fmt::print("{} ({}; {})\n    {}\n", t.id, t.verdict, t.section, t.evidence);
    } else {
        fmt::print("qemu-svm  {}\nbochs-svm {}\n", versionOf(TargetKind::QemuSvm),
                   versionOf(TargetKind::BochsSvm));
    }
    return GOOD;
}

int writeWitnesses(const Common& common, std::string folder, bool pairs) {
    auto profile = find_profile(common.profile.empty() ? defaultProfile(parseTarget(common.target))
                                                       : common.profile);
    if (folder.empty())
        folder = seedFolder(profile.name);
    Corpus corpus(folder);
    corpus.newCases();
    Oracle oracle(profile);
    Generator generator(oracle, 1);
    size_t count = 0;
    generator.solve(pairs, [&](const Case& c) {
        corpus.add(c);
        ++count;
    });
    fmt::print("{} witnesses in {}\n", count, folder);
    return GOOD;
}

} // namespace horos::fuzz
