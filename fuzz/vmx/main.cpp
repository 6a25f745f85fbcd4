// horos-fuzz-vmx: the VMX model against Bochs. Exit status: 0 no new divergence, 1 new ones (or a
// rule side not covered), 2 an error.
#include "process.hpp"
#include "report.hpp"

#include <CLI/CLI.hpp>
#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <csignal>

namespace {

using namespace horos::fuzz::vmx;
using horos::fuzz::readFile;
using horos::fuzz::writeFile;

struct Model {
    const char* cpu;
    const char* profile;
};
constexpr Model MODELS[] = {{"corei7_skylake_x", "bochs-2.7-skylake-x"},
                            {"corei7_haswell_4770", "bochs-2.7-haswell"},
                            {"corei7_icelake_u", "bochs-2.7-icelake"},
                            {"tigerlake", "bochs-2.7-tigerlake"}};

struct Files {
    std::string triage = HOROS_VMX_TRIAGE "/bochs-vmx-bochs-2.7.json";
    std::string json, html, markdown, reproducers, replay;
    bool falsify = false;
    std::vector<std::string> may_miss; // faults that a short kill table need not find
};

int bench(const Options& options, bool as_json) {
    const Rates rates = measure(options, options.seconds < 5 ? 5 : options.seconds / 2);
    if (as_json) {
        fmt::print("{}\n", nlohmann::json{{"target", "bochs-vmx"},
                                          {"cpu", options.cpu},
                                          {"full_vmcs_per_second", rates.full},
                                          {"bare_entries_per_second", rates.bare},
                                          {"ratio", rates.full / rates.bare}}
                               .dump(2));
        return 0;
    }
    fmt::print("{:44} {:8.0f} cases/s\n", "whole VMCS rewritten, guest state read", rates.full);
    fmt::print("{:44} {:8.0f} entries/s\n", "bare entries (nothing written or read)", rates.bare);
    fmt::print("ratio {:.2f}\n", rates.full / rates.bare);
    return 0;
}

int replay(Campaign& campaign, const Files& files, const Options& options) {
    const Test test =
        files.replay == "base"
            ? campaign.launching()
            : campaign.at_home(test_from_json(nlohmann::json::parse(readFile(files.replay))));
    if (!files.reproducers.empty()) {
        write_reproducer(files.reproducers, files.replay, test, campaign.launching(), options,
                         files.falsify);
        return 0;
    }
    const auto divergence = campaign.replay(test);
    for (const std::string& line : changed_inputs(test, campaign.base())) {
        fmt::print("{}\n", line);
    }
    if (!divergence) {
        fmt::print("as the model says\n");
        return 0;
    }
    fmt::print("{}: expected {}; observed {}\n", divergence->what, divergence->expected,
               divergence->observed);
    if (!divergence->besides.empty()) {
        fmt::print("with the known defects: {}\n", divergence->besides);
    }
    return 1;
}

// One folder for each new cluster.
void reproduce(const Report& report, Campaign& campaign, const Files& files) {
    size_t number = 0;
    for (const auto& [key, cluster] : report.clusters) {
        if (cluster.known != nullptr) {
            continue;
        }
        const std::string folder = fmt::format("{}/{}", files.reproducers, ++number);
        try {
            write_reproducer(folder, key, cluster.test, campaign.launching(), report.options,
                             files.falsify);
            fmt::print("reproducer {}: {}\n", folder, key);
        } catch (const std::runtime_error& error) {
            fmt::print("{}: {}\n", key, error.what());
        }
    }
}

int run(Campaign& campaign, const Files& files) {
    const Report report = campaign.run();
    print(report);
    if (!files.reproducers.empty()) {
        reproduce(report, campaign, files);
    }
    if (!files.json.empty()) {
        writeFile(files.json, to_json(report).dump(1) + "\n");
    }
    if (!files.html.empty()) {
        writeFile(files.html, to_html(report));
    }
    if (!files.markdown.empty()) {
        writeFile(files.markdown, to_markdown(report));
    }
    const bool complete = report.options.only || report.uncovered.empty();
    bool all_killed = true;
    for (const Kill& kill : report.kills) {
        const bool allowed = std::ranges::find(files.may_miss, kill.fault) != files.may_miss.end();
        all_killed = all_killed && (kill.killed || allowed);
    }
    return report.fresh() == 0 && complete && all_killed ? 0 : 1;
}

} // namespace

int main(int argc, char** argv) {
    CLI::App app{
        "Differential fuzzer of VMX: the same entry, guest or sequence of VMX instructions "
        "in Bochs and in the model."};
    app.name("horos-fuzz-vmx");
    Options options;
    options.cpu = "corei7_skylake_x";
    std::string target = "bochs-vmx", only;
    Files files;
    bool bench_only = false, as_json = false;
    app.add_option("--target", target, "bochs-vmx")->check(CLI::IsMember({"bochs-vmx"}));
    app.add_option("--cpu", options.cpu,
                   "corei7_skylake_x, corei7_haswell_4770, corei7_icelake_u or tigerlake");
    app.add_option("--time", options.seconds, "seconds");
    app.add_option("--cases", options.cases, "end after so many cases (repeats exactly)");
    app.add_option("--seed", options.seed, "of the random tests");
    app.add_option("--only", only, "entry, guest or sequence")
        ->check(CLI::IsMember({"entry", "guest", "sequence"}));
    app.add_option("--json", files.json, "write the report as JSON");
    app.add_option("--html", files.html, "write the report as one HTML page");
    app.add_option("--markdown", files.markdown, "write the report as Markdown");
    app.add_option("--triage", files.triage, "known divergences");
    app.add_option("--replay", files.replay,
                   "run one case (JSON, or `base`: the entry that others are made from)");
    app.add_option("--reproducers", files.reproducers,
                   "write an image that boots by itself for each new cluster; with --replay: for "
                   "that case");
    app.add_flag("--falsify", files.falsify,
                 "with --reproducers: one expectation is wrong, so that the image reports it");
    app.add_flag("--kill-table", options.kill_table, "hold each case against seeded faults too");
    app.add_option("--may-miss", files.may_miss,
                   "with --kill-table: a seeded fault that the run need not find (repeatable)");
    app.add_flag("--bench", bench_only, "measure cases per second only");
    app.add_flag("--bench-json", as_json, "with --bench: as JSON");
    try {
        app.parse(argc, argv);
        for (const Model& model : MODELS) {
            if (options.cpu == model.cpu) {
                options.profile = model.profile;
            }
        }
        if (options.profile.empty()) {
            throw std::runtime_error("--cpu: no profile for '" + options.cpu + "' (see --help)");
        }
        for (const Kind kind : {Kind::ENTRY, Kind::GUEST, Kind::SEQUENCE}) {
            if (only == kind_name(kind)) {
                options.only = kind;
            }
        }
        if (bench_only || as_json) {
            return bench(options, as_json);
        }
        for (const std::string& path : {files.json, files.html, files.markdown}) {
            horos::fuzz::requireWritable(path);
        }
        std::signal(SIGINT, [](int) { interrupted = true; });
        std::signal(SIGTERM, [](int) { interrupted = true; });
        Campaign campaign(options, load_triage(files.triage));
        return files.replay.empty() ? run(campaign, files) : replay(campaign, files, options);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : 2;
    } catch (const std::exception& error) {
        fmt::print(stderr, "horos-fuzz-vmx: error: {}\n", error.what());
        return 2;
    }
}
