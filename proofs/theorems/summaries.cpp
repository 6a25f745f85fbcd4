// A function that looks at every core costs 64 rounds wherever it is called. It is proved once, of
// any state; elsewhere a call that finds the tables it reads as they were at the start of the step
// is an unknown function of its argument, of which is known what spec/ says of one core.
#include "theorem.hpp"

#include <algorithm>

namespace horos::proofs {

namespace {

constexpr const char* summarised = "cores_using";
constexpr const char* says = "says_cores_using";
using Row = std::vector<Term>;
using Column = std::pair<const char*, const char*>;
constexpr Column reads[] = {{"cores", "[].thread"},
                            {"cores", "[].space"},
                            {"threads", "[].vcpu"},
                            {"vcpus", "[].space"},
                            {"frames", "[].type"}}; // which decides what an access may do

bool is_as_at_the_start(const Kernel& kernel, const World& world, const Guard& guard) {
    for (const auto& [table, path] : reads) {
        for (const Entry& e : world.log(*kernel.objects.find(table))) {
            const bool other = e.kind == Entry::Kind::store && e.leaf->path != path;
            if (!other && !guard.excludes(e.guard))
                return false;
        }
    }
    return true;
}

llvm::Function* kernels(const Bitcode& bitcode) {
    for (llvm::Function& f : bitcode.core()) {
        if (!f.isDeclaration() && Objects::plain_name(f.getName()) == summarised)
            return &f;
    }
    return nullptr;
}

// One bit of a term, which is small where the term is not.
struct Bit {
    unsigned number;
    std::map<Term, Term> known;

    Term of(Term t) {
        if (const auto at = known.find(t); at != known.end())
            return at->second;
        return known[t] = find(t);
    }
    Term find(Term t) {
        const bool plain = Z3_get_ast_kind(context(), t) == Z3_APP_AST;
        const Z3_app app = plain ? Z3_to_app(context(), t) : nullptr;
        const Z3_decl_kind kind = plain
                                      ? Z3_get_decl_kind(context(), Z3_get_app_decl(context(), app))
                                      : Z3_OP_UNINTERPRETED;
        if (kind != Z3_OP_ITE && kind != Z3_OP_BOR)
            return to_bool(extract(number, number, t));
        const auto part = [&](unsigned n) { return Z3_get_app_arg(context(), app, n); };
        if (kind == Z3_OP_ITE)
            return ite(part(0), of(part(1)), of(part(2)));
        std::vector<Term> any;
        for (unsigned n = 0; n < Z3_get_app_num_args(context(), app); ++n)
            any.push_back(of(part(n)));
        return lor(any);
    }
};

Result proved_once(Bitcode& code, const Settings& settings) {
    llvm::Function* function = kernels(code);
    Step step(code, settings);
    llvm::Function* spec = step.kernel.spec_function(summarised);
    llvm::Function* statement = step.kernel.spec_function(says);
    if (function == nullptr || spec == nullptr || statement == nullptr)
        throw std::runtime_error(std::string("no ") + summarised);
    step.name = summarised;
    step.arguments = {named_bits("argument0", 32)};
    step.outcome = step.engine.run(*function, {Value::of(step.arguments[0])}, Guard());
    Result result = begin(step);
    result.bound = std::to_string(step.outcome.steps) + " instructions";
    // The n-th obligation of a kind is about the n-th core; with the lemmas of all cores each
    // question would be many times as large. (With the wrong core's it is not proved.)
    std::vector<Row> rows;
    for (const auto& [object, row] : step.engine.touched) {
        if (object->name == "cores" && std::find(rows.begin(), rows.end(), row) == rows.end())
            rows.push_back(row);
    }
    std::map<std::string, size_t> seen;
    for (const Obligation& o : step.engine.obligations) {
        const size_t n = seen[o.kind + o.place]++;
        const Kernel::Focus focus(step.kernel);
        if (n < rows.size())
            step.kernel.touch({{step.kernel.objects.find("cores"), rows[n]}}, 0);
        step.goal(result, o.kind + " (" + o.place + ")", o.term());
    }
    for (const auto& object : step.kernel.objects.all()) {
        if (object->storage != Storage::local)
            step.goal(result, "state: " + object->name, truth(step.now.touched(*object)));
    }
    const Term value = step.outcome.value.bits;
    const Term expected = step.kernel.number(*spec, step.arguments, step.kernel.old, nullptr);
    // Bit by bit, core by core: all at once is out of reach.
    const Term mask = named_bits("mask", width_of(value));
    const auto wrong_of = [&](Term core) {
        return lnot(step.kernel.evaluate(*statement, {mask, step.arguments[0], core},
                                         step.kernel.old, nullptr));
    };
    for (unsigned i = 0; i < width_of(value); ++i) {
        Bit bit{i, {}};
        Bit same{i, {}};
        const Term is = bit.of(value);
        step.goal(result, "result", lxor(is, same.of(expected)));
        step.goal(result, says,
                  land(lnot(lxor(is, to_bool(extract(i, i, mask)))), wrong_of(num(32, i))));
    }
    const Term none = named_bits("any", 32);
    step.goal(result, says, land(ule(num(32, width_of(value)), none), wrong_of(none)));
    finish(result);
    return result;
}

} // namespace

bool is_summarised(const std::string& plain) { return plain == summarised; }

bool Kernel::summary(Executor& engine, const Call& call, Value& result) {
    if (!is_summarised(call.name) || !is_as_at_the_start(*this, engine.world(), call.guard))
        return false;
    const Term value = function_of(call);
    result = Value::of(value, call.arguments[0].poison);
    summaries.insert(call.name);
    if (std::find(masks_.begin(), masks_.end(), call.arguments[0].bits) == masks_.end()) {
        masks_.push_back(call.arguments[0].bits);
        mask_values_.push_back(value);
    }
    return true;
}

void Kernel::say_of_core(Term core, unsigned depth) {
    llvm::Function* statement = spec_function(says);
    for (size_t i = 0; statement != nullptr && i < masks_.size(); ++i) {
        if (!said_.insert({masks_[i], core}).second)
            continue;
        Touches touched;
        const Term holds = evaluate(*statement, {mask_values_[i], masks_[i], core}, old, &touched);
        if (is_true(holds))
            continue;
        pending_[holds] = {touched, depth};
        add_lemma(says, holds, depth);
    }
}

std::vector<Theorem> summary_theorems(const Bitcode&) {
    return {{std::string("refinement/") + summarised, "refinement",
             std::string(summarised) +
                 ", which is not executed again in other theorems, has no undefined behaviour and "
                 "gives back exactly what spec/ says",
             [](Bitcode& code, const Settings& settings) { return proved_once(code, settings); }}};
}

} // namespace horos::proofs
