// horos-fuzz: the differential fuzzer of SVM.
#include "commands.hpp"

#include <CLI/CLI.hpp>
#include <csignal>
#include <exception>
#include <fmt/format.h>

using namespace horos::fuzz;

namespace {

void addCampaignOptions(CLI::App& app, CampaignArguments& a) {
    a.common.addTo(app);
    app.add_option("--time", a.seconds, "seconds to run")
        ->capture_default_str()
        ->check(CLI::PositiveNumber);
    app.add_option("--seed", a.seed, "of the random numbers")->capture_default_str();
    app.add_option("--corpus", a.corpus, "folder of cases, shared between processes");
    app.add_option("--cases", a.cases, "end after so many cases (and at --time)");
    app.add_option("--json", a.json, "write the report as JSON");
    app.add_option("--markdown", a.markdown, "write the report for docs/campaigns");
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
    app.add_option("--html", fuzz.html, "write the report as one HTML page");
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
    std::vector<std::string> before;
    replayCommand->add_option("--after", before, "cases to run first, in this order");
    replayCommand->add_flag("--dump", dump, "print the case as JSON");
    Common reproduced;
    std::string reproducerFile, reproducerFolder;
    auto* reproduceCommand =
        app.add_subcommand("reproduce", "write a case's images that boot and its GoogleTest");
    reproduced.addTo(*reproduceCommand);
    reproduceCommand->add_option("case", reproducerFile, "case file, binary or JSON")->required();
    reproduceCommand->add_option("--out", reproducerFolder, "folder")->required();
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
    unsigned survivors = 0;
    killCommand->add_option("--survivors", survivors, "how many may survive (default: none)");
    app.require_subcommand(0, 1);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? GOOD : FAILED; // not 1, which means new divergences
    }

    std::signal(SIGINT, [](int) { interrupted = true; });
    std::signal(SIGTERM, [](int) { interrupted = true; });
    try {
        if (*replayCommand)
            return replay(replayed, file, before, dump);
        if (*reproduceCommand)
            return reproduce(reproduced, reproducerFile, reproducerFolder);
        if (*listCommand)
            return list(listed, what);
        if (*benchCommand)
            return runBench(measured, rounds, cases, json);
        if (*witnessCommand)
            return writeWitnesses(solved, outFolder, !singles);
        if (*killCommand)
            return runKillTable(kills, survivors);
        return runFuzz(fuzz);
    } catch (const std::exception& error) {
        fmt::print(stderr, "horos-fuzz: {}\n", error.what());
        return FAILED;
    }
}
