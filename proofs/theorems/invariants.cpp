// Theorem 3: every invariant of spec/ that holds before a step holds after it, at every index.
#include "theorem.hpp"

namespace horos::proofs {

namespace {

// Of each entry of a page table that is written, and the one that a statement is about: that the
// counts are sums of both.
void assume_sums(Step& step, const Kernel::Invariant& inv, const std::vector<Term>& at,
                 const Guard& path) {
    const std::string table = "page_tables";
    if (inv.domain.key != table || at.size() != 2)
        return;
    for (const Entry& e : step.now.log(*step.kernel.objects.find(table))) {
        if (e.kind == Entry::Kind::store && !path.excludes(e.guard))
            step.kernel.assume_both({e.indices[0], e.indices[1]}, at);
    }
}

// One invariant, on some of the step's paths.
void preserved_on(Step& step, Result& result, const Kernel::Invariant& inv,
                  const std::vector<Term>& at, const Guard& path) {
    Kernel::Touches touched;
    const Term before = step.kernel.instance(inv, at, step.kernel.old, &touched, path);
    const Term after = step.kernel.instance(inv, at, step.now, &touched, path);
    if (before == after) {
        ++result.goals;
        return;
    }
    const Kernel::Focus focus(step.kernel);
    step.kernel.touch(touched, 0);
    assume_sums(step, inv, at, path);
    step.shown = touched;
    step.goal(result, inv.name, land({path.term(), step.over(), before, lnot(after)}));
}

} // namespace

Result preserved(Step& step) {
    Result result = begin(step);
    for (const std::string& name : step.kernel.unknown_invariants) {
        result.verdict = Verdict::unknown;
        result.details.push_back("what " + name + " ranges over is not known");
    }
    for (const auto& inv : step.kernel.invariants) {
        if (inv.ghost)
            continue;
        const std::vector<Term> at = any_place(inv);
        const auto cases = changing_cases(step, inv, at);
        if (!cases) {
            ++result.goals;
            continue;
        }
        for (const Guard& path : *cases)
            preserved_on(step, result, inv, at, path);
    }
    finish(result);
    return result;
}

std::vector<Theorem> invariant_theorems(const Bitcode& bitcode) {
    std::vector<Theorem> all;
    for (const Hypercall& h : hypercalls())
        add_theorems(all, "invariants", h, "preserves every invariant", [](Step&) {}, preserved);
    add_export_theorems(
        all, bitcode, "invariants", "preserves every invariant", [](Step&) {}, preserved);
    return all;
}

} // namespace horos::proofs
