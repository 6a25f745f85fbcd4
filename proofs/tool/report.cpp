#include "report.hpp"
#include "json.hpp"
#include "properties.hpp"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <llvm/Support/JSON.h>
#include <llvm/Support/raw_ostream.h>

namespace horos::proofs {

namespace json = llvm::json;

namespace {

json::Object json_of(const Count& c) {
    return json::Object{{"proved", c.proved},
                        {"refuted", c.refuted},
                        {"unknown", c.unknown},
                        {"seconds", c.seconds}};
}

void write_json(const std::vector<Outcomes>& outcomes, const Options& options,
                const Summary& summary) {
    json::Array all;
    for (const Outcomes& o : outcomes) {
        auto one = json::parse(to_json(o.result, o.seconds, o.megabytes));
        json::Object object = *one->getAsObject();
        object["name"] = o.name;
        object["group"] = o.group;
        object["says"] = o.says;
        object["cached"] = o.cached;
        all.push_back(std::move(object));
    }
    json::Array groups;
    for (const auto& [name, count] : summary.groups) {
        const Property p = property_of(name);
        json::Object g = json_of(count);
        g["name"] = name;
        g["says"] = p.says;
        g["means"] = p.means;
        g["bounds"] = p.bounds;
        g["rests_on"] = p.rests;
        g["does_not_say"] = p.without;
        groups.push_back(std::move(g));
    }
    json::Object report = json_of(summary.total);
    report["core_bitcode"] = summary.core;
    report["spec_bitcode"] = summary.spec;
    report["image"] = summary.image;
    report["cached"] = summary.cached;
    if (summary.slowest != nullptr) {
        report["slowest"] = summary.slowest->name;
        report["slowest_seconds"] = summary.slowest->seconds;
        report["largest"] = summary.largest->name;
        report["largest_megabytes"] = static_cast<int64_t>(summary.largest->megabytes);
    }
    report["properties"] = std::move(groups);
    report["theorems"] = std::move(all);
    std::error_code error;
    llvm::raw_fd_ostream out(options.json, error);
    if (error)
        throw std::runtime_error("cannot write " + options.json + ": " + error.message());
    out << llvm::formatv("{0:2}", json::Value(std::move(report))) << "\n";
}

std::string escape(const std::string& text) {
    std::string out;
    for (const char c : text) {
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
        default:
            out += c;
        }
    }
    return out;
}

void write_html(const std::vector<Outcomes>& outcomes, const Options& options,
                const Summary& summary) {
    std::ofstream out(options.html);
    if (!out)
        throw std::runtime_error("cannot write " + options.html);
    const Count& total = summary.total;
    out << "<!doctype html><html lang=en><meta charset=utf-8><title>horos prove</title>"
           "<style>body{font:15px/1.4 sans-serif;margin:2em;max-width:80em}"
           "table{border-collapse:collapse}td,th{padding:.2em .7em;text-align:left;"
           "border-bottom:1px solid #ccc;vertical-align:top}.proved{color:#060}"
           ".refuted{color:#a00;font-weight:bold}.unknown{color:#850;font-weight:bold}"
           "pre{white-space:pre-wrap}</style><h1>horos prove</h1><p>"
        << total.proved << " proved, " << total.refuted << " refuted, " << total.unknown
        << " unknown; " << seconds_text(total.seconds) << " s of processor time";
    if (summary.slowest != nullptr)
        out << ", slowest " << escape(summary.slowest->name) << " in "
            << seconds_text(summary.slowest->seconds) << " s, largest "
            << escape(summary.largest->name) << " with " << summary.largest->megabytes << " MB";
    out << ".<p>core.bc " << summary.core << "<br>spec.bc " << summary.spec << "<br>image "
        << summary.image
        << "<h2>Properties</h2><table><tr><th>property<th>proved<th>refuted<th>unknown<th>seconds"
           "<th>says<th>means<th>bounds<th>rests on<th>does not say";
    for (const auto& [name, c] : summary.groups) {
        const Property p = property_of(name);
        out << "<tr><td>" << escape(name) << "<td>" << c.proved << "<td>" << c.refuted << "<td>"
            << c.unknown << "<td>" << seconds_text(c.seconds);
        for (const char* words : {p.says, p.means, p.bounds, p.rests, p.without})
            out << "<td>" << escape(words);
    }
    out << "</table><h2>Theorems</h2><table><tr><th>theorem<th>says<th>verdict<th>seconds<th>MB"
           "<th>bound<th>goals<th>rests on";
    for (const Outcomes& o : outcomes) {
        out << "<tr><td>" << escape(o.name) << "<td>" << escape(o.says)
            << "<td class=" << verdict_name(o.result.verdict) << ">"
            << verdict_name(o.result.verdict) << "<td>" << llvm::formatv("{0:f1}", o.seconds).str()
            << "<td>" << o.megabytes << "<td>" << escape(o.result.bound) << "<td>" << o.result.goals
            << "<td>";
        for (const std::string& l : o.result.lemmas)
            out << escape(l) << " ";
        for (const std::string& d : o.result.details)
            out << "<br>" << escape(d);
        if (!o.result.counterexample.empty())
            out << "<pre>" << escape(o.result.counterexample) << "</pre>";
    }
    out << "</table></html>\n";
}

void print(const Outcomes& o, const Options& options) {
    std::printf("%-8s %-36s %6.1f s %5ld MB %4u goals  %s%s\n", verdict_name(o.result.verdict),
                o.name.c_str(), o.seconds, o.megabytes, o.result.goals, o.result.bound.c_str(),
                o.cached ? "  (cached)" : "");
    for (const std::string& d : o.result.details)
        std::printf("         %s\n", d.c_str());
    if (options.verbose) {
        for (const std::string& l : o.result.lemmas)
            std::printf("         rests on %s\n", l.c_str());
    }
    if (!o.result.counterexample.empty() && (options.verbose || !options.only.empty()))
        std::printf("%s", o.result.counterexample.c_str());
}

} // namespace

