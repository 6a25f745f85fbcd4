#include "horos/fuzz/report.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace horos::fuzz {

namespace {

std::string escape(const std::string& text) {
    std::string out;
    for (char c : text) {
        switch (c) {
        case '<':
            out += "&lt;";
            break;
        case '>':
            out += "&gt;";
            break;
        case '&':
            out += "&amp;";
            break;
        case '"':
            out += "&quot;";
            break;
        default:
            out += c;
        }
    }
    return out;
}

constexpr const char* STYLE = R"(
:root{color-scheme:light dark;--line:#8884;--soft:#8881;--bad:#c62828;--good:#2e7d32}
body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2em auto;padding:0 1em}
h1{font-size:1.5em;margin-bottom:.2em}h2{margin-top:2em;font-size:1.15em}
.tiles{display:flex;flex-wrap:wrap;gap:.6em}
.tile{border:1px solid var(--line);border-radius:8px;padding:.5em .9em;min-width:7.5em}
.tile b{display:block;font-size:1.35em}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.3em .6em;
border-bottom:1px solid var(--line);vertical-align:top}th{font-weight:600;background:var(--soft)}
code,pre{font-family:ui-monospace,monospace;font-size:.88em}pre{overflow:auto;background:var(--soft);
padding:.7em;border-radius:6px;max-height:24em}
.new{color:var(--bad);font-weight:600}.known{color:var(--good)}summary{cursor:pointer}
)";

std::string tile(const std::string& value, const std::string& label) {
    return fmt::format("<div class=tile><b>{}</b>{}</div>\n", escape(value), escape(label));
}

std::string findingsTable(const std::vector<Finding>& findings) {
    std::string out =
        "<table><tr><th>field<th>the model allows<th>known bits<th>observed<th>section</tr>";
    for (const Finding& f : findings)
        out += fmt::format("<tr><td><code>{}</code><td><code>{:#x}</code><td><code>{:#x}</code>"
                           "<td><code>{:#x}</code><td>{}</tr>",
                           escape(f.field), f.expected, f.known, f.observed, escape(f.section));
    return out + "</table>";
}

std::string clusterRow(const Cluster& c) {
    std::string state = c.known ? fmt::format("<span class=known>known: {}</span><br>{}",
                                              escape(c.known->id), escape(c.known->section))
                                : "<span class=new>new</span>" + escape(condition(c));
    std::string body = findingsTable(c.example.findings);
    if (c.known)
        body += fmt::format("<p>{}: {}</p>", escape(c.known->verdict), escape(c.known->evidence));
    if (!c.example.log.empty())
        body += fmt::format("<pre>{}</pre>", escape(c.example.log.substr(0, 4000)));
    body += fmt::format("<pre>{}</pre>", escape(toJson(c.example.input).dump(2)));
    return fmt::format("<tr><td>{}<td>{}<td><details><summary>{}</summary>{}</details></tr>\n",
                       state, c.count, escape(c.key.text()), body);
}

std::string rulesTable(const CampaignResult& r) {
    std::string out = "<table><tr><th>rule<th>section<th>broken<th>held</tr>";
    for (const RuleRow& row : r.rules) {
        auto mark = [&](bool done) {
            return !row.reachable ? "not reachable from the harness"
                   : done         ? "yes"
                                  : "<span class=new>no</span>";
        };
        out +=
            fmt::format("<tr><td><code>{}</code><td>{}<td>{}<td>{}</tr>", escape(row.name),
                        escape(row.section), mark(row.broken), row.reachable ? mark(row.held) : "");
    }
    return out + "</table>";
}

} // namespace

std::string condition(const Cluster& c) {
    if (c.known)
        return {};
    if (!c.confirmed)
        return ", not confirmed: time was up";
    if (c.needs.empty())
        return {};
    constexpr size_t NAMED = 3;
    std::string text = ", only after";
    for (size_t i = 0; i < std::min(NAMED, c.needs.size()); ++i)
        text += fmt::format(" {} ({})", contentName(c.needs[i]), instructionOf(c.needs[i]));
    return c.needs.size() > NAMED ? text + fmt::format(" and {} more", c.needs.size() - NAMED)
                                  : text;
}

