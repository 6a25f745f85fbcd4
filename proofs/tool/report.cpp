#include "report.hpp"
#include "json.hpp"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <llvm/Support/JSON.h>
#include <llvm/Support/raw_ostream.h>

namespace horos::proofs {

namespace json = llvm::json;

namespace {

struct Totals {
    unsigned proved = 0, refuted = 0, unknown = 0, open = 0, closed = 0;
    double seconds = 0;
    double slowest = 0;
    long largest = 0;
};

void write_json(const std::vector<Outcomes>& outcomes, const Options& options,
                const Totals& totals) {
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
    json::Object report{{"core_bitcode", file_hash(options.core)},
                        {"spec_bitcode", file_hash(options.spec)},
                        {"image", file_hash(options.image)},
                        {"proved", totals.proved},
                        {"refuted", totals.refuted},
                        {"unknown", totals.unknown},
                        {"seconds", totals.seconds},
                        {"slowest_seconds", totals.slowest},
                        {"largest_megabytes", static_cast<int64_t>(totals.largest)},
                        {"theorems", std::move(all)}};
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
                const Totals& totals) {
    std::ofstream out(options.html);
    if (!out)
        throw std::runtime_error("cannot write " + options.html);
    out << "<!doctype html><html lang=en><meta charset=utf-8><title>horos prove</title>"
           "<style>body{font:15px/1.4 sans-serif;margin:2em;max-width:80em}"
           "table{border-collapse:collapse}td,th{padding:.2em .7em;text-align:left;"
           "border-bottom:1px solid #ccc;vertical-align:top}.proved{color:#060}"
           ".refuted{color:#a00;font-weight:bold}.unknown{color:#850;font-weight:bold}"
           "pre{white-space:pre-wrap}</style><h1>horos prove</h1><p>"
        << totals.proved << " proved, " << totals.refuted << " refuted, " << totals.unknown
        << " unknown.<p>core.bc " << file_hash(options.core) << "<br>spec.bc "
        << file_hash(options.spec) << "<br>image " << file_hash(options.image)
        << "<table><tr><th>theorem<th>says<th>verdict<th>seconds<th>MB<th>bound<th>goals"
           "<th>rests on";
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

int report(const std::vector<Outcomes>& outcomes, const Options& options) {
    const std::set<std::string> expected = read_expected(options);
    Totals totals;
    std::vector<std::string> surprises;
    for (const Outcomes& o : outcomes) {
        print(o, options);
        const bool proved = o.result.verdict == Verdict::proved;
        const bool open = expected.contains(o.name);
        totals.proved += proved;
        totals.refuted += o.result.verdict == Verdict::refuted;
        totals.unknown += o.result.verdict == Verdict::unknown;
        totals.open += open && !proved;
        totals.seconds += o.seconds;
        totals.slowest = std::max(totals.slowest, o.seconds);
        totals.largest = std::max(totals.largest, o.megabytes);
        if (proved && open)
            std::printf("note: %s is proved and still listed as open\n", o.name.c_str());
        if (!proved && !open)
            surprises.push_back(o.name + " is " + verdict_name(o.result.verdict));
    }
    std::printf("\n%u proved, %u refuted, %u unknown (%u of them listed as open); "
                "%.0f s of work, slowest %.1f s, largest %ld MB\n",
                totals.proved, totals.refuted, totals.unknown, totals.open, totals.seconds,
                totals.slowest, totals.largest);
    std::printf("core.bc %s\nimage   %s\n", file_hash(options.core).c_str(),
                file_hash(options.image).c_str());
    if (!options.json.empty())
        write_json(outcomes, options, totals);
    if (!options.tests.empty())
        write_tests(outcomes, options);
    if (!options.html.empty())
        write_html(outcomes, options, totals);
    if (!options.assurance.empty())
        write_assurance(outcomes, options);
    for (const std::string& s : surprises)
        std::fprintf(stderr, "horos prove: %s\n", s.c_str());
    return surprises.empty() ? 0 : 1;
}

} // namespace horos::proofs
