#include "query.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>

namespace horos::proofs {

Model::Model(Z3_model model) : model_(model) { Z3_model_inc_ref(context(), model_); }
Model::Model(const Model& other) : model_(other.model_) {
    if (model_ != nullptr)
        Z3_model_inc_ref(context(), model_);
}
Model& Model::operator=(const Model& other) {
    if (other.model_ != nullptr)
        Z3_model_inc_ref(context(), other.model_);
    if (model_ != nullptr)
        Z3_model_dec_ref(context(), model_);
    model_ = other.model_;
    return *this;
}
Model::~Model() {
    if (model_ != nullptr)
        Z3_model_dec_ref(context(), model_);
}

Term Model::value(Term t, bool complete) const {
    Z3_ast out = nullptr;
    return Z3_model_eval(context(), model_, t, complete, &out) ? out : t;
}
bool Model::holds(Term t) const { return is_true(value(t)); }
uint64_t Model::number(Term t) const { return constant(value(t)).value_or(0); }

namespace {

class Solver {
public:
    explicit Solver(unsigned way) {
        // A small portfolio: times of one query vary much between these.
        if (way == 1) {
            solver_ = Z3_mk_solver(context());
        } else if (way == 2) {
            Z3_tactic t = Z3_mk_tactic(context(), "qfufbv");
            Z3_tactic_inc_ref(context(), t);
            solver_ = Z3_mk_solver_from_tactic(context(), t);
        } else {
            solver_ = Z3_mk_solver_for_logic(context(), Z3_mk_string_symbol(context(), "QF_UFBV"));
        }
        Z3_solver_inc_ref(context(), solver_);
    }
    ~Solver() { Z3_solver_dec_ref(context(), solver_); }
    Solver(const Solver&) = delete;
    Solver& operator=(const Solver&) = delete;

    void add(Term t) { Z3_solver_assert(context(), solver_, t); }
    Z3_lbool check(unsigned milliseconds) {
        Z3_params p = Z3_mk_params(context());
        Z3_params_inc_ref(context(), p);
        Z3_params_set_uint(context(), p, Z3_mk_string_symbol(context(), "timeout"), milliseconds);
        Z3_solver_set_params(context(), solver_, p);
        Z3_params_dec_ref(context(), p);
        return Z3_solver_check(context(), solver_);
    }
    Model model() { return Model(Z3_solver_get_model(context(), solver_)); }

private:
    Z3_solver solver_;
};

Z3_lbool ask(const std::vector<Term>& asserted, unsigned milliseconds, Model* model) {
    static const char* order = std::getenv("HOROS_PROVE_ORDER");
    static const bool trace = std::getenv("HOROS_PROVE_TRACE") != nullptr;
    for (const char* way = order != nullptr ? order : "102"; *way != 0; ++way) {
        const auto before = std::chrono::steady_clock::now();
        Solver solver(static_cast<unsigned>(*way - '0'));
        for (Term t : asserted)
            solver.add(t);
        const Z3_lbool answer = solver.check(milliseconds);
        if (trace) {
            const std::chrono::duration<double> t = std::chrono::steady_clock::now() - before;
            std::fprintf(stderr, "  way %c: %d in %.2f s\n", *way, answer, t.count());
        }
        if (answer == Z3_L_TRUE && model != nullptr)
            *model = solver.model();
        if (answer != Z3_L_UNDEF)
            return answer;
    }
    return Z3_L_UNDEF;
}

} // namespace

Verdict consistent(const std::vector<Term>& assumptions, Term possible, unsigned milliseconds,
                   Model* model) {
    std::vector<Term> all = assumptions;
    all.push_back(possible);
    const Z3_lbool answer = ask(all, milliseconds, model);
    return answer == Z3_L_FALSE  ? Verdict::refuted
           : answer == Z3_L_TRUE ? Verdict::proved
                                 : Verdict::unknown;
}

Answer prove(const std::vector<Term>& assumptions, Term violated, std::vector<Lemma>& lemmas,
             const std::function<void(const Lemma&)>& added, const Limits& limits) {
    Answer answer;
    if (is_false(violated)) {
        answer.verdict = Verdict::proved;
        return answer;
    }
    static const bool trace = std::getenv("HOROS_PROVE_TRACE") != nullptr;
    std::vector<Term> asserted = assumptions;
    asserted.push_back(violated);
    std::vector<bool> used;
    Solver incremental(0);
    for (Term t : asserted)
        incremental.add(t);
    for (answer.rounds = 1; answer.rounds <= limits.rounds; ++answer.rounds) {
        const auto before = std::chrono::steady_clock::now();
        Z3_lbool result = incremental.check(std::max(limits.milliseconds / 4, 500u));
        if (trace) {
            const std::chrono::duration<double> t = std::chrono::steady_clock::now() - before;
            std::fprintf(stderr, "round %u: %d in %.2f s, %u of %zu lemmas\n", answer.rounds,
                         result, t.count(), answer.lemmas, lemmas.size());
        }
        if (result == Z3_L_TRUE)
            answer.model = incremental.model();
        if (result == Z3_L_UNDEF)
            result = ask(asserted, limits.milliseconds, &answer.model);
        if (result == Z3_L_FALSE) {
            answer.verdict = Verdict::proved;
            answer.model = Model();
            return answer;
        }
        if (result == Z3_L_UNDEF)
            return answer;
        // The nearest of those that the model contradicts, a few at a time: first those that it
        // contradicts whatever the values are that it leaves open.
        used.resize(lemmas.size(), false);
        std::vector<size_t> chosen;
        for (const bool open : {false, true}) {
            for (size_t i = 0; i < lemmas.size(); ++i) {
                if (!used[i] && is_false(answer.model.value(lemmas[i].holds, open)))
                    chosen.push_back(i);
            }
            if (!chosen.empty())
                break;
        }
        std::stable_sort(chosen.begin(), chosen.end(),
                         [&](size_t x, size_t y) { return lemmas[x].depth < lemmas[y].depth; });
        constexpr size_t at_once = 12;
        const bool more = !chosen.empty();
        for (size_t n = 0; n < std::min(at_once, chosen.size()); ++n) {
            if (lemmas[chosen[n]].depth > lemmas[chosen[0]].depth)
                break;
            used[chosen[n]] = true;
            const Lemma lemma = lemmas[chosen[n]];
            asserted.push_back(lemma.holds);
            incremental.add(lemma.holds);
            answer.used.push_back(lemma.name);
            ++answer.lemmas;
            if (trace)
                std::fprintf(stderr, "  %u %s\n", lemma.depth, lemma.name.c_str());
            if (lemma.depth < limits.depth && added)
                added(lemma);
        }
        if (!more) {
            answer.verdict = Verdict::refuted;
            return answer;
        }
    }
    return answer;
}

} // namespace horos::proofs
