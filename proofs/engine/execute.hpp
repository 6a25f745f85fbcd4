// Symbolic execution of one function over a state of memory. Paths are merged where they join;
// calls are executed in place; loops are unrolled until no path goes round again.
#pragma once
#include "memory.hpp"
#include <llvm/Analysis/LoopInfo.h>
#include <llvm/Analysis/PostDominators.h>
#include <llvm/IR/Dominators.h>
#include <llvm/IR/InstrTypes.h>
#include <llvm/IR/Instructions.h>
#include <llvm/IR/IntrinsicInst.h>
#include <llvm/IR/Module.h>
#include <llvm/IR/Operator.h>
#include <map>
#include <memory>
#include <stdexcept>
#include <unordered_map>

namespace horos::proofs {

// An object that no global names, but of which each core has one.
inline constexpr const char* this_core_area = "per-cpu";

// What the engine does not know, it refuses.
struct Unsupported : std::runtime_error {
    using std::runtime_error::runtime_error;
};

struct Obligation {
    std::string kind;  // "index in bounds"
    std::string place; // function, file:line
    Guard guard;
    Term violated = nullptr; // under the guard
    Term term() const { return land(guard.term(), violated); }
};

struct Event { // a privileged step
    std::string name;
    Guard guard;
    std::vector<Value> arguments;
    Term result = nullptr;
};

struct VolatileRead {
    const Object* object;
    int64_t offset; // the constant part
    Term value;
};

struct Reading { // of what is no state, or others can write
    std::string name;
    Guard path;
    Term value;
};

class Executor;
struct Call {
    std::string name; // plain: shell_now
    std::string place;
    std::vector<Value> arguments;
    const llvm::CallBase* instruction;
    Guard guard;
    mutable bool ends = false; // set by the policy: the path is not followed further
};

// What a use of the engine decides.
struct Policy {
    // Effect and result of a function without a body, or of a piece of assembly. False: not known.
    std::function<bool(Executor&, const Call&, Value& result)> external;
    // Further obligations and records of an access to a table.
    std::function<void(Executor&, const Piece&, const Object&, bool store)> on_access;
    // Whether a path that goes round a loop once more can exist.
    std::function<bool(const Guard&)> feasible;
    // Result of a function that is not to be executed in this state, as it is known already. False:
    // it is executed.
    std::function<bool(Executor&, const Call&, Value& result)> summary;
    // For two executions that take the same part of an argument in different ways. Of use to no
    // other: a row then has one name where its number was checked, and another elsewhere.
    bool narrow_indices = false;
    unsigned max_iterations = 1024;
    // Most loops end by their own constant bound; asking costs more than a few rounds too many.
    unsigned rounds_before_asking = 17;
};

struct Program {
    std::vector<std::unique_ptr<llvm::Module>> modules;
    // Of the same module first, then of any.
    llvm::Function* find(const std::string& symbol, const llvm::Module* prefer = nullptr) const;
};

struct Outcome {
    Value value;
    Guard returns;      // narrower than the entry's when some path stops
    uint64_t steps = 0; // instructions on the longest path
};

class Executor {
public:
    Executor(Objects& objects, World& world, const Policy& policy)
        : objects_(objects), world_(world), policy_(policy) {}

    Outcome run(llvm::Function& function, const std::vector<Value>& arguments, const Guard& guard);

    // ---- for policies
    void require(const Guard& guard, Term holds, const std::string& kind, const std::string& place);
    Value load(const Value& pointer, uint64_t size, const Guard& guard, const std::string& place,
               bool as_pointer = false);
    void store(const Value& pointer, const Value& value, uint64_t size, const Guard& guard,
               const std::string& place);
    void fill(const Value& pointer, uint8_t byte, uint64_t size, const Guard& guard,
              const std::string& place);
    void copy(const Value& to, const Value& from, uint64_t size, const Guard& guard,
              const std::string& place);
    // What the n-th reading of something on a path finds: anything, but the same in every execution
    // that has come by as many, so that two of them can be compared.
    Term reading(const std::string& name, const std::vector<Term>& where, unsigned width,
                 const Guard& guard);
    // Whether that was read before on such a path; and that another execution has done so.
    bool has_read(const std::string& name, const Guard& guard) const;
    void count_reading(const std::string& name, const Guard& guard) {
        readings_[name].push_back(guard);
    }
    // What a volatile read finds: anything, another value each time.
    Term volatile_value(const Value& pointer, uint64_t size, const Guard& guard);
    Objects& objects() { return objects_; }
    World& world() { return world_; }
    Guard current_guard;

