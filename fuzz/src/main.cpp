// horos-fuzz: the differential fuzzer of SVM.
#include "horos/fuzz/bench.hpp"
#include "horos/fuzz/corpus.hpp"
#include "horos/fuzz/faults.hpp"
#include "horos/fuzz/report.hpp"
#include "process.hpp"

#include "explain.hpp"
#include <CLI/CLI.hpp>
#include <atomic>
#include <csignal>
#include <filesystem>
#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <unistd.h>

#ifndef HOROS_FUZZ_IMAGE_DIR
#define HOROS_FUZZ_IMAGE_DIR "."
#endif

using namespace horos::fuzz;
using horos::model::svm::find_profile;

namespace {

enum Exit { GOOD = 0, NEW_DIVERGENCES = 1, FAILED = 2 };

std::atomic<bool> interrupted{false};

struct Common {
    std::string target = "qemu-svm";
    std::string profile;
    std::string images;

    TargetOptions options() const {
        TargetOptions t;
        t.kind = parseTarget(target);
        std::string folder = images;
        if (folder.empty()) { // beside the program first, then where it was built
            std::error_code ignored;
            auto self = std::filesystem::read_symlink("/proc/self/exe", ignored).parent_path();
            folder = std::filesystem::exists(self / "horos-fuzz-harness.elf")
                         ? self.string()
                         : HOROS_FUZZ_IMAGE_DIR;
        }
        t.harnessElf = folder + "/horos-fuzz-harness.elf";
        t.harnessRom = folder + "/horos-fuzz-harness.rom";
        for (const std::string& file : {t.harnessElf, t.harnessRom})
            if (!std::filesystem::exists(file))
                throw std::runtime_error(
                    fmt::format("there is no {}: build the target horos-fuzz-harness, or give "
                                "--images",
                                file));
        return t;
    }
    void addTo(CLI::App& app) {
        app.add_option("--target", target, "qemu-svm or bochs-svm")
            ->check(CLI::IsMember({"qemu-svm", "bochs-svm"}))
            ->capture_default_str();
        app.add_option("--profile", profile, "processor profile (default: the target's own)");
        app.add_option("--images", images, "folder with the harness images");
    }
};

struct CampaignArguments {
    Common common;
    double seconds = 60;
    uint64_t cases = 0;
    uint64_t seed = 1;
    unsigned jobs = 1;
    std::string corpus, json, html, markdown, triage, reproducers;
    bool solve = false, noPairs = false, noMinimise = false, quiet = false;
};

void showProgress(const std::string& line) {
    if (isatty(2))
        fmt::print(stderr, "\r\033[K{}", line);
    else
        fmt::print(stderr, "{}\n", line);
    std::fflush(stderr);
}

void printSummary(const CampaignResult& r) {
    fmt::print("\n{} {} with profile {}: {} cases in {:.0f} s ({:.0f}/s)\n", r.target, r.version,
               r.profile, r.executed, r.seconds, r.casesPerSecond);
    fmt::print(
        "rules: {} of {} reachable on both sides ({} apply){}; {} exits, {} pairs, {} features\n",
        r.rulesBothSides, r.rulesReachable, r.rulesApplicable,
        r.rulesCompleteAt >= 0 ? fmt::format(" after {:.1f} s", r.rulesCompleteAt) : "",
        r.exits.size(), r.pairs, r.features);
    for (const RuleRow& row : r.rules)
        if (row.reachable && !(row.broken && row.held))
            fmt::print("  rule {} not reached {}{}\n", row.name, row.broken ? "" : "broken ",
                       row.held ? "" : "held");
    fmt::print("{} divergences in {} clusters, {} of them new; {} restarts of the target; {} cases "
               "rerun, {} dropped at the end\n",
               r.divergences, r.clusters.size(), r.unknown(), r.restarts, r.reruns, r.dropped);
    fmt::print("time:");
    for (unsigned i = 0; i < PHASES; ++i)
        fmt::print(" {} {:.1f} s{}", phaseName(Phase(i)), r.phases[i], i + 1 < PHASES ? "," : "\n");
    for (const Cluster& c : r.clusters)
        fmt::print("  {:<12} {:>7}  {}\n", c.known ? "known" : "NEW", c.count,
                   c.known ? c.known->id + ": " + c.key.text() : c.key.text());
    for (const auto& [id, deviation] : r.deviations)
        fmt::print("  {:<12} {:>7}  {}\n", "known field", deviation.count, id);
    for (const auto& [id, count] : r.fatal)
        fmt::print("  {:<12} {:>7}  {}: {} died, {} survived\n", "left out", count.leftOut, id,
                   count.died, count.survived);
}

int runFuzz(const CampaignArguments& a) {
    CampaignOptions options;
    options.target = a.common.options();
    options.profile = a.common.profile;
    options.seconds = a.seconds;
    options.cases = a.cases;
    options.seed = a.seed;
    options.jobs = a.jobs;
    options.corpus = a.corpus;
    options.triage = a.triage;
    if (a.solve) {
        options.solver = {"/proc/self/exe", "witnesses", "--target", a.common.target};
        if (!a.common.profile.empty())
            options.solver.insert(options.solver.end(), {"--profile", a.common.profile});
        if (a.noPairs)
            options.solver.push_back("--no-pairs");
        options.solver.push_back("--out");
    }
    options.minimise = !a.noMinimise;
    options.stop = [] { return interrupted.load(); };
    if (!a.quiet)
        options.progress = showProgress;
    CampaignResult result = runCampaign(options);
    printSummary(result);
    if (!a.json.empty())
        writeFile(a.json, toJson(result).dump(2) + "\n");
    if (!a.html.empty())
        writeFile(a.html, toHtml(result));
    if (!a.markdown.empty())
        writeFile(a.markdown, toMarkdown(result));
    if (!a.reproducers.empty())
        for (const Cluster& cluster : result.clusters)
            fmt::print("reproducer {}\n",
                       writeReproducer(a.reproducers, cluster, options.target, result.profile));
    return result.unknown() ? NEW_DIVERGENCES : GOOD;
}

int replay(const Common& common, const std::string& file, bool dump) {
    Case c = loadCase(file);
    Oracle::settle(c);
    TargetOptions options = common.options();
    auto profile =
        find_profile(common.profile.empty() ? defaultProfile(options.kind) : common.profile);
    Oracle oracle(profile);
    auto target = makeTarget(options);
    Executor executor(*target, oracle, [](Run&) {});
    executor.start();
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
        for (const Triaged& t : Triage::load(file).entries())
            fmt::print("{} ({}; {})\n    {}\n", t.id, t.verdict, t.section, t.evidence);
    } else {
        fmt::print("qemu-svm  {}\nbochs-svm {}\n", versionOf(TargetKind::QemuSvm),
                   versionOf(TargetKind::BochsSvm));
    }
    return GOOD;
}

