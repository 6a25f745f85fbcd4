// docs/assurance.md: what a run has shown, by what means, and what nobody may rely on.
#include "json.hpp"
#include "properties.hpp"
#include "report.hpp"

#include <fstream>
#include <set>

namespace horos::proofs {

namespace {

void write_summary(std::ofstream& out, const Summary& s) {
    out << "## The run\n\n"
        << "| | |\n| --- | --- |\n"
        << "| core.bc | `" << s.core << "` |\n| spec.bc | `" << s.spec << "` |\n| image | `"
        << s.image << "` |\n"
        << "| theorems | " << s.total.all() << ": " << s.total.proved << " proved, "
        << s.total.refuted << " refuted, " << s.total.unknown << " unknown |\n"
        << "| processor time | " << seconds_text(s.total.seconds) << " s (" << s.cached
        << " results were kept from earlier runs on the same bitcode, with the time they took then)"
        << " |\n";
    if (s.slowest != nullptr)
        out << "| slowest | " << s.slowest->name << ", " << seconds_text(s.slowest->seconds)
            << " s |\n| largest | " << s.largest->name << ", " << s.largest->megabytes << " MB |\n";
    out << "\n| property | theorems | proved | refuted | unknown | seconds |\n"
           "| --- | --- | --- | --- | --- | --- |\n";
    for (const auto& [name, c] : s.groups)
        out << "| [" << name << "](#" << name << ") | " << c.all() << " | " << c.proved << " | "
            << c.refuted << " | " << c.unknown << " | " << seconds_text(c.seconds) << " |\n";
}

// What a proof needed: the same set of lemmas in many lines says nothing in any of them.
void write_group(std::ofstream& out, const std::string& name, const Count& count,
                 const std::vector<Outcomes>& outcomes) {
    const Property p = property_of(name);
    out << "\n## " << name << "\n\n" << p.says << "\n\n";
    if (*p.means != 0)
        out << "- Means: " << p.means << ".\n- Bounds: " << p.bounds << ".\n- Rests on: " << p.rests
            << ", and what all rest on.\n- Does not say: " << p.without << ".\n\n";
    out << count.proved << " proved, " << count.refuted << " refuted, " << count.unknown
        << " unknown.\n\n"
           "| theorem | verdict | seconds | MB | bound | goals | what is open |\n"
           "| --- | --- | --- | --- | --- | --- | --- |\n";
    std::set<std::string> lemmas;
    for (const Outcomes& o : outcomes) {
        if (o.group != name)
            continue;
        out << "| " << o.name << " | " << verdict_name(o.result.verdict) << " | "
            << seconds_text(o.seconds) << " | " << o.megabytes << " | " << o.result.bound << " | "
            << o.result.goals << " |";
        std::set<std::string> told; // once each
        for (const std::string& d : o.result.details) {
            if (told.insert(d).second)
                out << (told.size() > 1 ? "; " : " ") << d;
        }
        out << " |\n";
        lemmas.insert(o.result.lemmas.begin(), o.result.lemmas.end());
    }
    if (lemmas.empty())
        return;
    out << "\nInvariants and theorems that the proofs of this group used (each with its own in the "
           "JSON report):";
    for (const std::string& l : lemmas)
        out << " " << l;
    out << ".\n";
}

} // namespace

void write_assurance(const std::vector<Outcomes>& outcomes, const Options& options) {
    std::ofstream out(options.assurance);
    if (!out)
        throw std::runtime_error("cannot write " + options.assurance);
    const Summary summary(outcomes, options);
    out << "# What is proved of the kernel\n\n"
           "Written by `./horos prove --assurance FILE`: do not edit. One line for each theorem of "
           "the run; what is not *proved* here is not claimed. What each theorem says: "
           "[theorems.md](theorems.md).\n\n";
    if (!options.preface.empty()) {
        std::ifstream in(options.preface);
        if (!in)
            throw std::runtime_error("cannot read " + options.preface);
        out << in.rdbuf() << "\n";
    }
    write_summary(out, summary);
    for (const auto& [name, count] : summary.groups)
        write_group(out, name, count, outcomes);
    if (!out)
        throw std::runtime_error("cannot write " + options.assurance);
}

} // namespace horos::proofs
