// The kernel as the prover sees it: its bitcode and that of spec/, its tables, what its privileged
// steps do, and its invariants as lemmas.
#pragma once
#include "kernel/core/state.hpp"
#include "proofs/engine/execute.hpp"
#include "proofs/engine/query.hpp"
#include <horos/abi/objects.hpp>
#include <set>

namespace horos::proofs {

using abi::ObjectType;

// Modules; loaded once, before the processes for the theorems part.
struct Bitcode {
    llvm::LLVMContext context;
    Program program; // core.bc first, spec.bc second
    llvm::Module& core() const { return *program.modules[0]; }
    llvm::Module& spec() const { return *program.modules[1]; }
};
std::unique_ptr<Bitcode> load_bitcode(const std::string& core, const std::string& spec);

// An index that an invariant's argument ranges over.
enum class Over : uint8_t {
    nothing,
    frame, // below machine.frame_limit
    block,
    slot,     // of a capability table
    entry,    // of a page table
    table,    // of a domain
    core,     // below machine.core_count
    position, // of a core
    vector,
    any_core,   // also one that the machine does not have
    small,      // constants below Domain::type
    host_frame, // two for each core
};
struct Domain {
    Over first = Over::nothing;
    Over second = Over::nothing;
    const char* key = "";        // the table whose rows are the first argument
    int type = -1;               // that the frame has
    const char* second_key = ""; // table whose index gives the second argument, if not the same
};
// Null when the invariant is not known here.
const Domain* domain_of(const std::string& invariant);

class Kernel {
public:
    explicit Kernel(Bitcode& bitcode, core::Vendor vendor = core::Vendor::svm);

    Objects objects;
    Policy policy;      // for the kernel's code: with obligations
    Policy spec_policy; // for invariants: pure
    World old;          // the state at the start

    struct Invariant {
        std::string name;
        llvm::Function* function;
        Domain domain;
        bool ghost; // follows from the sums of counts (counts.cpp), not preserved by itself
    };
    std::vector<Invariant> invariants;
    std::vector<std::string> unknown_invariants;
    // The statements of spec/reach.hpp, that isolation assumes besides.
    std::vector<Invariant> reach();

    // A bool function of spec/ in a state. What it touches is appended to `touched`. With a guard:
    // the value where that holds, which can be a much smaller term.
    using Touches = std::vector<std::pair<const Object*, std::vector<Term>>>;
    Term evaluate(llvm::Function& function, const std::vector<Term>& arguments, World& world,
                  Touches* touched, const Guard& guard = {});
    // As above, for a function that gives back a number.
    Term number(llvm::Function& function, const std::vector<Term>& arguments, World& world,
                Touches* touched, const Guard& guard = {});
    // Whether the arguments are ones that the invariant speaks of, in a state.
    Term applies(const Invariant& invariant, const std::vector<Term>& arguments, World& world,
                 const Guard& guard = {});
    // The invariant at these arguments: applies implies holds.
    Term instance(const Invariant& invariant, const std::vector<Term>& arguments, World& world,
                  Touches* touched, const Guard& guard = {});
    llvm::Function* spec_function(const std::string& plain) const; // of horos::spec

    // ---- lemmas: invariants of the old state at the index terms that were touched
    std::vector<Lemma> lemmas;
    void touch(const Touches& touched, unsigned depth);
    void lemma_added(const Lemma& lemma); // what it touches is touched, one deeper
    void add_lemma(const std::string& name, Term holds, unsigned depth);
    // That two entries of page tables, if they name one table, are two terms of its references.
    void assume_both(const std::vector<Term>& entry, const std::vector<Term>& other);
    // What one goal brings with it is forgotten after it: the cost of a question grows with the
    // number of index terms.
    class Focus {
    public:
        explicit Focus(Kernel& kernel);
        ~Focus();
        Focus(const Focus&) = delete;
        Focus& operator=(const Focus&) = delete;

