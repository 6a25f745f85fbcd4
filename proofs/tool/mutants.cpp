#include "mutants.hpp"
#include "json.hpp"
#include "mutate.hpp"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <llvm/Support/JSON.h>
#include <sstream>

namespace horos::proofs {

namespace {

struct Proved {
    Theorem theorem;
    double seconds; // that it took for the kernel itself
};
using ProvedTheorems = std::map<std::string, Proved>;

std::string entry_of(const std::string& theorem) {
    if (theorem == "guard/core_run_guest")
        return "core_run_guest";
    if (theorem.starts_with("guard/")) // of a vcpu_run, refused or accepted
        return "vcpu_run";
    const size_t from = theorem.find('/') + 1; // up to what tells the cases apart
    return theorem.substr(from, theorem.find('.') - from);
}

// What a theorem says that is not said by the specification's own use of the same code.
bool speaks_of(const Theorem& theorem, const Mutant& mutant) {
    return !mutant.of_backend || theorem.group != "refinement";
}

// How unlikely it is, other things being equal, that a theorem tells the mutant apart: refinement
// says most; of the backend guard/ says what is entered with, and exit/ what is told afterwards.
double weight(const Theorem& theorem, const Mutant& mutant) {
    const std::string& group = theorem.group;
    if (mutant.of_backend && (group == "guard" || group == "exit")) {
        const bool after = mutant.place.find(" guard.cpp") == std::string::npos;
        return (group == "exit") == after ? 0.02 : 0.2;
    }
    if (group == "refinement" || group == "guard" || group == "exit")
        return 1;
    if (group == "safety")
        return mutant.kind == MutantKind::wrong_index ? 0.5 : 6;
    return group == "invariants" || group == "counts" ? 3 : 4;
}

// What to try for a mutant, that first which is likely to tell it apart soon.
std::vector<Proved> theorems_about(const Bitcode& bitcode, const Mutant& mutant,
                                   const ProvedTheorems& proved) {
    const std::set<std::string> entries = entries_reaching(bitcode, mutant.function);
    std::vector<Proved> all;
    for (const auto& [name, p] : proved) {
        // What is executed in one theorem only is no entry.
        const bool once =
            is_summarised(entry_of(name)) && entry_of(name) == Objects::plain_name(mutant.function);
        if ((once || entries.contains(entry_of(name))) && speaks_of(p.theorem, mutant))
            all.push_back(p);
    }
    const auto cost = [&](const Proved& p) {
        return (p.seconds + 0.2) * weight(p.theorem, mutant);
    };
    std::sort(all.begin(), all.end(),
              [&](const Proved& a, const Proved& b) { return cost(a) < cost(b); });
    return all;
}

// Refinement is proved of all that runs it, so that nothing is left to say.
bool complete(const Bitcode& bitcode, const Mutant& mutant, const ProvedTheorems& proved) {
    const auto entries = entries_reaching(bitcode, mutant.function);
    return !mutant.of_backend &&
           std::all_of(entries.begin(), entries.end(), [&](const std::string& e) {
               const std::vector<std::string> parts = parts_of(e);
               return std::all_of(parts.begin(), parts.end(), [&](const auto& part) {
                   return proved.contains("refinement/" + e + part);
               });
           });
}

std::string why(const Outcomes& o) {
    for (const std::string& d : o.result.details) {
        if (d.starts_with("refuted: "))
            return d.substr(9);
    }
    return "refuted";
}

// A refutation takes little longer than the proof, as a rule: what takes much longer is given up
// for the sake of the other theorems.
unsigned limit_of(const Proved& proved, unsigned most) {
    constexpr unsigned least = 30;
    return std::min(most, std::max(least, static_cast<unsigned>(8 * proved.seconds)));
}

// The theorem about the mutant. The kernel itself is executed before, to see what is not new.
Theorem about(const Mutant& mutant, const Theorem& theorem) {
    Theorem changed = theorem;
    changed.prove = [&mutant, &theorem](Bitcode& code, const Settings& settings) {
        Questions questions;
        questions.writing = true;
        Settings first = settings;
        first.questions = &questions;
        first.limits.milliseconds = 1;
        theorem.prove(code, first);
        questions.writing = false;
        if (!apply(mutant, code.core()))
            throw std::runtime_error("the mutant's instruction is gone");
        const auto try_with = [&](unsigned milliseconds) {
            restart_fresh();
            restart_havocs();
            Settings changed = settings;
            changed.questions = &questions;
            changed.limits.milliseconds = milliseconds;
            return theorem.prove(code, changed);
        };
        // What is easy to refute comes first. A whole state that satisfies all invariants can be a
        // longer search than a proof is, and few questions are left.
        const unsigned usual = settings.limits.milliseconds;
        const Result soon = try_with(usual / 4);
        return soon.verdict == Verdict::unknown ? try_with(usual * 8) : soon;
    };
    return changed;
}

// Refuted when a theorem is; proved (equivalent) when refinement holds wherever the mutant runs.
// Each theorem has a process of its own, and what came of it is kept.
Result try_mutant(Bitcode& bitcode, const Mutant& mutant, const std::vector<Proved>& theorems,
                  bool is_complete, Options options) {
    options.mutant = mutant.function + " " + std::to_string(mutant.instruction) + " " +
                     kind_name(mutant.kind) + " " + std::to_string(mutant.variant);
    options.jobs = 1;
    const unsigned timeout = options.timeout;
    Result result;
    result.verdict = is_complete ? Verdict::proved : Verdict::unknown;
    double spent = 0;
    unsigned held = 0;
    for (const Proved& p : theorems) {
        if (spent > options.mutant_seconds) {
            result.verdict = Verdict::unknown;
            result.details.push_back(std::to_string(theorems.size() - held) +
                                     " theorems not tried: out of time");
            break;
        }
        options.timeout = limit_of(p, timeout);
        const Outcomes one = run_all(bitcode, {about(mutant, p.theorem)}, options).front();
        spent += one.seconds;
        ++held;
        if (one.result.verdict == Verdict::refuted) {
            Result refuted;
            refuted.verdict = Verdict::refuted;
            refuted.details = {p.theorem.name + ": " + why(one)};
            return refuted;
        }
        if (one.result.verdict != Verdict::proved) {
            result.verdict = Verdict::unknown;
            for (const std::string& d : one.result.details)
                result.details.push_back(p.theorem.name + ": " + d);
        }
    }
    if (result.verdict == Verdict::unknown && result.details.empty())
        result.details.push_back("none of " + std::to_string(theorems.size()) +
                                 " proved theorems tells it apart");
    return result;
}

// What a report says is proved; it must be of the same bitcode.
std::map<std::string, double> read_report(const Options& options) {
    std::ifstream in(options.proved);
    std::ostringstream text;
    text << in.rdbuf();
    auto parsed = llvm::json::parse(text.str());
    const llvm::json::Object* o = parsed ? parsed->getAsObject() : nullptr;
    if (o == nullptr)
        throw std::runtime_error("no report: " + options.proved);
    if (o->getString("core_bitcode").value_or("") != file_hash(options.core) ||
        o->getString("spec_bitcode").value_or("") != file_hash(options.spec))
        throw std::runtime_error(options.proved + " is of another core.bc or spec.bc");
    std::map<std::string, double> proved;
    for (const llvm::json::Value& v : *o->getArray("theorems")) {
        const llvm::json::Object& one = *v.getAsObject();
        if (one.getString("verdict").value_or("") == "proved")
            proved[one.getString("name").value_or("").str()] = one.getNumber("seconds").value_or(0);
    }
    return proved;
}

ProvedTheorems proved_theorems(Bitcode& bitcode, const Options& options) {
    const std::vector<Theorem> all = all_theorems(bitcode, options);
    std::map<std::string, double> known;
    if (!options.proved.empty()) {
        known = read_report(options);
    } else {
        for (const Outcomes& o : run_all(bitcode, all, options)) {
            if (o.result.verdict == Verdict::proved)
                known[o.name] = o.seconds;
        }
    }
    ProvedTheorems proved;
    for (const Theorem& t : all) {
        if (const auto at = known.find(t.name); at != known.end())
            proved.emplace(t.name, Proved{t, at->second});
    }
    return proved;
}

// Of the code that some theorem with a specification is proved of. Without --only: all.
std::vector<Mutant> possible_mutants(const Bitcode& bitcode, const ProvedTheorems& proved,
                                     const Options& options) {
    std::set<std::string> covered;
    for (const auto& [name, p] : proved) {
        if (p.theorem.group == "refinement" || p.theorem.group == "guard")
            covered.insert(entry_of(name));
    }
    std::vector<Mutant> possible;
    std::map<std::string, bool> runs; // by function
    for (Mutant& m : all_mutants(bitcode)) {
        const auto [at, made] = runs.try_emplace(m.function, options.only.empty());
        if (made && !at->second) {
            const auto entries = entries_reaching(bitcode, m.function);
            at->second = std::any_of(entries.begin(), entries.end(),
                                     [&](const std::string& e) { return covered.contains(e); });
        }
        if (at->second)
            possible.push_back(std::move(m));
    }
    return possible;
}

size_t number_of(const Outcomes& trial) { // from one on
    return std::stoul(trial.name.substr(trial.name.find('/') + 1));
}

std::vector<Tried> try_all(Bitcode& bitcode, const std::vector<Mutant>& mutants,
                           const ProvedTheorems& proved, const Options& options) {
    std::vector<Theorem> trials;
    for (size_t i = 0; i < mutants.size(); ++i) {
        const Mutant& m = mutants[i];
        if (!options.numbers.empty() && !options.numbers.contains(static_cast<unsigned>(i + 1)))
            continue;
        trials.push_back({"mutant/" + std::to_string(i + 1), "mutants", m.says,
                          [&, i](Bitcode& code, const Settings&) {
                              return try_mutant(code, mutants[i],
                                                theorems_about(code, mutants[i], proved),
                                                complete(code, mutants[i], proved), options);
                          }});
    }
    Options uncached = options;
    uncached.cache.clear();
    const std::vector<Outcomes> outcomes =
        run_all(bitcode, trials, uncached, [&](const Outcomes& o) {
            const size_t number = number_of(o);
            const Tried t{mutants[number - 1], o};
            std::printf("%3zu %-10s %5.1f s  %-18s %-40s %s: %s\n", number, verdict_of(t),
                        o.seconds, kind_name(t.mutant.kind), t.mutant.place.c_str(),
                        t.mutant.says.c_str(), reason_of(t).c_str());
            std::fflush(stdout);
        });
    std::vector<Tried> tried;
    for (const Outcomes& o : outcomes)
        tried.push_back({mutants[number_of(o) - 1], o});
    return tried;
}

} // namespace

const char* verdict_of(const Tried& t) {
    switch (t.outcome.result.verdict) {
    case Verdict::refuted:
        return "refuted";
    case Verdict::proved:
        return "equivalent";
    case Verdict::unknown:
        break;
    }
    return "survived";
}

std::string reason_of(const Tried& t) {
    const auto& details = t.outcome.result.details;
    return details.empty() ? "refinement holds wherever it runs" : details.front();
}

int run_mutants(Bitcode& bitcode, const Options& options) {
    const ProvedTheorems proved = proved_theorems(bitcode, options);
    const std::vector<Mutant> possible = possible_mutants(bitcode, proved, options);
    if (possible.empty() || proved.empty()) {
        std::fprintf(stderr, "horos prove: error: no theorem is proved that could refute a "
                             "mutant\n");
        return 2;
    }
    const std::vector<Mutant> mutants = choose_mutants(possible, options.mutants);
    std::printf("%zu possible mutants, %zu tried, %zu theorems\n", possible.size(), mutants.size(),
                proved.size());
    const std::vector<Tried> tried = try_all(bitcode, mutants, proved, options);
    std::map<std::string, unsigned> count;
    for (const Tried& t : tried)
        ++count[verdict_of(t)];
    const unsigned real = count["refuted"] + count["survived"];
    std::printf("\n%zu mutants: %u refuted, %u equivalent, %u survived: %.1f %% of those that are "
                "not equivalent\n",
                tried.size(), count["refuted"], count["equivalent"], count["survived"],
                real == 0 ? 0.0 : 100.0 * count["refuted"] / real);
    if (!options.table.empty())
        write_table(tried, proved.size(), options);
    return 100 * count["refuted"] >= 95 * real ? 0 : 1;
}

} // namespace horos::proofs
