// The fast entries (kernel/core/ipc.cpp) are hypercalls by another way: on the usual path they do
// not give back a result word but go on in the other thread, by entry_switch. Seen as the call that
// they are, they do what spec/ says of that call; where a fast entry declines, the call's own code
// runs, and is looked at with it.
#include "kernel/core/entry.hpp"
#include "theorem.hpp"

namespace horos::proofs {

namespace {

// What kernel/arch/entry.S does beside loading the thread's registers: ring 3 finds these two zero.
constexpr size_t rax = 0, r10 = 10;

// The row of `threads` that a pointer names.
Term row_of_thread(const Value& pointer) {
    if (pointer.targets.size() == 1) {
        const Target& target = pointer.targets[0];
        const bool is_row = target.object != nullptr && target.object->name == "threads" &&
                            target.offset.constant == 0 && target.offset.terms.size() == 1 &&
                            target.offset.terms[0].second == abi::frame_size;
        if (is_row)
            return extract(31, 0, target.offset.terms[0].first);
    }
    throw Unsupported("entry_switch is not given a thread");
}

} // namespace

std::string specification_of(const std::string& plain) {
    if (!is_fast_entry(plain))
        return "spec_" + plain;
    const std::string core = "core_", fast = "_fast";
    return "spec_" + plain.substr(core.size(), plain.size() - core.size() - fast.size());
}

void run_fast_entry(Step& step, llvm::Function& function) {
    std::vector<std::pair<Guard, Term>> switched; // to which thread
    const auto usual = step.kernel.policy.external;
    step.kernel.policy.external = [&](Executor& engine, const Call& call, Value& result) {
        if (call.name != "entry_switch")
            return usual(engine, call, result);
        const Value& thread = call.arguments.at(0);
        for (const size_t n : {rax, r10}) {
            Value place = thread;
            place.targets.at(0).offset.add(
                static_cast<int64_t>(offsetof(core::Thread, regs.gpr) + 8 * n));
            engine.store(place, Value::of(num(64, 0)), 8, call.guard, call.place);
        }
        switched.emplace_back(call.guard, row_of_thread(thread));
        call.ends = true;
        return true;
    };
    step.run_export(function);
    step.kernel.policy.external = usual;
    if (switched.empty())
        throw Unsupported("a fast entry that goes on in no other thread");
    // What the entry code makes of a result word that names a thread is the same.
    std::vector<Term> ends{step.outcome.returns.term()};
    Term word = step.outcome.value.bits;
    for (const auto& [guard, thread] : switched) {
        const Term direct = bor(num(64, core::result_switch | core::result_direct),
                                shl(zext(thread, 64), num(64, 32)));
        word = ite(guard.term(), direct, word);
        ends.push_back(guard.term());
    }
    step.outcome.value = Value::of(word);
    step.outcome.returns = Guard().with(lor(ends));
    // The call's six words; the first arguments are the entry code's own.
    constexpr size_t own = 3; // the core's number, r14, r15
    std::vector<Term> words(step.arguments.begin() + own, step.arguments.end());
    words.push_back(num(64, 0)); // r9 is not looked at
    step.arguments = words;
}

} // namespace horos::proofs
