// Theorem 1: no undefined behaviour, no index out of bounds, no access through the wrong view, in a
// bounded number of steps.
#include "theorem.hpp"

#include <cstdio>
#include <cstdlib>

namespace horos::proofs {

Result prove_safety(Step& step, Result result) {
    result.bound = std::to_string(step.outcome.steps) + " instructions";
    for (const std::string& name : step.kernel.left_out)
        result.bound += ", not past " + name;
    for (const std::string& name : step.kernel.summaries)
        result.bound += " and those of " + name;
    // All at once first; one by one when that fails, to say which.
    constexpr size_t at_once = 24;
    const auto& all = step.engine.obligations;
    result.verdict = Verdict::proved;
    std::vector<Term> reachable;
    for (size_t i = 0; i < all.size(); i += at_once) {
        std::vector<Term> some;
        for (size_t n = i; n < std::min(i + at_once, all.size()); ++n)
            some.push_back(all[n].term());
        if (std::getenv("HOROS_PROVE_TRACE") != nullptr)
            std::fprintf(stderr, "obligations %zu to %zu, from %s (%s) on\n", i,
                         i + some.size() - 1, all[i].kind.c_str(), all[i].place.c_str());
        const Answer answer = step.prove(lor(some));
        result.rounds += answer.rounds;
        for (const std::string& l : answer.used)
            result.lemmas.push_back(l.substr(0, l.find('(')));
        if (answer.verdict == Verdict::proved) {
            result.goals += static_cast<unsigned>(some.size());
            continue;
        }
        for (size_t n = i; n < std::min(i + at_once, all.size()); ++n)
            step.goal(result, all[n].kind + " (" + all[n].place + ")", all[n].term());
    }
    // What comes after the step gives the kernel's lock back.
    const Guard& end = step.outcome.returns;
    step.goal(result, "the kernel's lock is held at the end",
              land(end.term(), lnot(step.kernel.holds_lock(step.now, end))));
    // The assumptions must not contradict each other, and the end must be reachable.
    Limits limits = step.settings.limits;
    const Verdict possible =
        consistent(step.assumptions, step.outcome.returns.term(), limits.milliseconds);
    if (possible != Verdict::proved) {
        result.verdict = Verdict::unknown;
        result.details.push_back("vacuous: the assumptions cannot be shown to be satisfiable");
    }
    finish(result);
    return result;
}

std::vector<Theorem> safety_theorems(const Bitcode& bitcode) {
    std::vector<Theorem> all;
    for (const Hypercall& h : hypercalls())
        add_theorems(
            all, "safety", h, "has no undefined behaviour and ends", [](Step&) {},
            [](Step& step) { return prove_safety(step, {}); });
    for (const std::string& symbol : core_exports()) {
        llvm::Function* f = bitcode.core().getFunction(symbol);
        if (f == nullptr || f->isDeclaration() || symbol == "hypercall_unknown")
            continue;
        const std::string plain = Objects::plain_name(symbol);
        if (is_boot(plain))
            continue;
        all.push_back({"safety/" + plain, "safety", plain + " has no undefined behaviour and ends",
                       [symbol](Bitcode& code, const Settings& settings) {
                           Step step(code, settings);
                           step.run_export(*code.core().getFunction(symbol));
                           return prove_safety(step, {});
                       }});
    }
    return all;
}

} // namespace horos::proofs
