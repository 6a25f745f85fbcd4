// A theorem: a name, and a proof attempt that runs in a process of its own.
#pragma once
#include "kernel.hpp"

#include <optional>

namespace horos::proofs {

struct Result {
    Verdict verdict = Verdict::unknown;
    std::string bound;                // of steps
    std::vector<std::string> details; // what is unknown or refuted, and why
    std::vector<std::string> lemmas;  // invariants that it needed
    unsigned goals = 0;
    unsigned rounds = 0;
    std::string counterexample; // in the kernel's terms
    std::string test;           // as a GoogleTest
};

// What a theorem asks about the kernel itself: it is proved, so that of a mutant a question that is
// the same one need not be asked again. First all are written down, none is asked.
struct Questions {
    bool writing = false;
    std::set<std::pair<std::vector<Term>, Term>> all; // assumptions, and what cannot be
};

struct Settings {
    Limits limits;
    bool first_refutation = false;  // one is enough
    Questions* questions = nullptr; // null: none is known
};

struct Theorem {
    std::string name;  // safety/cap_mint
    std::string group; // safety
    std::string says;
    std::function<Result(Bitcode&, const Settings&)> prove;
};

// One hypercall: its number in the table, its name.
struct Hypercall {
    unsigned number;
    std::string name;
};
std::vector<Hypercall> hypercalls();
llvm::Function* hypercall_entry(const Bitcode& bitcode, unsigned number);

std::vector<Theorem> safety_theorems(const Bitcode& bitcode);
std::vector<Theorem> invariant_theorems(const Bitcode& bitcode);
std::vector<Theorem> refinement_theorems(const Bitcode& bitcode);
std::vector<Theorem> guard_theorems(const Bitcode& bitcode);
std::vector<Theorem> count_theorems(const Bitcode& bitcode);
std::vector<Theorem> page_theorems(const Bitcode& bitcode);
std::vector<Theorem> isolation_theorems(const Bitcode& bitcode);
std::vector<Theorem> exit_theorems(const Bitcode& bitcode);
std::vector<Theorem> summary_theorems(const Bitcode& bitcode);
std::vector<Theorem> named_effect_theorems(const Bitcode& bitcode);
std::vector<Theorem> init_theorems(const Bitcode& bitcode);
std::vector<Theorem> vmx_theorems(const Bitcode& bitcode);

// Each makes the theorems of one group.
std::vector<std::function<std::vector<Theorem>(const Bitcode&)>> theorem_groups();

// ---- shared by the theorems
// A hypercall or another way into the core, executed once from an arbitrary state.
struct Step {
    explicit Step(Bitcode& bitcode, const Settings& settings,
                  core::Vendor vendor = core::Vendor::svm);
    Kernel kernel;
    const Settings& settings;
    World now; // the state afterwards
    Executor engine;
    std::vector<Term> assumptions;
    Guard start;                           // what else is assumed, as conditions of all paths
    std::map<std::string, uint64_t> given; // registers that are known as numbers
    std::vector<Term> arguments;
    Outcome outcome;
    std::string name;      // of the hypercall or export
    int number = -1;       // of the hypercall
    Kernel::Touches shown; // rows that a counterexample shows besides those that the step touched
    Session session;

    // Assumes what holds whenever this function is entered, then executes it.
    void run_hypercall(const Hypercall& call);
    void run_hypercall(unsigned call_number);
    void run_hypercall(const std::string& call_name);
    void run_export(llvm::Function& function);
    // Where the step is over: it returned, or another thread goes on.
    Term over() const;
    Answer prove(Term violated);
    Answer prove(Term violated, const Limits& limits);
    bool is_known(Term violated); // to be impossible
    // Appends to the result what became of the goal.
    void goal(Result& result, const std::string& name, Term violated);
};
// For questions whose answer "unknown" costs nothing but work.
Limits quick_limits(Limits limits);
// Proved until a goal says otherwise; the bound names what the step is not followed past.
Result begin(const Step& step);
void finish(Result& result);
// What the groups show of a step that has been taken.
Result prove_safety(Step& step, Result result); // no undefined behaviour; the end can be reached
Result preserved(Step& step);                   // all of kernel.invariants
Result kept(Step& step);                        // counts are sums
void prepare_refinement(Step& step);            // before the step is taken
Result refined(Step& step);                     // what spec/ says of the call
Result nothing_else_reached(Step& step);        // by a walk of page tables
Result walks_end_well(Step& step);              // in any state: no step is taken
// The theorems of one group about a hypercall: most have one, some one for each of several cases
// that together are all (by_case.cpp). `before` is done to a step before it is executed, `judge`
// afterwards.
using Before = std::function<void(Step&)>;
using Judge = std::function<Result(Step&)>;
void add_theorems(std::vector<Theorem>& all, const std::string& group, const Hypercall& call,
                  const std::string& says, const Before& before, const Judge& judge);
// One theorem of the group about each other way into the core that `wanted` takes.
void add_export_theorems(std::vector<Theorem>& all, const Bitcode& bitcode,
                         const std::string& group, const std::string& says, const Before& before,
                         const Judge& judge,
                         const std::function<bool(const std::string&)>& wanted = {});
// What the names of a hypercall's theorems end with; the first is empty.
std::vector<std::string> parts_of(const std::string& call);
// Conditions of which no two hold at once, at most so many; where none does, none of the worlds has
// written to any of the tables.
std::vector<Guard> writing_cases(const Kernel& kernel, const std::vector<const World*>& worlds,
                                 const std::set<const Object*>& tables, size_t most = 8);
// The paths of the step on which what the invariant says there may have changed; nothing where the
// step does not touch what it speaks of.
std::optional<std::vector<Guard>> changing_cases(Step& step, const Kernel::Invariant& invariant,
                                                 const std::vector<Term>& at);
// Any places that an invariant can speak of: one index, two, or none.
std::vector<Term> any_place(const Kernel::Invariant& invariant);
bool is_fast_entry(const std::string& plain);
// Of an export: the function of spec/ that says what it does; of a fast entry it is the call's.
std::string specification_of(const std::string& plain);
// Executes a fast entry and gives the step the form of the hypercall that it is.
void run_fast_entry(Step& step, llvm::Function& function);
// Run once at boot, before anybody else: their loops go over memory.
bool is_boot(const std::string& plain);
// The exported functions of core.bc, other than the hypercalls, that the shell calls.
std::vector<std::string> core_exports();

} // namespace horos::proofs
