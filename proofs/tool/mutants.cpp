#include "mutants.hpp"
#include "json.hpp"
#include "mutate.hpp"

#include <algorithm>
#include <cstdio>
#include <fstream>

namespace horos::proofs {

namespace {

const char* const groups[] = {"refinement", "safety", "invariants", "isolation", "counts", "pages"};

std::string entry_of(const std::string& theorem) { return theorem.substr(theorem.find('/') + 1); }

// The theorems about an entry, the cheapest first.
std::vector<std::string> names_about(const std::string& entry) {
    std::vector<std::string> all;
    for (const char* group : groups)
        all.push_back(std::string(group) + "/" + entry);
    if (entry == "vcpu_run")
        all.insert(all.begin(), {"guard/refusal", "guard/vcpu_run"});
    if (entry == "core_run_guest")
        all.insert(all.begin(), "guard/core_run_guest");
    return all;
}

// What to try for a mutant, the likeliest to refute it and the cheapest first.
std::vector<Theorem> theorems_about(const Bitcode& bitcode, const Mutant& mutant,
                                    const std::map<std::string, Theorem>& proved) {
    std::vector<std::pair<size_t, std::string>> entries;
    for (const std::string& e : entries_reaching(bitcode, mutant.function))
        entries.emplace_back(size_of_entry(bitcode, e), e);
    std::sort(entries.begin(), entries.end());
    std::vector<Theorem> all;
    if (const std::string plain = Objects::plain_name(mutant.function); is_summarised(plain))
        all.push_back(proved.at("refinement/" + plain));
    for (const auto& [size, entry] : entries) {
        for (const std::string& name : names_about(entry)) {
            if (const auto at = proved.find(name); at != proved.end())
                all.push_back(at->second);
        }
    }
    return all;
}

// Whether the theorems say all that there is to say about every entry that runs the mutant.
bool complete(const Bitcode& bitcode, const Mutant& mutant,
              const std::map<std::string, Theorem>& proved) {
    const auto entries = entries_reaching(bitcode, mutant.function);
    return std::all_of(entries.begin(), entries.end(),
                       [&](const std::string& e) { return proved.contains("refinement/" + e); });
}

// Refuted when a theorem is; proved (equivalent) when refinement holds wherever the mutant runs.
Result try_mutant(Bitcode& bitcode, const Mutant& mutant, const std::vector<Theorem>& theorems,
                  bool is_complete, Settings settings) {
    if (!apply(mutant, bitcode.core()))
        throw std::runtime_error("the mutant's instruction is gone");
    settings.first_refutation = true;
    Result result;
    result.verdict = is_complete ? Verdict::proved : Verdict::unknown;
    for (const Theorem& t : theorems) {
        Result one;
        try {
            one = t.prove(bitcode, settings);
        } catch (const std::exception& e) {
            // What the engine refuses is no proof: the mutant does not get through either.
            one.details.push_back(std::string("not modelled: ") + e.what());
        }
        if (one.verdict == Verdict::refuted) {
            result = one;
            std::string why = "refuted";
            for (const std::string& d : one.details) {
                if (d.starts_with("refuted: "))
                    why = d.substr(9);
            }
            result.details = {t.name + ": " + why};
            return result;
        }
        if (one.verdict != Verdict::proved) {
            result.verdict = Verdict::unknown;
            for (const std::string& d : one.details)
                result.details.push_back(t.name + ": " + d);
        }
    }
    if (result.verdict == Verdict::unknown && result.details.empty())
        result.details.push_back("no theorem that is proved of the kernel tells it apart");
    return result;
}

std::string verdict_of(const Result& r) {
    switch (r.verdict) {
    case Verdict::refuted:
        return "refuted";
    case Verdict::proved:
        return "equivalent";
    case Verdict::unknown:
        break;
    }
    return "survived";
}

std::string first_detail(const Result& r) {
    return r.details.empty() ? "refinement holds wherever it runs" : r.details.front();
}

void write_table(const std::string& path, const std::vector<Mutant>& mutants,
                 const std::vector<Outcomes>& outcomes, const Options& options,
                 const std::map<std::string, unsigned>& count) {
    std::ofstream out(path);
    if (!out)
        throw std::runtime_error("cannot write " + path);
    const auto of = [&](const char* verdict) {
        const auto at = count.find(verdict);
        return at == count.end() ? 0u : at->second;
    };
    out << "# Mutants of the kernel core\n\n"
           "Written by `./horos prove --mutants "
        << options.mutants << " --table FILE`";
    if (!options.only.empty())
        out << " with `--only " << options.only << "`";
    out << ". One instruction of core.bc (`" << file_hash(options.core)
        << "`) is changed at a time, mechanically, spread evenly over functions and kinds of "
           "change; then the theorems about every entry that runs the function are tried again. "
           "Only theorems that are proved of the kernel itself count. *Equivalent*: refinement is "
           "proved of the mutant wherever it runs, so it does what spec/ says all the same.\n\n"
        << mutants.size() << " mutants: " << of("refuted") << " refuted, " << of("equivalent")
        << " equivalent, " << of("survived") << " survived.\n\n"
        << "| # | change | where | what | verdict | by | seconds |\n"
           "| --- | --- | --- | --- | --- | --- | --- |\n";
    for (size_t i = 0; i < mutants.size(); ++i) {
        char seconds[16];
        std::snprintf(seconds, sizeof seconds, "%.1f", outcomes[i].seconds);
        out << "| " << i + 1 << " | " << kind_name(mutants[i].kind) << " | " << mutants[i].place
            << " | " << mutants[i].says << " | " << verdict_of(outcomes[i].result) << " | "
            << first_detail(outcomes[i].result) << " | " << seconds << " |\n";
    }
}

std::map<std::string, Theorem> proved_theorems(Bitcode& bitcode, const Options& options) {
    const std::vector<Theorem> all = all_theorems(bitcode, options);
    const std::vector<Outcomes> outcomes = run_all(bitcode, all, options);
    std::map<std::string, Theorem> proved;
    for (size_t i = 0; i < all.size(); ++i) {
        if (outcomes[i].result.verdict == Verdict::proved)
            proved.emplace(all[i].name, all[i]);
    }
    return proved;
}

} // namespace

int run_mutants(Bitcode& bitcode, const Options& options) {
    const auto proved = proved_theorems(bitcode, options);
    std::set<std::string> covered; // entries of which refinement, or the guard, is proved
    for (const auto& [name, t] : proved) {
        if (t.group == "refinement")
            covered.insert(entry_of(name));
        if (t.group == "guard") // of the calls that lead to a guest's entry
            covered.insert(name == "guard/core_run_guest" ? "core_run_guest" : "vcpu_run");
    }
    std::vector<Mutant> possible;
    std::map<std::string, bool> runs; // by function
    for (Mutant& m : all_mutants(bitcode)) {
        const auto [at, made] = runs.try_emplace(m.function, false);
        if (made) {
            const auto entries = entries_reaching(bitcode, m.function);
            at->second = std::any_of(entries.begin(), entries.end(),
                                     [&](const std::string& e) { return covered.contains(e); });
        }
        if (at->second)
            possible.push_back(std::move(m));
    }
    if (possible.empty()) {
        std::fprintf(stderr, "horos prove: error: no refinement theorem is proved that could "
                             "refute a mutant\n");
        return 2;
    }
    const std::vector<Mutant> mutants = choose_mutants(possible, options.mutants);
    std::printf("%zu possible mutants, %zu tried, %zu theorems\n", possible.size(), mutants.size(),
                proved.size());
    std::vector<Theorem> trials;
    for (size_t i = 0; i < mutants.size(); ++i) {
        const Mutant& m = mutants[i];
        trials.push_back({"mutant/" + std::to_string(i + 1), "mutants", m.says,
                          [&, i](Bitcode& code, const Settings& settings) {
                              return try_mutant(code, mutants[i],
                                                theorems_about(code, mutants[i], proved),
                                                complete(code, mutants[i], proved), settings);
                          }});
    }
    Options uncached = options;
    uncached.cache.clear();
    const std::vector<Outcomes> outcomes = run_all(bitcode, trials, uncached);
    std::map<std::string, unsigned> count;
    for (size_t i = 0; i < mutants.size(); ++i) {
        const std::string verdict = verdict_of(outcomes[i].result);
        ++count[verdict];
        std::printf("%-10s %-18s %-44s %-32s %s\n", verdict.c_str(), kind_name(mutants[i].kind),
                    mutants[i].place.c_str(), mutants[i].says.c_str(),
                    first_detail(outcomes[i].result).c_str());
    }
    const unsigned real = count["refuted"] + count["survived"];
    std::printf("\n%zu mutants: %u refuted, %u equivalent, %u survived: %.1f %% of those that are "
                "not equivalent\n",
                mutants.size(), count["refuted"], count["equivalent"], count["survived"],
                real == 0 ? 0.0 : 100.0 * count["refuted"] / real);
    if (!options.table.empty())
        write_table(options.table, mutants, outcomes, options, count);
    return 100 * count["refuted"] >= 95 * real ? 0 : 1;
}

} // namespace horos::proofs
