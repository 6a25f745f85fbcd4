#include "commands.hpp"
#include "horos/fuzz/bench.hpp"
#include "process.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace horos::fuzz {

namespace {

nlohmann::json rateJson(const Rate& rate, const Rate& bare) {
    return {{"per_second", rate.wall},
            {"per_core_second", rate.core},
            {"ratio_to_bare", rate.core / bare.core}};
}

} // namespace

int runBench(const Common& common, unsigned rounds, uint64_t cases, const std::string& json) {
    requireWritable(json);
    const BenchResult r = bench(common.options(), rounds, cases);
    const struct {
        const char *label, *key;
        const Rate& rate;
    } rows[] = {{"bare VMRUN loop", "bare_vmrun", r.bare},
                {"cases, code unchanged", "unchanged_code", r.unchanged},
                {"cases, fresh code", "fresh_code", r.fresh},
                {"and judged, code unchanged", "unchanged_code_judged", r.unchangedJudged},
                {"and judged, fresh code", "fresh_code_judged", r.freshJudged}};
    fmt::print("{} {} (best of {} rounds{})\n", r.target, r.version, r.rounds,
               r.oneCore ? ", target and fuzzer on one core" : "");
    fmt::print("  {:<26}{:>12}{:>24}{:>18}\n", "", "per second", "per processor second",
               "of the bare loop");
    nlohmann::json out = {{"target", r.target},
                          {"version", r.version},
                          {"one_core", r.oneCore},
                          {"start_seconds", r.startSeconds},
                          {"rounds", r.rounds}};
    for (const auto& row : rows) {
        fmt::print("  {:<26}{:>12.0f}{:>24.0f}{:>18.2f}\n", row.label, row.rate.wall, row.rate.core,
                   row.rate.core / r.bare.core);
        out[row.key] = rateJson(row.rate, r.bare);
    }
    fmt::print("  start of the target {:.2f} s\n", r.startSeconds);
    if (json == "-")
        fmt::print("{}\n", out.dump(2));
    else if (!json.empty())
        writeFile(json, out.dump(2) + "\n");
    return GOOD;
}

} // namespace horos::fuzz
