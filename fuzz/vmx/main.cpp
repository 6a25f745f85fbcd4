// horos-fuzz-vmx: the VMX rules against Bochs. Exit status: 0 no new divergence, 1 new ones (or a
// rule side not covered), 2 an error.
#include "campaign.hpp"

#include <CLI/CLI.hpp>
#include <fmt/core.h>
#include <fstream>
#include <nlohmann/json.hpp>

namespace {

using namespace horos::fuzz::vmx;
using nlohmann::json;

struct Model {
    const char* cpu;
    const char* profile;
};
constexpr Model MODELS[] = {{"corei7_skylake_x", "bochs-2.7-skylake-x"},
                            {"corei7_haswell_4770", "bochs-2.7-haswell"},
                            {"corei7_icelake_u", "bochs-2.7-icelake"},
                            {"tigerlake", "bochs-2.7-tigerlake"}};

json to_json(const Report& r, const Options& options) {
    json clusters = json::array();
    for (const auto& [key, c] : r.clusters) {
        clusters.push_back({{"cluster", key},
                            {"count", c.count},
                            {"known", c.known},
                            {"expected", c.divergence.expected},
                            {"observed", c.divergence.observed},
                            {"broken", c.broken},
                            {"changed", c.changed}});
    }
    return {{"target", "bochs-vmx"},    {"cpu", options.cpu},           {"seed", options.seed},
            {"cases", r.cases},         {"seconds", r.seconds},         {"restarts", r.restarts},
            {"rules", r.rules},         {"broken_side", r.broken_side}, {"held_side", r.held_side},
            {"uncovered", r.uncovered}, {"fields", r.field_mismatches}, {"exits", r.exits},
            {"clusters", clusters}};
}

int report(const Report& r, const Options& options, const std::string& file) {
    fmt::print("{}: {} cases in {:.1f} s ({:.0f}/s), {} restarts\n", options.cpu, r.cases,
               r.seconds, double(r.cases) / r.seconds, r.restarts);
    fmt::print("rules: {} reachable, {} broken, {} held at the boundary\n", r.rules, r.broken_side,
               r.held_side);
    for (const std::string& rule : r.uncovered) {
        fmt::print("  not covered: {}\n", rule);
    }
    for (const std::string& field : r.field_mismatches) {
        fmt::print("  field {}\n", field);
    }
    int fresh = 0;
    for (const auto& [key, c] : r.clusters) {
        fmt::print("{} {:7} x {}\n", c.known ? "known" : "NEW  ", c.count, key);
        if (!c.known) {
            ++fresh;
            fmt::print("        expected {}; observed {}\n", c.divergence.expected,
                       c.divergence.observed);
            for (const std::string& line : c.changed) {
                fmt::print("        {}\n", line);
            }
        }
    }
    if (!file.empty()) {
        std::ofstream(file) << to_json(r, options).dump(2) << "\n";
    }
    return fresh == 0 && r.uncovered.empty() ? 0 : 1;
}

} // namespace

int main(int argc, char** argv) {
    CLI::App app{"Differential fuzzer of VM entries: the same VMCS in Bochs and in the model."};
    app.name("horos-fuzz-vmx");
    Options options;
    options.cpu = "corei7_skylake_x";
    std::string target = "bochs-vmx";
    std::string file;
    std::string triage = HOROS_VMX_TRIAGE "/bochs-vmx-bochs-2.7.json";
    app.add_option("--target", target, "bochs-vmx")->check(CLI::IsMember({"bochs-vmx"}));
    app.add_option("--cpu", options.cpu,
                   "corei7_skylake_x, corei7_haswell_4770, corei7_icelake_u or tigerlake");
    app.add_option("--time", options.seconds, "seconds");
    app.add_option("--seed", options.seed, "of the mutations");
    app.add_option("--json", file, "write the report as JSON");
    app.add_option("--triage", triage, "known divergences");
    app.add_flag("--bench", options.bench, "measure cases per second only");
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
        Campaign campaign(options, load_triage(triage));
        if (options.bench) {
            campaign.bench();
            return 0;
        }
        return report(campaign.run(), options, file);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : 2;
    } catch (const std::exception& error) {
        fmt::print(stderr, "horos-fuzz-vmx: error: {}\n", error.what());
        return 2;
    }
}
