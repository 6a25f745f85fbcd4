// docs/assurance.md: what a run has shown, by what means, and what nobody may rely on.
#include "json.hpp"
#include "report.hpp"

#include <fstream>

namespace horos::proofs {

namespace {

const char* meaning(const std::string& group) {
    if (group == "safety")
        return "No undefined behaviour (indices, shifts, division, poison and unset values that "
               "are "
               "looked at, unreachable code), no access to a frame through a view of another type, "
               "and an end within the number of instructions given.";
    if (group == "refinement")
        return "Result word, values, every field of every table, and the privileged steps in their "
               "order, are those of the function of spec/, for every state that satisfies the "
               "invariants.";
    return "Every invariant of spec/ that holds before holds afterwards, at every index.";
}

} // namespace

void write_assurance(const std::vector<Outcomes>& outcomes, const Options& options) {
    std::ofstream out(options.assurance);
    if (!out)
        throw std::runtime_error("cannot write " + options.assurance);
    out << "# What is proved of the kernel\n\n"
           "Written by `horos-prove --assurance`. One line for each theorem of the run; what is "
           "not "
           "*proved* here is not claimed.\n\n"
           "core.bc `"
        << file_hash(options.core) << "`, spec.bc `" << file_hash(options.spec) << "`\n";
    for (const char* group : {"safety", "invariants", "refinement"}) {
        out << "\n## " << group << "\n\n"
            << meaning(group)
            << "\n\n| theorem | verdict | seconds | MB | bound | goals | rests on |\n"
               "| --- | --- | --- | --- | --- | --- | --- |\n";
        bool any = false;
        for (const Outcomes& o : outcomes) {
            if (o.group != group)
                continue;
            any = true;
            char seconds[32];
            std::snprintf(seconds, sizeof seconds, "%.1f", o.seconds);
            out << "| " << o.name << " | " << verdict_name(o.result.verdict) << " | " << seconds
                << " | " << o.megabytes << " | " << o.result.bound << " | " << o.result.goals
                << " |";
            for (const std::string& l : o.result.lemmas)
                out << " " << l;
            for (const std::string& d : o.result.details)
                out << " " << d;
            out << " |\n";
        }
        if (!any)
            out << "| none was run | | | | | | |\n";
    }
    out << "\n## What this rests on\n\n"
           "- The engine (proofs/engine), Z3, and the names it gives to privileged steps "
           "(proofs/theorems/privileged.cpp). The engine is compared with native execution by the "
           "tests of tests/prover.\n"
           "- llc, the linker and the assembly of kernel/arch and kernel/svm, which come after the "
           "bitcode.\n"
           "- The invariants of spec/ in the state before each step. That steps preserve them is "
           "shown only where a line above says so; that initialisation establishes them is not "
           "shown here (tests/core checks both on random runs).\n"
           "- The preconditions of spec/preconditions.cpp: what the shell promises when it calls.\n"
           "\n## What is not covered\n\n"
           "- Time, caches and other channels that are not state of the core.\n"
           "- What happens past `svm_run` (a guest's run and its exit) and the VMX backend: paths "
           "end there, and the bound says so.\n"
           "- Boot (core_add_ram, core_reserve, core_split, core_init_*, core_root_*): its loops "
           "go "
           "over memory.\n"
           "- That the counts of references and mappings are sums over all objects.\n"
           "- The entry guard against the model's rules, the walk of page tables, isolation: not "
           "stated as theorems yet.\n";
}

} // namespace horos::proofs
