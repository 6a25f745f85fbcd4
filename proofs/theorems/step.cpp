#include "counterexample.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <llvm/IR/Constants.h>

namespace horos::proofs {

Limits quick_limits(Limits limits) {
    limits.milliseconds = std::min(limits.milliseconds, 4000u);
    limits.rounds = 16;
    return limits;
}

Step::Step(Bitcode& bitcode, const Settings& how, core::Vendor vendor)
    : kernel(bitcode, vendor), settings(how), engine(kernel.objects, now, kernel.policy) {
    kernel.policy.feasible = [this](const Guard& guard) {
        Kernel::Focus focus(kernel);
        kernel.touch(engine.touched, 1);
        // The same for a mutant as for the kernel: which loops end decides what there is to ask.
        const Limits quick = quick_limits(Limits());
        return session
                   .prove(
                       assumptions, guard.term(), kernel.lemmas,
                       [this](const Lemma& l) { kernel.lemma_added(l); }, quick)
                   .verdict != Verdict::proved;
    };
    Kernel::Touches touched;
    for (const auto& inv : kernel.invariants) {
        // Facts of the machine are always there.
        if (inv.domain.first == Over::nothing)
            assumptions.push_back(kernel.instance(inv, {}, kernel.old, &touched));
        if (inv.domain.first == Over::small) {
            for (int i = 0; i < inv.domain.type; ++i)
                assumptions.push_back(kernel.instance(inv, {num(32, static_cast<uint64_t>(i))},
                                                      kernel.old, &touched));
        }
        if (inv.domain.first == Over::host_frame) {
            for (uint64_t i = 0; i < 2; ++i)
                assumptions.push_back(
                    kernel.instance(inv, {add(shl(kernel.this_core, num(32, 1)), num(32, i))},
                                    kernel.old, &touched));
        }
    }
    kernel.touch(touched, 1);
    if (kernel.spec_function("inv_machine") == nullptr) {
        const auto field = [&](const char* of) {
            return kernel.field("machine", of, {}, kernel.old);
        };
        assumptions.push_back(ule(field(".core_count"), num(32, 64)));
        assumptions.push_back(ule(field(".frame_limit"), num(32, 1u << 24)));
        assumptions.push_back(ule(field(".kernel_device_count"), num(32, 16)));
    }
}

namespace {

void assume_precondition(Step& step, const std::string& name, const std::vector<Term>& arguments) {
    llvm::Function* function = step.kernel.spec_function(name);
    if (function == nullptr) {
        const Term core = step.kernel.this_core;
        step.assumptions.push_back(
            ult(core, step.kernel.field("machine", ".core_count", {}, step.kernel.old)));
        if (name == "pre_hypercall")
            step.assumptions.push_back(lnot(
                eq(step.kernel.field("cores", "[].thread", {core}, step.kernel.old), num(32, 0))));
        return;
    }
    Kernel::Touches touched;
    std::vector<Term> own; // as wide as the precondition takes them
    for (size_t i = 0; i < std::min(arguments.size(), function->arg_size()); ++i)
        own.push_back(
            resize(arguments[i],
                   function->getArg(static_cast<unsigned>(i))->getType()->getIntegerBitWidth()));
    step.assumptions.push_back(step.kernel.evaluate(*function, own, step.kernel.old, &touched));
    step.kernel.touch(touched, 1);
}

} // namespace

// The fast entries get the rows that shell_core() names: this core's, and its thread's.
static Value row_argument(Step& step, const llvm::Argument& a) {
    const std::string plain = Objects::plain_name(a.getParent()->getName());
    if (!is_fast_entry(plain))
        throw Unsupported("pointer argument of " + plain);
    const bool first = a.getArgNo() == 0;
    Object* table = step.kernel.objects.find(first ? "cores" : "threads");
    const Term row =
        first ? step.kernel.this_core
              : step.kernel.field("cores", "[].thread", {step.kernel.this_core}, step.kernel.old);
    const uint64_t size = table->size / llvm::cast<llvm::ArrayType>(table->type)->getNumElements();
    Value pointer = Value::to(table);
    pointer.targets[0].offset.add(zext(row, 64), static_cast<int64_t>(size));
    return pointer;
}

bool is_fast_entry(const std::string& plain) { return plain.ends_with("_fast"); }

void Step::run_hypercall(const Hypercall& call) {
    name = call.name;
    number = static_cast<int>(call.number);
    assume_precondition(*this, "pre_hypercall", {kernel.this_core});
    static const char* registers[] = {"rdi", "rsi", "rdx", "r10", "r8", "r9"};
    std::vector<Value> values;
    for (const char* one : registers) {
        const auto known = given.find(one);
        arguments.push_back(known != given.end() ? num(64, known->second) : named_bits(one, 64));
        values.push_back(Value::of(arguments.back()));
    }
    llvm::Function* function = hypercall_entry(kernel.bitcode, call.number);
    if (function == nullptr)
        throw std::runtime_error("no function for hypercall " + std::to_string(call.number));
    outcome = engine.run(*function, values, start);
    kernel.touch(engine.touched, 1);
}

void Step::run_hypercall(unsigned call_number) {
    for (const Hypercall& h : hypercalls()) {
        if (h.number == call_number)
            return run_hypercall(h);
    }
    throw std::runtime_error("there is no hypercall " + std::to_string(call_number));
}

void Step::run_hypercall(const std::string& call_name) {
    for (const Hypercall& h : hypercalls()) {
        if (h.name == call_name)
            return run_hypercall(h);
    }
    throw std::runtime_error("there is no hypercall " + call_name);
}

void Step::run_export(llvm::Function& function) {
    std::vector<Value> values;
    const std::string plain = Objects::plain_name(function.getName());
    name = plain;
    for (const llvm::Argument& a : function.args()) {
        if (a.getType()->isPointerTy()) {
            values.push_back(row_argument(*this, a));
            continue;
        }
        const std::string word = "argument" + std::to_string(a.getArgNo());
        const bool core = a.getArgNo() == 0 && a.getType()->isIntegerTy(32);
        // entry.S has the core's number in a register, of which 32 bits count.
        const bool is_number = is_fast_entry(plain) && a.getArgNo() == 1;
        arguments.push_back(core        ? kernel.this_core
                            : is_number ? concat(named_bits(word, 32), kernel.this_core)
                                        : named_bits(word, a.getType()->getIntegerBitWidth()));
        values.push_back(Value::of(arguments.back()));
    }
    if (is_fast_entry(plain)) // a hypercall by another way
        assume_precondition(*this, "pre_hypercall", {kernel.this_core});
    else
        assume_precondition(*this, "pre_" + plain, arguments);
    outcome = engine.run(function, values, Guard());
    kernel.touch(engine.touched, 1);
}

Term Step::over() const {
    std::vector<Term> any{outcome.returns.term()};
    for (const Guard& g : kernel.switches)
        any.push_back(g.term());
    return lor(any);
}

bool Step::is_known(Term violated) {
    Questions* questions = settings.questions;
    if (questions == nullptr)
        return false;
    if (questions->writing)
        questions->all.insert({assumptions, violated});
    return questions->writing || questions->all.contains({assumptions, violated});
}

Answer Step::prove(Term violated) {
    if (is_known(violated)) {
        Answer answer;
        answer.verdict = Verdict::proved;
        return answer;
    }
    return prove(violated, settings.limits);
}

Answer Step::prove(Term violated, const Limits& limits) {
    Kernel::Focus focus(kernel);
    return session.prove(
        assumptions, violated, kernel.lemmas, [this](const Lemma& l) { kernel.lemma_added(l); },
        limits);
}

void Step::goal(Result& result, const std::string& what, Term violated) {
    ++result.goals;
    if (is_false(violated) || (settings.first_refutation && result.verdict == Verdict::refuted))
        return;
    if (std::getenv("HOROS_PROVE_TRACE") != nullptr)
        std::fprintf(stderr, "goal %s\n", what.c_str());
    const Answer answer = prove(violated);
    result.rounds += answer.rounds;
    for (const std::string& l : answer.used)
        result.lemmas.push_back(l.substr(0, l.find('(')));
    if (answer.verdict == Verdict::proved)
        return;
    result.details.push_back((answer.verdict == Verdict::refuted ? "refuted: " : "unknown: ") +
                             what);
    if (answer.verdict == Verdict::refuted)
        result.verdict = Verdict::refuted;
    else if (result.verdict == Verdict::proved)
        result.verdict = Verdict::unknown;
    if (answer.model.exists() && result.counterexample.empty()) {
        result.counterexample = counterexample_text(*this, answer.model);
        if (number >= 0)
            result.test = counterexample_test(*this, answer.model, what);
    }
}

Result begin(const Step& step) {
    Result result;
    result.verdict = Verdict::proved;
    for (const std::string& name : step.kernel.left_out)
        result.bound += (result.bound.empty() ? "not past " : ", ") + name;
    for (const std::string& name : step.kernel.summaries)
        result.lemmas.push_back("refinement/" + name);
    return result;
}

void finish(Result& result) {
    std::sort(result.lemmas.begin(), result.lemmas.end());
    result.lemmas.erase(std::unique(result.lemmas.begin(), result.lemmas.end()),
                        result.lemmas.end());
}

llvm::Function* hypercall_entry(const Bitcode& bitcode, unsigned number) {
    const llvm::GlobalVariable* table = bitcode.core().getGlobalVariable("hypercall_table");
    if (table == nullptr || !table->hasInitializer())
        return nullptr;
    llvm::Constant* entry = table->getInitializer()->getAggregateElement(number);
    return entry == nullptr ? nullptr : llvm::dyn_cast<llvm::Function>(entry->stripPointerCasts());
}

} // namespace horos::proofs
