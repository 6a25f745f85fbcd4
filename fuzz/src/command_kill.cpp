#include "commands.hpp"
#include "horos/fuzz/faults.hpp"
#include "process.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace horos::fuzz {

namespace {

std::string howFound(const Kill& kill) {
    if (kill.killed)
        return kill.by;
    if (kill.outOfReach)
        return "out of the harness's reach";
    return fmt::format("SURVIVED ({} predictions changed)", kill.touched);
}

std::string killTableMarkdown(const std::vector<Kill>& table, const CampaignArguments& a,
                              unsigned killed, unsigned all) {
    std::string text = fmt::format(
        "# Seeded faults, {}\n\n`./horos fuzz kill-table --target {} --seed {} --cases {}`: {} of "
        "{} faults that are within the harness's reach are found.\n\n"
        "| kind | fault | seconds | cases | given away by |\n| --- | --- | ---: | ---: | --- |\n",
        a.common.target, a.common.target, a.seed, a.cases, killed, all);
    for (const Kill& kill : table)
        text += fmt::format("| {} | {} | {:.1f} | {} | {} |\n", kill.kind, kill.fault, kill.seconds,
                            kill.cases, howFound(kill));
    return text;
}

nlohmann::json killTableJson(const std::vector<Kill>& table) {
    nlohmann::json out = nlohmann::json::array();
    for (const Kill& kill : table)
        out.push_back({{"fault", kill.fault},
                       {"kind", kill.kind},
                       {"killed", kill.killed},
                       {"out_of_reach", kill.outOfReach},
                       {"seconds", kill.seconds},
                       {"cases", kill.cases},
                       {"predictions_changed", kill.touched},
                       {"by", kill.by}});
    return out;
}

} // namespace

int runKillTable(const CampaignArguments& a, unsigned allowed) {
    for (const std::string& path : {a.json, a.markdown})
        requireWritable(path);
    const std::vector<Kill> table = killTable(campaignOptions(a));
    if (interrupted)
        throw std::runtime_error("interrupted: the table is not complete");
    unsigned killed = 0, all = 0;
    fmt::print("{:<17} {:<48} {:>8} {:>9}  given away by\n", "kind", "seeded fault", "seconds",
               "cases");
    for (const Kill& kill : table) {
        all += !kill.outOfReach;
        killed += kill.killed;
        fmt::print("{:<17} {:<48} {:>8.1f} {:>9}  {}\n", kill.kind, kill.fault, kill.seconds,
                   kill.cases, howFound(kill));
    }
    fmt::print("{} of {} seeded faults found\n", killed, all);
    if (!a.json.empty())
        writeFile(a.json, killTableJson(table).dump(2) + "\n");
    if (!a.markdown.empty())
        writeFile(a.markdown, killTableMarkdown(table, a, killed, all));
    return killed + allowed >= all ? GOOD : NEW_DIVERGENCES;
}

} // namespace horos::fuzz