std::string toHtml(const CampaignResult& r) {
    std::string out = fmt::format(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport "
        "content=\"width=device-width\"><title>horos fuzz: {0}</title><style>{1}</style>"
        "<h1>horos fuzz: {0} ({2})</h1><p>profile {3}, seed {4}, {5:.0f} s</p><div class=tiles>",
        escape(r.target), STYLE, escape(r.version), escape(r.profile), r.seed, r.seconds);
    out += tile(fmt::format("{}", r.unknown()), "new clusters");
    out += tile(fmt::format("{}", r.clusters.size()), "clusters in all");
    out += tile(fmt::format("{}", r.executed), "cases run");
    out += tile(fmt::format("{:.0f}/s", r.casesPerSecond), "with model and comparison");
    out += tile(fmt::format("{}/{}", r.rulesBothSides, r.rulesReachable),
                "reachable rules, both sides");
    out += tile(r.rulesCompleteAt < 0 ? "never" : fmt::format("{:.1f} s", r.rulesCompleteAt),
                "until all rules");
    out += tile(fmt::format("{}", r.exits.size()), "kinds of exit");
    out += tile(fmt::format("{}", r.pairs), "pairs of rules");
    out += tile(fmt::format("{}", r.restarts), "restarts");
    out += "</div><h2>Divergences</h2>";
    if (r.clusters.empty())
        out += "<p>None.</p>";
    else {
        out += "<table><tr><th>state<th>cases<th>cause</tr>";
        for (const Cluster& c : r.clusters)
            out += clusterRow(c);
        out += "</table>";
    }
    if (!r.deviations.empty()) {
        out += "<h2>Known deviations of this target</h2><table><tr><th>triage<th>cases</tr>";
        for (const auto& [id, deviation] : r.deviations)
            out += fmt::format("<tr><td>{}<td>{}</tr>", escape(id), deviation.count);
        out += "</table>";
    }
    out += fmt::format("<h2>Not run</h2><p>Predicted {} cases. Left out: {} that the manual leaves "
                       "open, {} whose guest would never come back, {} that write outside what "
                       "the harness brings back, {} of which the model with this target's defects "
                       "says that they end "
                       "it.</p>",
                       r.predicted, r.unspecified, r.neverReturns, r.writesOutside, r.avoided);
    if (!r.fatal.empty()) {
        out +=
            "<table><tr><th>what the target says as it ends<th>left out<th>died<th>survived</tr>";
        for (const auto& [cause, count] : r.fatal)
            out += fmt::format("<tr><td>{}<td>{}<td>{}<td>{}</tr>", escape(cause), count.leftOut,
                               count.died, count.survived);
        out += "</table>";
    }
    out += "<h2>Rules</h2>" + rulesTable(r) + "<h2>Exits</h2><p>";
    for (const std::string& exit : r.exits)
        out += fmt::format("<code>{}</code> ", escape(exit));
    return out + "</p></html>\n";
}

std::string toMarkdown(const CampaignResult& r) {
    std::string out = fmt::format("# Campaign: {} ({})\n\n", r.target, r.version);
    out +=
        fmt::format("| | |\n| --- | --- |\n| profile | {} |\n| seed | {} |\n| time | {:.0f} s |\n"
                    "| cases run | {} ({:.0f}/s with model and comparison) |\n",
                    r.profile, r.seed, r.seconds, r.executed, r.casesPerSecond);
    out += fmt::format(
        "| rules, both sides | {} of {} reachable ({} apply), complete after {:.1f} s |\n",
        r.rulesBothSides, r.rulesReachable, r.rulesApplicable, r.rulesCompleteAt);
    out += fmt::format("| pairs of rules broken together | {} |\n| kinds of exit | {} |\n"
                       "| model features | {} |\n| restarts of the target | {} |\n",
                       r.pairs, r.exits.size(), r.features, r.restarts);
    out += fmt::format("| left out | {} unspecified, {} never returning, {} writing outside the "
                       "windows, {} known to end the target |\n",
                       r.unspecified, r.neverReturns, r.writesOutside, r.avoided);
    out += fmt::format("| clusters | {}, of them new: {} |\n\n## Clusters\n\n", r.clusters.size(),
                       r.unknown());
    out += "| triage | cases | rules | expected | observed | instruction | fields |\n| --- | --- | "
           "--- | --- | "
           "--- | --- |\n";
    for (const Cluster& c : r.clusters)
        out += fmt::format("| {} | {} | {} | {} | {} | {} | {} |\n",
                           (c.known ? c.known->id : "**new**") + condition(c), c.count, c.key.rules,
                           c.key.expected, c.key.observed, c.key.instruction, c.key.fields);
    if (!r.unconfirmed.empty())
        out += "\n## Not seen again\n\nOnce seen, but neither alone on a new target nor after the "
               "cases that had run before it:\n\n";
    for (const auto& [text, times] : r.unconfirmed)
        out += fmt::format("- {} ({})\n", text, times);
    out += "\n## Known deviations\n\n| triage | cases |\n| --- | --- |\n";
    for (const auto& [id, deviation] : r.deviations)
        out += fmt::format("| {} | {} |\n", id, deviation.count);
    out +=
        "\n## Known to end the target\n\n| message | left out | died | survived |\n| --- | --- | "
        "--- | --- |\n";
    for (const auto& [cause, count] : r.fatal)
        out += fmt::format("| {} | {} | {} | {} |\n", cause, count.leftOut, count.died,
                           count.survived);
    out += "\n## Evidence\n\n";
    for (const Triaged& t : r.triage.entries())
        out += fmt::format("- **{}** ({}; {}): {}\n", t.id, t.verdict, t.section, t.evidence);
    return out;
}

} // namespace horos::fuzz