int runBench(const Common& common, unsigned rounds, uint64_t cases, const std::string& json) {
    BenchResult r = bench(common.options(), rounds, cases);
    fmt::print("{} {} (best of {} rounds)\n", r.target, r.version, r.rounds);
    fmt::print("  bare VMRUN loop        {:>9.0f}/s\n", r.bare);
    fmt::print("  cases, code unchanged  {:>9.0f}/s  {:.2f} of the bare loop\n", r.unchanged,
               r.unchanged / r.bare);
    fmt::print("  cases, fresh code      {:>9.0f}/s  {:.2f} of the bare loop\n", r.fresh,
               r.fresh / r.bare);
    fmt::print("  start of the target    {:>9.2f} s\n", r.startSeconds);
    nlohmann::json out = {{"target", r.target},
                          {"version", r.version},
                          {"bare_vmrun_per_second", r.bare},
                          {"unchanged_code_per_second", r.unchanged},
                          {"fresh_code_per_second", r.fresh},
                          {"unchanged_ratio", r.unchanged / r.bare},
                          {"fresh_ratio", r.fresh / r.bare},
                          {"start_seconds", r.startSeconds},
                          {"rounds", r.rounds}};
    if (json == "-")
        fmt::print("{}\n", out.dump(2));
    else if (!json.empty())
        writeFile(json, out.dump(2) + "\n");
    return GOOD;
}

