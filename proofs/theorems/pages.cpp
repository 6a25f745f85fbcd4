// Theorem 5: what ring 3 and guests reach through page tables. In every state that satisfies the
// invariants a walk ends at memory that is counted as mapped, or at a free device; and no step
// makes a walk end anywhere else than before, but a map call, at what it names and the caller may
// map. The walk is spec/translate.cpp, written from
// the architecture's manuals and not from the kernel.
#include "theorem.hpp"

#include <algorithm>

namespace horos::proofs {

namespace {

struct Walk {
    Step& step;
    Term space = named_bits("space", 32);
    Term address = named_bits("address", 64);
    Kernel::Touches touched{};
    Guard path{}; // of the step's

    // What is looked at: for the lemmas, and for a counterexample.
    void show() {
        step.kernel.touch(touched, 0);
        step.engine.touched.insert(step.engine.touched.end(), touched.begin(), touched.end());
        step.arguments.push_back(space);
        step.arguments.push_back(address);
    }

    // On VMX an entry means one thing in a guest's tables and another in ring 3's. That no table is
    // in two spaces follows from the sums, at each pair of the entries that the step and the walk
    // come to.
    void tables_are_apart() {
        const Object* tables = step.kernel.objects.find("page_tables");
        std::vector<std::vector<Term>> rows;
        for (const Kernel::Touches* all : {&step.engine.touched, &touched}) {
            for (const auto& [object, row] : *all) {
                if (object == tables && row.size() > 1 &&
                    std::find(rows.begin(), rows.end(), row) == rows.end())
                    rows.push_back(row);
            }
        }
        for (size_t i = 0; i < rows.size(); ++i) {
            for (size_t k = 0; k < i; ++k)
                step.kernel.assume_both(rows[i], rows[k]);
        }
    }

    llvm::Function& function(const char* name) {
        llvm::Function* f = step.kernel.spec_function(name);
        if (f == nullptr)
            throw std::runtime_error(std::string("spec/ has no ") + name);
        return *f;
    }
    Term translate(World& world) {
        return step.kernel.number(function("translate"), {space, address}, world, &touched, path);
    }
    Term holds(const char* name, const std::vector<Term>& arguments, World& world) {
        return step.kernel.evaluate(function(name), arguments, world, &touched, path);
    }
    Term is_space(World& world) {
        touched.emplace_back(step.kernel.objects.find("frames"), std::vector<Term>{space});
        touched.emplace_back(step.kernel.objects.find("spaces"), std::vector<Term>{space});
        const Term limit = step.kernel.field("machine", ".frame_limit", {}, world);
        return land(ult(space, limit), eq(step.kernel.frame_type(space, world, path),
                                          num(8, static_cast<uint64_t>(ObjectType::space))));
    }
};

} // namespace

Result walks_end_well(Step& step) {
    Walk walk{step};
    World& state = step.kernel.old;
    const Term t = walk.translate(state);
    const Term wrong = land({walk.is_space(state),
                             walk.holds("is_user_address", {walk.space, walk.address}, state),
                             lnot(walk.holds("reaches_memory", {t}, state))});
    walk.show();
    Result result;
    result.verdict = Verdict::proved;
    result.bound = "a walk of 4 levels";
    step.goal(result, "a walk ends at something else than mapped memory or a free device", wrong);
    finish(result);
    return result;
}

namespace {

// What a call may add to what is reached; null: nothing.
Term given(const std::string& call, Walk& walk, Step& step, Term translation) {
    const Term thread =
        step.kernel.field("cores", "[].thread", {step.kernel.this_core}, step.kernel.old);
    const Term domain = step.kernel.field("threads", "[].domain", {thread}, step.kernel.old);
    const auto argument = [&](size_t n, unsigned width) {
        return resize(step.arguments.at(n), width);
    };
    World& old = step.kernel.old;
    if (call == "map_frame" || call == "map_block")
        return walk.holds(call == "map_frame" ? "maps_frame" : "maps_block",
                          {translation, domain, argument(2, 32), argument(3, 8)}, old);
    if (call == "map_shared")
        return walk.holds("maps_shared", {translation, domain, argument(2, 32), argument(3, 8)},
                          old);
    if (call == "map_mmio")
        return walk.holds("maps_device",
                          {translation, domain, argument(2, 32), argument(3, 64), argument(4, 8)},
                          old);
    return truth(false);
}

void added_on(Step& step, Result& result, const Guard& path) {
    Walk walk{step};
    walk.path = path;
    World& old = step.kernel.old;
    const Term before = ite(walk.is_space(old), walk.translate(old), num(64, 0));
    const Term after = walk.translate(step.now);
    if (before == after) {
        ++result.goals;
        return;
    }
    const Term other = land({walk.is_space(step.now),
                             walk.holds("is_user_address", {walk.space, walk.address}, step.now),
                             lnot(eq(after, num(64, 0))), lnot(eq(after, before)),
                             lnot(given(step.name, walk, step, after))});
    const Kernel::Focus focus(step.kernel);
    if (step.kernel.vendor == core::Vendor::vmx)
        walk.tables_are_apart();
    walk.show();
    step.goal(result, "something else is reached than what was given",
              land({path.term(), step.over(), other}));
}

} // namespace

Result nothing_else_reached(Step& step) {
    Result result = begin(step);
    std::set<const Object*> tables;
    for (const char* name : {"frames", "blocks", "spaces", "page_tables"})
        tables.insert(step.kernel.objects.find(name));
    for (const Guard& path : writing_cases(step.kernel, {&step.now}, tables))
        added_on(step, result, path);
    finish(result);
    return result;
}

std::vector<Theorem> page_theorems(const Bitcode& bitcode) {
    std::vector<Theorem> all;
    all.push_back({"pages/reach", "pages",
                   "a walk of any space's tables ends at memory that is counted as mapped, or at a "
                   "free device",
                   [](Bitcode& code, const Settings& settings) {
                       Step step(code, settings);
                       return walks_end_well(step);
                   }});
    for (const Hypercall& h : hypercalls()) {
        all.push_back({"pages/" + h.name, "pages",
                       "after " + h.name +
                           " nothing else is reached than before, but what the "
                           "call was to map",
                       [h](Bitcode& code, const Settings& settings) {
                           Step step(code, settings);
                           step.engine.obligations_on = false; // theorem 1 is about these
                           step.run_hypercall(h.number);
                           return nothing_else_reached(step);
                       }});
    }
    add_export_theorems(
        all, bitcode, "pages", "makes nothing be reached that was not before",
        [](Step& step) { step.engine.obligations_on = false; }, nothing_else_reached);
    return all;
}

} // namespace horos::proofs
