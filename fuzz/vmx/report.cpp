#include "report.hpp"

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace horos::fuzz::vmx {

using nlohmann::json;

namespace {

std::string escape(const std::string& text) {
    std::string out;
    for (const char c : text) {
        out += c == '<' ? "&lt;" : c == '>' ? "&gt;" : c == '&' ? "&amp;" : std::string(1, c);
    }
    return out;
}

size_t killed(const Report& r) {
    size_t count = 0;
    for (const Kill& kill : r.kills) {
        count += kill.killed ? 1 : 0;
    }
    return count;
}

json clusters_json(const Report& r) {
    json clusters = json::array();
    for (const auto& [key, c] : r.clusters) {
        clusters.push_back({{"cluster", key},
                            {"count", c.count},
                            {"known", c.known != nullptr},
                            {"expected", c.divergence.expected},
                            {"observed", c.divergence.observed},
                            {"besides", c.divergence.besides},
                            {"changed", c.changed},
                            {"case", to_json(c.test)}});
        if (c.known == nullptr) {
            clusters.back()["saved"] = c.saved;
        } else {
            clusters.back()["section"] = c.known->section;
            clusters.back()["why"] = c.known->why;
        }
    }
    return clusters;
}

struct Line {
    std::string label, value;
};
std::vector<Line> summary(const Report& r) {
    return {
        {"processor model", r.options.cpu + " (profile " + r.options.profile + ")"},
        {"seed", fmt::format("{}", r.options.seed)},
        {"time", fmt::format("{:.0f} s", r.seconds)},
        {"cases", fmt::format("{} ({:.0f}/s with model and comparison)", r.cases,
                              double(r.cases) / r.seconds)},
        {"of them entries, guests, sequences",
         fmt::format("{}, {}, {}", r.by_kind[0], r.by_kind[1], r.by_kind[2])},
        {"rules, both sides",
         fmt::format("{} broken and {} held of {} reachable, complete after "
                     "{:.1f} s",
                     r.broken_side, r.held_side, r.rules, r.rules_complete_at)},
        {"kinds of outcome", fmt::format("{}", r.exits.size())},
        {"ways that guests and instructions took", fmt::format("{}", r.paths.size())},
        {"not compared, because the manual or the model leaves it open", fmt::format("{}", r.open)},
        {"not run, like cases that had stopped the target", fmt::format("{}", r.avoided)},
        {"restarts of the target", fmt::format("{}", r.restarts)},
        {"clusters", fmt::format("{}, of them new: {}", r.clusters.size(), r.fresh())},
    };
}

} // namespace

json to_json(const Report& r) {
    json rules = json::array(), kills = json::array();
    for (const RuleRow& row : r.rows) {
        rules.push_back({{"rule", row.name},
                         {"section", row.section},
                         {"reachable", row.reachable},
                         {"broken", row.broken},
                         {"held", row.held}});
    }
    for (const Kill& kill : r.kills) {
        kills.push_back({{"fault", kill.fault},
                         {"kind", kill.kind},
                         {"killed", kill.killed},
                         {"case", kill.at_case},
                         {"seconds", kill.seconds},
                         {"by", kill.by}});
    }
    return {{"target", "bochs-vmx"},
            {"cpu", r.options.cpu},
            {"profile", r.options.profile},
            {"seed", r.options.seed},
            {"cases", r.cases},
            {"seconds", r.seconds},
            {"restarts", r.restarts},
            {"open", r.open},
            {"rules_reachable", r.rules},
            {"broken_side", r.broken_side},
            {"held_side", r.held_side},
            {"rules_complete_at", r.rules_complete_at},
            {"uncovered", r.uncovered},
            {"fields", r.field_mismatches},
            {"exits", r.exits},
            {"paths", r.paths},
            {"left_open", r.opens},
            {"deviations", r.deviations},
            {"rules", rules},
            {"kills", kills},
            {"clusters", clusters_json(r)}};
}

std::string to_markdown(const Report& r) {
    std::string out =
        fmt::format("# Campaign: bochs-vmx, {}\n\n| | |\n| --- | --- |\n", r.options.cpu);
    for (const Line& line : summary(r)) {
        out += fmt::format("| {} | {} |\n", line.label, line.value);
    }
    out += "\n## Clusters\n\n| state | cases | cluster | expected | observed |\n"
           "| --- | --- | --- | --- | --- |\n";
    for (const auto& [key, c] : r.clusters) {
        std::string cell = key;
        for (size_t at = 0; (at = cell.find('|', at)) != std::string::npos; at += 2) {
            cell.insert(at, "\\");
        }
        out += fmt::format("| {} | {} | {} | {} | {} |\n",
                           c.known != nullptr ? c.known->section : "**new**", c.count, cell,
                           c.divergence.expected, c.divergence.observed);
    }
    out += "\n## Known defects that the model predicts with\n\n| defect | cases |\n| --- | --- |\n";
    for (const auto& [name, count] : r.deviations) {
        out += fmt::format("| {} | {} |\n", name, count);
    }
    out += "\n## Evidence\n\n";
    for (const auto& [name, known] : r.evidence) {
        out += fmt::format("- {}: {}: {}\n", name, known.section, known.why);
    }
    std::set<std::string> said;
    for (const auto& [key, c] : r.clusters) {
        if (c.known != nullptr && said.insert(c.known->why).second) {
            out += fmt::format("- {}: {}\n", c.known->section, c.known->why);
        }
    }
    if (!r.kills.empty()) {
        out += fmt::format("\n## Seeded faults: {} of {} found\n\n| fault | kind | found after | "
                           "by |\n| --- | --- | --- | --- |\n",
                           killed(r), r.kills.size());
        for (const Kill& kill : r.kills) {
            std::string by = kill.by;
            for (size_t at = 0; (at = by.find('|', at)) != std::string::npos; at += 2) {
                by.insert(at, "\\");
            }
            out += fmt::format("| {} | {} | {} | {} |\n", kill.fault, kill.kind,
                               kill.killed ? fmt::format("{:.1f} s", kill.seconds) : "**not**", by);
        }
    }
    return out;
}

std::string to_html(const Report& r) {
    std::string out = fmt::format(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport "
        "content=\"width=device-width\"><title>horos fuzz: bochs-vmx {0}</title><style>"
        "body{{font:15px/1.5 system-ui,sans-serif;max-width:75em;margin:2em auto;padding:0 1em}}"
        "table{{border-collapse:collapse;width:100%}}td,th{{text-align:left;padding:.3em .6em;"
        "border-bottom:1px solid #8884;vertical-align:top}}code,pre{{font-family:ui-monospace,"
        "monospace;font-size:.88em}}.new{{color:#b00;font-weight:600}}</style>"
        "<h1>horos fuzz: bochs-vmx, {0}</h1><table>",
        escape(r.options.cpu));
    for (const Line& line : summary(r)) {
        out += fmt::format("<tr><th>{}<td>{}", escape(line.label), escape(line.value));
    }
    out += "</table><h2>Divergences</h2><table><tr><th>state<th>cases<th>cause";
    for (const auto& [key, c] : r.clusters) {
        std::string detail;
        for (const std::string& line : c.changed) {
            detail += escape(line) + "\n";
        }
        out += fmt::format(
            "<tr><td>{}<td>{}<td><details><summary>{}</summary><p>expected {}; observed {}</p>"
            "<p>{}</p><pre>{}</pre></details>",
            c.known != nullptr ? escape(c.known->section) : "<span class=new>new</span>", c.count,
            escape(key), escape(c.divergence.expected), escape(c.divergence.observed),
            c.known != nullptr ? escape(c.known->why) : "", detail);
    }
    out += "</table><h2>Known defects that the model predicts with</h2><table><tr><th>defect"
           "<th>cases<th>section<th>why";
    for (const auto& [name, known] : r.evidence) {
        const auto found = r.deviations.find(name);
        out += fmt::format("<tr><td>{}<td>{}<td>{}<td>{}", escape(name),
                           found == r.deviations.end() ? 0 : found->second, escape(known.section),
                           escape(known.why));
    }
    out += "</table><h2>Rules</h2><table><tr><th>rule<th>section<th>broken<th>held";
    for (const RuleRow& row : r.rows) {
        const auto mark = [&](bool done) {
            return !row.reachable ? "not reachable from the harness"
                   : done         ? "yes"
                                  : "<span class=new>no</span>";
        };
        out += fmt::format("<tr><td>{}<td>{}<td>{}<td>{}", escape(row.name), escape(row.section),
                           mark(row.broken), mark(row.held));
    }
    if (!r.kills.empty()) {
        out += "</table><h2>Seeded faults</h2><table><tr><th>fault<th>kind<th>found<th>by";
        for (const Kill& kill : r.kills) {
            out += fmt::format(
                "<tr><td>{}<td>{}<td>{}<td>{}", escape(kill.fault), escape(kill.kind),
                kill.killed ? fmt::format("{:.1f} s", kill.seconds) : "<span class=new>no</span>",
                escape(kill.by));
        }
    }
    out += "</table><h2>Outcomes</h2><table><tr><th>cases<th>outcome";
    for (const auto& [exit, count] : r.exits) {
        out += fmt::format("<tr><td>{}<td>{}", count, escape(exit));
    }
    return out + "</table></html>\n";
}

void print(const Report& r) {
    for (const Line& line : summary(r)) {
        fmt::print("{}: {}\n", line.label, line.value);
    }
    for (const std::string& rule : r.uncovered) {
        fmt::print("  not covered: {}\n", rule);
    }
    for (const std::string& field : r.field_mismatches) {
        fmt::print("  field {}\n", field);
    }
    for (const auto& [key, c] : r.clusters) {
        fmt::print("{} {:7} x {}\n", c.known != nullptr ? "known" : "NEW  ", c.count, key);
        if (c.known == nullptr) {
            fmt::print("        expected {}; observed {}\n", c.divergence.expected,
                       c.divergence.observed);
            if (!c.divergence.besides.empty()) {
                fmt::print("        with the known defects: {}\n", c.divergence.besides);
            }
            for (const std::string& line : c.changed) {
                fmt::print("        {}\n", line);
            }
        }
    }
    for (const auto& [name, count] : r.deviations) {
        fmt::print("known {:7} x defect {}\n", count, name);
    }
    if (!r.kills.empty()) {
        fmt::print("seeded faults: {} of {} found\n", killed(r), r.kills.size());
        for (const Kill& kill : r.kills) {
            if (!kill.killed) {
                fmt::print("  not found: {} ({})\n", kill.fault, kill.kind);
            }
        }
    }
}

} // namespace horos::fuzz::vmx