int runKillTable(const CampaignArguments& a) {
    CampaignOptions options;
    options.target = a.common.options();
    options.profile = a.common.profile;
    options.seed = a.seed;
    options.corpus = a.corpus;
    options.triage = a.triage;
    options.stop = [] { return interrupted.load(); };
    unsigned killed = 0, all = 0;
    fmt::print("{:<17} {:<48} {:>8} {:>9}  given away by\n", "kind", "seeded fault", "seconds",
               "cases");
    auto table = killTable(options, a.seconds, [&](const Kill& kill) {
        all += !kill.outOfReach;
        killed += kill.killed;
        fmt::print("{:<17} {:<48} {:>8.1f} {:>9}  {}\n", kill.kind, kill.fault, kill.seconds,
                   kill.cases,
                   kill.killed       ? kill.by
                   : kill.outOfReach ? "out of the harness's reach"
                                     : "SURVIVED");
        std::fflush(stdout);
    });
    fmt::print("{} of {} seeded faults found\n", killed, all);
    if (!a.json.empty()) {
        nlohmann::json out = nlohmann::json::array();
        for (const Kill& kill : table)
            out.push_back({{"fault", kill.fault},
                           {"kind", kill.kind},
                           {"killed", kill.killed},
                           {"out_of_reach", kill.outOfReach},
                           {"seconds", kill.seconds},
                           {"cases", kill.cases},
                           {"by", kill.by}});
        writeFile(a.json, out.dump(2) + "\n");
    }
    if (interrupted)
        throw std::runtime_error("interrupted: the table is not complete");
    return killed == all ? GOOD : NEW_DIVERGENCES;
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

void addCampaignOptions(CLI::App& app, CampaignArguments& a) {
    a.common.addTo(app);
    app.add_option("--time", a.seconds, "seconds to run")
        ->capture_default_str()
        ->check(CLI::PositiveNumber);
    app.add_option("--seed", a.seed, "of the random numbers")->capture_default_str();
    app.add_option("--corpus", a.corpus, "folder of cases, shared between processes");
    app.add_option("--json", a.json, "write the report as JSON");
    app.add_option("--triage", a.triage, "triage file (default: by target and version)");
}

} // namespace

int main(int argc, char** argv) {
    CLI::App app{"Holds an emulator's SVM against the reference model.\n"
                 "Exit status: 0 nothing new, 1 new divergences, 2 the run itself failed."};
    CampaignArguments fuzz, kills;
    addCampaignOptions(app, fuzz);
    app.add_option("--jobs", fuzz.jobs, "targets at a time")
        ->capture_default_str()
        ->check(CLI::Range(1, 256));
    app.add_option("--cases", fuzz.cases, "end after so many cases (and at --time)");
    app.add_option("--html", fuzz.html, "write the report as one HTML page");
    app.add_option("--markdown", fuzz.markdown, "write the report for docs/campaigns");
    app.add_option("--reproducers", fuzz.reproducers, "folder for one reproducer a cluster");
    app.add_flag("--solve", fuzz.solve, "ask Z3 for more witnesses beside the campaign");
    app.add_flag("--no-pairs", fuzz.noPairs, "with --solve: not for pairs of rules");
    app.add_flag("--no-minimise", fuzz.noMinimise, "leave the examples as they were found");
    app.add_flag("--quiet", fuzz.quiet, "no progress line");

    Common replayed, listed, measured;
    std::string file, what = "targets", json;
    bool dump = false;
    unsigned rounds = 5;
    uint64_t cases = 50000;
    auto* replayCommand = app.add_subcommand("replay", "run one case and compare");
    replayed.addTo(*replayCommand);
    replayCommand->add_option("case", file, "case file, binary or JSON")->required();
    replayCommand->add_flag("--dump", dump, "print the case as JSON");
    auto* listCommand = app.add_subcommand("list", "targets, rules, faults or triage");
    listed.addTo(*listCommand);
    listCommand->add_option("what", what)
        ->check(CLI::IsMember({"targets", "rules", "faults", "triage"}));
    auto* benchCommand = app.add_subcommand("bench", "cases per second beside a bare VMRUN loop");
    measured.addTo(*benchCommand);
    benchCommand->add_option("--rounds", rounds)->capture_default_str();
    benchCommand->add_option("--cases", cases, "in each measurement")->capture_default_str();
    benchCommand->add_option("--json", json, "file, or - for standard output")
        ->expected(0, 1)
        ->default_str("-");
    Common solved;
    std::string outFolder;
    bool singles = false;
    auto* witnessCommand = app.add_subcommand(
        "witnesses", "ask Z3 for witnesses of the rules and write them as seeds");
    solved.addTo(*witnessCommand);
    witnessCommand->add_option("--out", outFolder, "folder (default: the seeds of the profile)");
    witnessCommand->add_flag("--no-pairs", singles, "not for pairs of rules");
    auto* killCommand = app.add_subcommand("kill-table", "find faults seeded into the model");
    addCampaignOptions(*killCommand, kills);
    app.require_subcommand(0, 1);
    CLI11_PARSE(app, argc, argv);

    std::signal(SIGINT, [](int) { interrupted = true; });
    std::signal(SIGTERM, [](int) { interrupted = true; });
    try {
        if (*replayCommand)
            return replay(replayed, file, dump);
        if (*listCommand)
            return list(listed, what);
        if (*benchCommand)
            return runBench(measured, rounds, cases, json);
        if (*witnessCommand)
            return writeWitnesses(solved, outFolder, !singles);
        if (*killCommand)
            return runKillTable(kills);
        return runFuzz(fuzz);
    } catch (const std::exception& error) {
        fmt::print(stderr, "horos-fuzz: {}\n", error.what());
        return FAILED;
    }
}
