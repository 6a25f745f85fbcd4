// Theorem 6: a hypercall changes nothing but what its caller's capabilities reach. For every set
// that is closed under what the kernel follows (spec/reach.hpp) and holds the caller: what is
// outside is as before, and the set is still closed. So no sequence of steps of a domain ever
// changes, or reaches, anything outside; and what another domain sees that reaches none of it is
// not changed. It is shown of the kernel's own code, and does not rest on refinement.
#include "theorem.hpp"

namespace horos::proofs {

namespace {

// Which member of spec's `reached` says whether a row of a table is in the set.
const char* set_of(const Object& object) {
    if (object.name == "cores" || object.name == "results")
        return ".cores[]";
    if (object.name == "blocks")
        return ".blocks[]";
    if (object.name == "irq_of_vector")
        return ".vectors[]";
    return object.name == "frames" || object.storage == Storage::view ? ".frames[]" : nullptr;
}

bool is_written(const World& world, const Leaf& leaf) {
    for (const Entry& e : world.log(*leaf.object)) {
        if (e.kind != Entry::Kind::store || e.leaf == &leaf)
            return true;
    }
    return false;
}

// A row that is not in the set, and differs.
Term changed_outside(Step& step, const Object& object, const Guard& path,
                     Kernel::Touches& touched) {
    std::vector<Term> any;
    const char* set = set_of(object);
    for (const auto& [key, leaf] : object.leaves) {
        if (!is_written(step.now, *leaf))
            continue;
        std::vector<Term> at;
        Term relevant = truth(true);
        for (size_t i = 0; i < leaf->counts.size(); ++i) {
            at.push_back(named_bits(object.name + ".any" + std::to_string(i), 32));
            relevant = land(relevant, ult(at.back(), num(32, leaf->counts[i])));
        }
        const Term before = step.kernel.old.load(*leaf, at, path).bits;
        const Term after = step.now.load(*leaf, at, path).bits;
        if (before == after)
            continue;
        touched.emplace_back(&object, at);
        if (set != nullptr)
            relevant =
                land(relevant,
                     eq(step.kernel.field("reached", set, {at[0]}, step.kernel.old), num(8, 0)));
        any.push_back(land(relevant, lnot(eq(before, after))));
    }
    return lor(any);
}

template <class Goal>
void still_closed(Step& step, Result& result, const Kernel::Invariant& c,
                  const std::vector<Term>& at, const Goal& goal) {
    const auto cases = changing_cases(step, c, at);
    if (!cases) {
        ++result.goals;
        return;
    }
    for (const Guard& path : *cases) {
        Kernel::Touches touched;
        const Term before = step.kernel.instance(c, at, step.kernel.old, &touched, path);
        const Term after = step.kernel.instance(c, at, step.now, &touched, path);
        goal("still closed: " + c.name, touched, path, land(before, lnot(after)));
    }
}

Result isolated(Step& step) {
    Result result = begin(step);
    const std::vector<Kernel::Invariant> closed = step.kernel.reach();
    const auto goal = [&](const std::string& name, const Kernel::Touches& touched,
                          const Guard& path, Term wrong) {
        const Kernel::Focus focus(step.kernel);
        step.kernel.touch(touched, 0);
        step.shown = touched;
        step.goal(result, name, land({path.term(), step.over(), wrong}));
    };
    for (const auto& object : step.kernel.objects.all()) {
        if (object->storage == Storage::local || object->storage == Storage::constant ||
            is_of_processor(object->name) || !step.now.touched(*object))
            continue;
        for (const Guard& path : writing_cases(step.kernel, {&step.now}, {object.get()})) {
            Kernel::Touches touched;
            const Term wrong = changed_outside(step, *object, path, touched);
            goal("outside: " + object->name, touched, path, wrong);
        }
    }
    for (const auto& c : closed) {
        std::vector<Term> at;
        if (c.domain.first != Over::nothing)
            at.push_back(named_bits("any", 32));
        if (c.domain.second != Over::nothing)
            at.push_back(named_bits("any2", 32));
        still_closed(step, result, c, at, goal);
    }
    finish(result);
    return result;
}

void assume_closed(Step& step) {
    step.engine.obligations_on = false; // theorem 1 is about these
    for (const auto& c : step.kernel.reach())
        step.kernel.invariants.push_back(c);
    llvm::Function* caller = step.kernel.spec_function("reach_caller");
    if (caller == nullptr)
        throw std::runtime_error("spec/ has no reach_caller");
    Kernel::Touches touched;
    step.assumptions.push_back(
        step.kernel.evaluate(*caller, {step.kernel.this_core}, step.kernel.old, &touched));
    step.kernel.touch(touched, 1);
}

} // namespace

// Steps that a thread brings about by itself: the fast entries, its faults, its guest's exits.
static bool is_threads_own(const std::string& plain) {
    return is_fast_entry(plain) || plain == "core_fault" || plain == "core_run_guest";
}

std::vector<Theorem> isolation_theorems(const Bitcode& bitcode) {
    std::vector<Theorem> all;
    for (const Hypercall& h : hypercalls())
        add_theorems(all, "isolation", h, "changes only what its caller's capabilities reach",
                     assume_closed, isolated);
    add_export_theorems(all, bitcode, "isolation",
                        "changes only what the running thread's capabilities reach", assume_closed,
                        isolated, is_threads_own);
    return all;
}

} // namespace horos::proofs
