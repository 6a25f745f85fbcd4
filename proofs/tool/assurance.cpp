// docs/assurance.md: what a run has shown, by what means, and what nobody may rely on.
#include "json.hpp"
#include "report.hpp"

#include <fstream>
#include <map>

namespace horos::proofs {

namespace {

struct Group {
    const char* name;
    const char* says;
};
constexpr Group groups[] = {
    {"safety",
     "No undefined behaviour (indices, shifts, division, poison and unset values that are looked "
     "at, unreachable code), no access to a frame through a view of another type, and an end "
     "within the number of instructions given."},
    {"refinement", "Result word, values, every field of every table, and the privileged steps in "
                   "their order, are those of the function of spec/, for every state that "
                   "satisfies the invariants."},
    {"invariants", "Every invariant of spec/ that holds before holds afterwards, at every index."},
    {"counts", "Each count (references, mappings, live entries, owned memory) moves by exactly "
               "what the terms moved by whose sum it is."},
    {"guard",
     "What a guest is entered with satisfies the model's VMRUN rules, mandatory controls "
     "and fields of the kernel's included; what is refused breaks the rule that is named."},
    {"isolation", "For every set that is closed under what the kernel follows and holds the "
                  "caller: a hypercall changes nothing outside of it, and it is closed "
                  "afterwards."},
    {"pages", "A walk of page tables ends at nothing, at ordinary memory that is counted as "
              "mapped, or at device memory; calls give no more than their caller may."},
};

void write_group(std::ofstream& out, const Group& group, const std::vector<Outcomes>& outcomes) {
    std::map<Verdict, unsigned> count;
    for (const Outcomes& o : outcomes)
        count[o.result.verdict] += o.group == group.name ? 1 : 0;
    out << "\n## " << group.name << "\n\n"
        << group.says << "\n\n"
        << count[Verdict::proved] << " proved, " << count[Verdict::refuted] << " refuted, "
        << count[Verdict::unknown] << " unknown.\n\n"
        << "| theorem | verdict | seconds | MB | bound | goals | rests on, or what is open |\n"
           "| --- | --- | --- | --- | --- | --- | --- |\n";
    for (const Outcomes& o : outcomes) {
        if (o.group != group.name)
            continue;
        char seconds[32];
        std::snprintf(seconds, sizeof seconds, "%.1f", o.seconds);
        out << "| " << o.name << " | " << verdict_name(o.result.verdict) << " | " << seconds
            << " | " << o.megabytes << " | " << o.result.bound << " | " << o.result.goals << " |";
        for (const std::string& l : o.result.lemmas)
            out << " " << l;
        for (const std::string& d : o.result.details)
            out << " " << d;
        out << " |\n";
    }
}

const char* const rests_on =
    R"(
## What this rests on

- The engine (proofs/engine), Z3, and the effects that are declared for privileged steps
  (proofs/theorems/privileged.cpp). The engine is compared with native execution by tests/prover.
  The prover's own evaluation of models (engine/evaluate.cpp) is not trusted: a mistake there can
  make a proof fail, not succeed.
- What comes after the bitcode: kernel/one-view (the typed views of memory become one symbol), llc,
  the linker, and the assembly of kernel/arch and kernel/svm.
- The invariants of spec/ and the sums of counts in the state before each step. That a step
  preserves them is shown only where a line above says proved. That initialisation establishes them
  is not proved: a test checks every invariant at every index of the state that core_init_* and
  core_root_* leave on a small machine (tests/core/directed/boot_test.cpp), and random runs check
  them after each step. What kernel/arch puts into `machine` at a real boot is checked by neither.
- That the processor's table walker writes to no table (docs/decisions/0015).
- The preconditions of spec/preconditions.cpp: what the shell promises when it calls. The fast
  entries get this core's row and its thread's.

## What is not covered

- Time, caches and other channels that are not state of the core; DMA.
- Processors with VMX: all theorems assume that the vendor found at boot is AMD's, and what is
  only reached otherwise is not executed.
- What happens past `svm_run` (a guest's run and its exit): paths end there, and the bound says so.
- Boot: its steps are proved (`init/`), its loops over memory are not executed, and what the boot
  code promises is assumed (docs/theorems.md, "Initialisation").
- That two given domains have no channel: isolation says what follows when there are closed sets
  that have nothing in common, not that a system's description leads to such sets.
)";

} // namespace

void write_assurance(const std::vector<Outcomes>& outcomes, const Options& options) {
    std::ofstream out(options.assurance);
    if (!out)
        throw std::runtime_error("cannot write " + options.assurance);
    unsigned proved = 0;
    double seconds = 0;
    for (const Outcomes& o : outcomes) {
        proved += o.result.verdict == Verdict::proved ? 1 : 0;
        seconds += o.seconds;
    }
    out << "# What is proved of the kernel\n\n"
           "Written by `./horos prove --assurance`. One line for each theorem of the run; what is "
           "not *proved* here is not claimed. What each theorem says: "
           "[theorems.md](theorems.md).\n\n"
           "core.bc `"
        << file_hash(options.core) << "`, spec.bc `" << file_hash(options.spec) << "`, image `"
        << file_hash(options.image) << "`. " << proved << " of " << outcomes.size()
        << " theorems are proved; " << static_cast<unsigned>(seconds)
        << " s of processor time in all.\n";
    for (const Group& g : groups)
        write_group(out, g, outcomes);
    out << rests_on;
}

} // namespace horos::proofs
