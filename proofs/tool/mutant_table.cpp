// docs/mutants.md: what became of each mutant. What a person found out about one that survived is
// kept in a file of its own and merged in, so that the table can be written again at any time.
#include "mutants.hpp"

#include <fstream>
#include <sstream>

namespace horos::proofs {

namespace {

std::string trimmed(const std::string& text) {
    const size_t first = text.find_first_not_of(" \t");
    return first == std::string::npos
               ? ""
               : text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

// A mutant as the remarks name it: kind | place without the line | change. Lines move with every
// edit of a file; what is changed does not.
std::string key_of(const Mutant& m) {
    return std::string(kind_name(m.kind)) + " | " + m.place.substr(0, m.place.rfind(':')) + " | " +
           m.says;
}

// kind | place | change | verdict | what is known
struct Remark {
    std::string verdict;
    std::string text;
};
std::map<std::string, Remark> read_remarks(const std::string& path) {
    std::map<std::string, Remark> all;
    if (path.empty())
        return all;
    std::ifstream in(path);
    if (!in)
        throw std::runtime_error("cannot read " + path);
    for (std::string line; std::getline(in, line);) {
        if (trimmed(line).empty() || line[0] == '#')
            continue;
        std::istringstream parts(line);
        std::vector<std::string> part;
        for (std::string one; std::getline(parts, one, '|');)
            part.push_back(trimmed(one));
        if (part.size() != 5 || (part[3] != "equivalent" && part[3] != "open"))
            throw std::runtime_error(path +
                                     ": not 'kind | place | change | equivalent or open | "
                                     "why': " +
                                     line);
        all[part[0] + " | " + part[1] + " | " + part[2]] = {part[3], part[4]};
    }
    return all;
}

// In a table, | would end the cell.
std::string cell(std::string text) {
    for (size_t at = 0; (at = text.find('|', at)) != std::string::npos; at += 2)
        text.insert(at, "\\");
    return text;
}

} // namespace

void write_table(const std::vector<Tried>& tried, size_t theorems, const Options& options) {
    const std::map<std::string, Remark> remarks = read_remarks(options.remarks);
    std::ofstream out(options.table);
    if (!out)
        throw std::runtime_error("cannot write " + options.table);
    std::map<std::string, unsigned> count;
    std::set<std::string> functions;
    unsigned unexplained = 0;
    for (const Tried& t : tried) {
        functions.insert(t.mutant.place.substr(0, t.mutant.place.rfind(' ')));
        const auto remark = remarks.find(key_of(t.mutant));
        const std::string verdict = verdict_of(t);
        ++count[verdict == "survived" && remark != remarks.end() &&
                        remark->second.verdict == "equivalent"
                    ? "explained"
                    : verdict];
        unexplained += verdict == "survived" && remark == remarks.end();
    }
    out << "# Mutants of the kernel core\n\n"
           "Written by `./horos prove --mutants "
        << options.mutants << " --table FILE`";
    if (!options.only.empty())
        out << " with `--only " << options.only << "`";
    out << "; nothing here is written by hand but the remarks, which come from "
           "`proofs/mutants.txt`.\n\n"
           "One instruction of core.bc (`"
        << file_hash(options.core) << "`, spec.bc `" << file_hash(options.spec)
        << "`) is changed at a time, mechanically; the mutants are spread over " << functions.size()
        << " functions of the source and over the kinds of change, the same ones every time. Then "
           "theorems about the entries that run the function are tried again, of the "
        << theorems
        << " that are proved of the kernel itself. Refinement does not count for code of "
           "kernel/svm, which spec/ calls too.\n\n"
           "- *refuted*: a theorem says so, with a counterexample.\n"
           "- *equivalent*: refinement is proved of the mutant wherever it runs, so that it does "
           "what spec/ says all the same.\n"
           "- *survived*: neither. The remark says why; with *equivalent by hand* a person has "
           "found that the change makes no difference, and no theorem says so.\n\n"
        << tried.size() << " mutants: " << count["refuted"] << " refuted, " << count["equivalent"]
        << " equivalent, " << count["survived"] + count["explained"] << " survived ("
        << count["explained"] << " of them equivalent by hand, " << unexplained
        << " without a remark).";
    const unsigned real = count["refuted"] + count["survived"];
    char rates[160];
    std::snprintf(rates, sizeof rates,
                  " Of those not shown to be equivalent %.1f %% are refuted; without those that "
                  "are equivalent by hand %.1f %%.",
                  100.0 * count["refuted"] / std::max(1u, real + count["explained"]),
                  100.0 * count["refuted"] / std::max(1u, real));
    out << rates
        << "\n\n| # | change | where | what | verdict | by, or why not | seconds |\n"
           "| --- | --- | --- | --- | --- | --- | --- |\n";
    for (size_t i = 0; i < tried.size(); ++i) {
        const Tried& t = tried[i];
        char seconds[16];
        std::snprintf(seconds, sizeof seconds, "%.1f", t.outcome.seconds);
        std::string verdict = verdict_of(t);
        std::string reason = reason_of(t);
        const auto remark = remarks.find(key_of(t.mutant));
        if (verdict == "survived" && remark != remarks.end()) {
            verdict += remark->second.verdict == "equivalent" ? ", equivalent by hand" : "";
            reason += ". " + remark->second.text;
        }
        out << "| " << i + 1 << " | " << kind_name(t.mutant.kind) << " | " << cell(t.mutant.place)
            << " | " << cell(t.mutant.says) << " | " << verdict << " | " << cell(reason) << " | "
            << seconds << " |\n";
    }
}

} // namespace horos::proofs