    bool obligations_on = true;
    std::vector<Obligation> obligations;
    std::vector<Event> events;
    std::vector<Reading> readings;            // in order
    std::vector<VolatileRead> volatile_reads; // through a pointer with one target
    // Index tuples of table accesses, in order.
    std::vector<std::pair<const Object*, std::vector<Term>>> touched;
    bool stopped = false; // some path ended in a noreturn function
    std::vector<Guard> stops;

private:
    friend struct Activation;
    void touch(const Piece& piece, const Object& object);
    std::vector<Piece> access(const Target& target, uint64_t size, const Guard& guard, bool store,
                              const std::string& place);
    Value load_piece(const Piece& piece, const Object& object, const Guard& guard);
    void store_piece(const Piece& piece, const Object& object, Value value, const Guard& guard);

    Objects& objects_;
    World& world_;
    const Policy& policy_;
    int depth_ = 0;
    std::map<std::string, std::vector<Guard>> readings_;
};

// One activation of a function (control.cpp, instructions.cpp, calls.cpp).
struct Shape { // of a function, found once
    llvm::DominatorTree dominators;
    llvm::PostDominatorTree post_dominators;
    llvm::LoopInfo loops;
    std::vector<llvm::BasicBlock*> order; // reverse post order
};
Shape& shape_of(llvm::Function& function, Objects& objects);

struct Activation {
    struct Edge {
        const llvm::BasicBlock* from;
        Guard guard;
        std::vector<Value> phis;
        uint64_t steps;
    };
    struct Return {
        Guard guard;
        Value value;
        uint64_t steps;
    };

    Activation(Executor& e, llvm::Function& f)
        : engine(e), function(f), shape(shape_of(f, e.objects())) {}

    Executor& engine;
    llvm::Function& function;
    Shape& shape;
    std::unordered_map<const llvm::Value*, Value> names;
    std::unordered_map<const llvm::BasicBlock*, std::vector<Edge>> pending;
    std::unordered_map<const llvm::BasicBlock*, std::pair<Guard, size_t>> finished; // with stops
    std::vector<Return> returns;
    uint64_t steps = 0;
    // Of the innermost loop being executed: exits of this iteration.
    std::vector<std::pair<const llvm::Loop*, std::vector<Guard>>> leaving;

    void run_blocks(const std::vector<llvm::BasicBlock*>& blocks, const llvm::Loop* loop);
    void run_loop(const llvm::Loop& loop);
    void run_block(llvm::BasicBlock& block);
    Guard enter(llvm::BasicBlock& block, std::vector<Edge> edges);
    void go(llvm::BasicBlock& from, llvm::BasicBlock& to, const Guard& guard);
    void leave(llvm::BasicBlock& block, llvm::Instruction& last, Guard guard);

    Value operand(const llvm::Value* v);
    Value constant_value(const llvm::Constant* v);
    Value number_of(const Value& pointer, unsigned width) const;
    Value address(const llvm::GEPOperator& gep, Value base);
    std::string place(const llvm::Instruction& i) const;
    bool execute(llvm::Instruction& i, Guard& guard); // false: the path ends
    Value binary(llvm::BinaryOperator& i);
    Value cast(llvm::CastInst& i);
    Value compare(llvm::ICmpInst& i);
    Value compare_pointers(llvm::CmpInst::Predicate p, const Value& a, const Value& b);
    Value call(llvm::CallBase& i, Guard& guard, bool& ends);
    bool intrinsic(llvm::IntrinsicInst& i, const Guard& guard, Value& result, bool& ends);
    bool with_overflow(llvm::IntrinsicInst& i, Value& result);
};

} // namespace horos::proofs