std::set<std::string> read_expected(const Options& options) {
    std::set<std::string> all;
    if (options.expected.empty())
        return all;
    std::ifstream in(options.expected);
    if (!in)
        throw std::runtime_error("cannot read " + options.expected);
    for (std::string line; std::getline(in, line);) {
        line = line.substr(0, line.find('#'));
        while (!line.empty() && line.back() == ' ')
            line.pop_back();
        if (!line.empty())
            all.insert(line);
    }
    return all;
}

static void write_tests(const std::vector<Outcomes>& outcomes, const Options& options) {
    for (const Outcomes& o : outcomes) {
        if (o.result.test.empty())
            continue;
        std::string file = o.name;
        std::replace(file.begin(), file.end(), '/', '_');
        const std::string path = options.tests + "/" + file + "_test.cpp";
        std::ofstream out(path);
        out << o.result.test;
        if (!out)
            throw std::runtime_error("cannot write " + path);
        std::printf("counterexample of %s: %s\n", o.name.c_str(), path.c_str());
    }
}

// By property, the same numbers as in the other forms.
void print_summary(const Summary& s, unsigned open) {
    std::printf("\n%-12s %8s %8s %8s %8s\n", "property", "proved", "refuted", "unknown", "seconds");
    for (const auto& [name, c] : s.groups)
        std::printf("%-12s %8u %8u %8u %8.1f\n", name.c_str(), c.proved, c.refuted, c.unknown,
                    c.seconds);
    std::printf("\n%u proved, %u refuted, %u unknown (%u of them listed as open); %.0f s of work "
                "(%u kept from earlier)",
                s.total.proved, s.total.refuted, s.total.unknown, open, s.total.seconds, s.cached);
    if (s.slowest != nullptr)
        std::printf(", slowest %s in %.1f s, largest %s with %ld MB", s.slowest->name.c_str(),
                    s.slowest->seconds, s.largest->name.c_str(), s.largest->megabytes);
    std::printf("\ncore.bc %s\nspec.bc %s\nimage   %s\n", s.core.c_str(), s.spec.c_str(),
                s.image.c_str());
}

int report(const std::vector<Outcomes>& outcomes, const Options& options) {
    const std::set<std::string> expected = read_expected(options);
    const Summary summary(outcomes, options);
    unsigned known_open = 0;
    std::vector<std::string> surprises;
    for (const Outcomes& o : outcomes) {
        print(o, options);
        const bool proved = o.result.verdict == Verdict::proved;
        const bool open = expected.contains(o.name);
        known_open += open && !proved;
        if (proved && open)
            std::printf("note: %s is proved and still listed as open\n", o.name.c_str());
        if (!proved && !open)
            surprises.push_back(o.name + " is " + verdict_name(o.result.verdict));
    }
    print_summary(summary, known_open);
    if (!options.json.empty())
        write_json(outcomes, options, summary);
    if (!options.tests.empty())
        write_tests(outcomes, options);
    if (!options.html.empty())
        write_html(outcomes, options, summary);
    if (!options.assurance.empty())
        write_assurance(outcomes, options);
    for (const std::string& s : surprises)
        std::fprintf(stderr, "horos prove: %s\n", s.c_str());
    return surprises.empty() ? 0 : 1;
}

} // namespace horos::proofs