    private:
        struct Saved;
        Kernel& kernel_;
        std::unique_ptr<Saved> saved_;
    };
    Term frame_type(Term frame, World& world, const Guard& guard = {});
    Term field(const std::string& table, const std::string& path, const std::vector<Term>& indices,
               World& world, const Guard& guard = {});

    // Assumes what a field is at the start, at one row. Known as a number it leaves out the paths
    // that it excludes. Gives back the assumption, which also speaks of rows that are the same one
    // by another name.
    Term assume(const std::string& table, const std::string& path, const std::vector<Term>& indices,
                uint64_t value);

    // ---- what the core holds beside the tables (processor.cpp)
    Term holds_lock(World& world, const Guard& guard = {}); // the kernel's
    Term xcr0(World& world, const Guard& guard = {});
    void set_xcr0(Term value, World& world, const Guard& guard);
    // ... on a processor that has this register.
    Term xcr0_is(Term expected, World& world, const Guard& guard = {});
    Term xcr0_is_host(World& world, const Guard& guard = {});

    Term this_core;
    Bitcode& bitcode;
    const core::Vendor vendor; // of the processor
    // After a guest has run on VMX; the default: the path is not followed further.
    std::function<void(const Call&)> after_run;
    // The address of a VMCS whose content is followed, on VMX; null: of none.
    Term followed = nullptr;
    bool follows_vmcs() const { return followed != nullptr; }
    bool one_time = false;           // shell_now answers the same throughout a step
    unsigned calls = 0;              // numbers the answers of privileged steps
    std::vector<Guard> switches;     // where a step ends by going on in another thread
    std::set<std::string> left_out;  // what paths end at without being followed
    std::set<std::string> summaries; // what was not executed, but is proved once (summaries.cpp)
    bool names_effects = false;      // where two executions are compared (named_effect.cpp)
    std::set<std::string> named_effects;

private:
    void find_invariants();
    bool external(Executor& engine, const Call& call, Value& result);
    bool summary(Executor& engine, const Call& call, Value& result);
    struct Effect;
    bool effect(Executor& engine, const Call& call, Value& result);
    Effect execute_once(llvm::Function& function, const std::vector<Value>& values);
    void say_of_core(Term core, unsigned depth);
    void declare_processor();
    bool processor_step(Executor& engine, const Call& call, Value& result);
    bool guest_step(Executor& engine, const Call& call, Value& result);
    bool vmx_step(Executor& engine, const Call& call, Value& result); // vmx_steps.cpp
    void follow(Executor& engine, const Call& call, Value& result);
    bool host_register(Executor& engine, const Call& call, Value& result);
    void on_access(Executor& engine, const Piece& piece, const Object& object, bool store);
    void instantiate(const Invariant& invariant, const std::vector<Term>& arguments,
                     unsigned depth);
    std::map<const Object*, std::set<std::vector<Term>, ByAge>> seen_;
    std::set<std::pair<const Invariant*, std::vector<Term>>> instances_;
    std::map<Term, std::pair<Touches, unsigned>> pending_; // of lemmas not yet used
    std::set<Term> positions_of_;
    std::vector<Term> masks_; // arguments of summarised calls, and what these give back
    std::vector<Term> mask_values_;
    std::set<std::pair<Term, Term>> said_;
    std::map<std::vector<Term>, std::shared_ptr<const Effect>> effects_; // by arguments
    bool executing_once_ = false;
    std::map<std::pair<unsigned, unsigned>, unsigned> havocs_; // by call and part of it
    // Instances made so far, of this goal or another.
    std::map<std::pair<const Invariant*, std::vector<Term>>, std::pair<Term, Touches>> made_;
};

// An unknown function of a call's arguments, however they are written.
Term function_of(const Call& call);
// Whether calls of a function are not executed where its result is known (summaries.cpp).
bool is_summarised(const std::string& plain);

// An object that stands for what a core holds beside the tables (processor.cpp).
bool is_of_processor(const std::string& object);

// The type whose memory a view shows; -1 = any (it is not typed).
int type_of_view(const std::string& name);

} // namespace horos::proofs
