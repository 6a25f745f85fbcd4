#include "commands.hpp"
#include "horos/fuzz/report.hpp"
#include "process.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

namespace horos::fuzz {

namespace {

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
        fmt::print("  {:<12} {:>7}  {}{}\n", c.known ? "known" : "NEW", c.count,
                   c.known ? c.known->id + ": " + c.key.text() : c.key.text(), condition(c));
    for (const auto& [text, times] : r.unconfirmed)
        fmt::print("  {:<12} {:>7}  {}\n", "not again", times, text);
    for (const auto& [id, deviation] : r.deviations)
        fmt::print("  {:<12} {:>7}  {}\n", "known field", deviation.count, id);
    for (const auto& [id, count] : r.fatal)
        fmt::print("  {:<12} {:>7}  {}: {} died, {} survived\n", "left out", count.leftOut, id,
                   count.died, count.survived);
}

} // namespace

int runFuzz(const CampaignArguments& a) {
    for (const std::string& path : {a.json, a.html, a.markdown})
        requireWritable(path);
    CampaignOptions options = campaignOptions(a);
    if (a.solve) {
        options.solver = {"/proc/self/exe", "witnesses", "--target", a.common.target};
        if (!a.common.profile.empty())
            options.solver.insert(options.solver.end(), {"--profile", a.common.profile});
        if (a.noPairs)
            options.solver.push_back("--no-pairs");
        options.solver.push_back("--out");
    }
    options.minimise = !a.noMinimise;
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

} // namespace horos::fuzz
