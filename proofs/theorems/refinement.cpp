// Theorem 2: a hypercall's result and the whole state after it are what spec/ says, for every state
// that satisfies the invariants; the privileged steps are the same, in the same order.
#include "theorem.hpp"

namespace horos::proofs {

namespace {

constexpr uint64_t result_values = 0x100;
constexpr uint64_t result_enters_guest = 0x800; // spec's word for "not past vendor_enter"

// Fresh indices for a leaf, in bounds.
struct Somewhere {
    std::vector<Term> indices;
    Term in_bounds = truth(true);
};
Somewhere somewhere(const Leaf& leaf) {
    Somewhere s;
    for (size_t i = 0; i < leaf.counts.size(); ++i) {
        const Term index = named_bits(leaf.object->name + ".any" + std::to_string(i), 32);
        s.indices.push_back(index);
        s.in_bounds = land(s.in_bounds, ult(index, num(32, leaf.counts[i])));
    }
    return s;
}

bool stores_to(const World& world, const Object& object, const Leaf& leaf) {
    for (const Entry& e : world.log(object)) {
        if (e.kind == Entry::Kind::havoc || (e.kind == Entry::Kind::store && e.leaf == &leaf))
            return true;
    }
    return false;
}

// Whether some field of the object differs between the two states, at indices that are anything, on
// these paths.
Term differs(Step& step, const Object& object, World& kernel, World& spec, const Guard& path,
             Kernel::Touches& touched) {
    std::vector<Term> any;
    bool cleared = false; // one field stands for all that only whole-row stores change
    for (const auto& [key, leaf] : object.leaves) {
        const bool stored = stores_to(kernel, object, *leaf) || stores_to(spec, object, *leaf);
        if (!stored && cleared)
            continue;
        cleared = cleared || !stored;
        const Somewhere at = somewhere(*leaf);
        const Term a = kernel.load(*leaf, at.indices, path).bits;
        const Term b = spec.load(*leaf, at.indices, path).bits;
        const Term different = lnot(eq(a, b));
        if (is_false(different))
            continue;
        touched.emplace_back(&object, at.indices);
        Term relevant = at.in_bounds;
        if (object.storage == Storage::view && type_of_view(object.name) >= 0)
            relevant = land(relevant, eq(step.kernel.frame_type(at.indices[0], kernel, path),
                                         num(8, static_cast<uint64_t>(type_of_view(object.name)))));
        any.push_back(land(relevant, different));
    }
    return lor(any);
}

// Whether the two lists of privileged steps differ: in what the n-th is, or in how many there are.
Term events_differ(const std::vector<Event>& a, const std::vector<Event>& b) {
    const auto counts = [](const std::vector<Event>& events) {
        std::vector<Term> before;
        Term n = num(8, 0);
        for (const Event& e : events) {
            before.push_back(n);
            n = add(n, zext(e.guard.term(), 8));
        }
        before.push_back(n);
        return before;
    };
    const auto na = counts(a);
    const auto nb = counts(b);
    std::vector<Term> any{lnot(eq(na.back(), nb.back()))};
    for (size_t i = 0; i < a.size(); ++i) {
        for (size_t j = 0; j < b.size(); ++j) {
            Term same =
                truth(a[i].name == b[j].name && a[i].arguments.size() == b[j].arguments.size());
            for (size_t k = 0; is_true(same) && k < a[i].arguments.size(); ++k) {
                if (a[i].arguments[k].kind != Value::Kind::bits)
                    continue; // text of a message: read by the shell, not by the core
                const Term x = a[i].arguments[k].bits;
                const Term y = b[j].arguments[k].bits;
                if (width_of(x) == width_of(y))
                    same = land(same, eq(x, y));
            }
            any.push_back(
                land({a[i].guard.term(), b[j].guard.term(), eq(na[i], nb[j]), lnot(same)}));
        }
    }
    return lor(any);
}

Term widen(const Value& v) {
    return v.kind == Value::Kind::bits
               ? resize(is_bool(v.bits) ? extract(0, 0, v.bits) : v.bits, 64)
               : num(64, 0);
}

Result compare(Step& step, llvm::Function& specification) {
    Result result;
    result.verdict = Verdict::proved;
    result.bound = std::to_string(step.outcome.steps) + " instructions";
    for (const std::string& name : step.kernel.left_out)
        result.bound += ", not past " + name;
    for (const std::string& name : step.kernel.summaries)
        result.bound += " and those of " + name;
    for (const std::string& name : step.kernel.named_effects) {
        result.bound += " and those of " + name;
        result.lemmas.push_back("refinement/" + name);
    }
    step.kernel.calls = 0;
    World spec;
    Executor other(step.kernel.objects, spec, step.kernel.policy);
    other.obligations_on = false;
    std::vector<Value> values;
    for (size_t i = 0; i < specification.arg_size(); ++i)
        values.push_back(Value::of(resize(
            step.arguments[i],
            specification.getArg(static_cast<unsigned>(i))->getType()->getIntegerBitWidth())));
    const Outcome expected = other.run(specification, values, step.start);
    step.kernel.touch(other.touched, 1);
    step.shown = other.touched;

    // The paths that the kernel leaves for a guest, and spec's, are the same.
    const Term kernel_goes_on = step.outcome.returns.term();
    Term spec_goes_on = expected.returns.term();
    const Term expected_word = widen(expected.value);
    const Term entered = land(spec_goes_on, eq(expected_word, num(64, result_enters_guest)));
    if (expected.value.kind == Value::Kind::bits) {
        spec_goes_on = land(spec_goes_on, lnot(entered));
        step.goal(result, "where the kernel goes on differs", lxor(kernel_goes_on, spec_goes_on));
        const Term word = widen(step.outcome.value);
        step.goal(result, "result word",
                  land({kernel_goes_on, spec_goes_on, lnot(eq(word, expected_word))}));
        // Values count when the word says so.
        const Object* results = step.kernel.objects.find("results");
        std::vector<Term> differ;
        for (uint64_t i = 0; i < 6; ++i) {
            const std::vector<Term> at{step.kernel.this_core, num(32, i)};
            const auto value = [&](World& w) {
                return step.kernel.field("results", "[].v[]", at, w);
            };
            differ.push_back(lnot(eq(value(step.now), value(spec))));
        }
        (void)results;
        step.goal(result, "result values",
                  land({kernel_goes_on, lnot(eq(band(word, num(64, result_values)), num(64, 0))),
                        lor(differ)}));
    }
    for (const auto& object : step.kernel.objects.all()) {
        if (object->storage == Storage::local || object->storage == Storage::constant ||
            object->name == "results" || is_of_processor(object->name))
            continue;
        if (!step.now.touched(*object) && !spec.touched(*object))
            continue;
        for (const Guard& path : writing_cases(step.kernel, {&step.now, &spec}, {object.get()})) {
            Kernel::Touches touched;
            const Term violated = differs(step, *object, step.now, spec, path, touched);
            const Kernel::Focus focus(step.kernel);
            step.kernel.touch(touched, 0);
            step.shown = other.touched;
            step.shown.insert(step.shown.end(), touched.begin(), touched.end());
            step.goal(result, "state: " + object->name,
                      land({kernel_goes_on, path.term(), violated}));
        }
    }
    step.goal(result, "privileged steps",
              land(kernel_goes_on, events_differ(step.engine.events, other.events)));
    // Success and refusal must be possible, or the theorem says nothing.
    if (expected.value.kind == Value::Kind::bits) {
        // A contradiction shows soon; a whole state that satisfies every lemma is a long search.
        const Answer possible = step.prove(spec_goes_on, quick_limits(step.settings.limits));
        if (possible.verdict == Verdict::proved) {
            result.verdict = Verdict::unknown;
            result.details.push_back("vacuous: no state lets the call be made");
        }
    }
    finish(result);
    return result;
}

} // namespace

void prepare_refinement(Step& step) {
    step.kernel.one_time = true;
    step.kernel.names_effects = true;
    step.kernel.policy.narrow_indices = true;
}

Result refined(Step& step) {
    llvm::Function* spec = step.kernel.bitcode.spec().getFunction("spec_" + step.name);
    if (spec == nullptr || spec->isDeclaration())
        throw std::runtime_error("spec/ has no spec_" + step.name);
    return compare(step, *spec);
}

std::vector<Theorem> refinement_theorems(const Bitcode& bitcode) {
    std::vector<Theorem> all;
    for (const Hypercall& h : hypercalls())
        add_theorems(all, "refinement", h, "does exactly what spec/ says", prepare_refinement,
                     refined);
    for (const std::string& symbol : core_exports()) {
        const std::string plain = Objects::plain_name(symbol);
        const llvm::Function* spec = bitcode.spec().getFunction(specification_of(plain));
        llvm::Function* f = bitcode.core().getFunction(symbol);
        if (spec == nullptr || spec->isDeclaration() || f == nullptr || f->isDeclaration())
            continue;
        all.push_back({"refinement/" + plain, "refinement", plain + " does exactly what spec/ says",
                       [symbol, plain](Bitcode& code, const Settings& settings) {
                           Step step(code, settings);
                           prepare_refinement(step);
                           llvm::Function& entry = *code.core().getFunction(symbol);
                           if (is_fast_entry(plain))
                               run_fast_entry(step, entry);
                           else
                               step.run_export(entry);
                           return compare(step, *code.spec().getFunction(specification_of(plain)));
                       }});
    }
    return all;
}

} // namespace horos::proofs
