#include "query.hpp"
#include "evaluate.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <unistd.h>

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

Effort& effort() {
    static Effort all;
    return all;
}

namespace {

bool tracing() {
    static const bool on = std::getenv("HOROS_PROVE_TRACE") != nullptr;
    return on;
}

class Timer {
public:
    explicit Timer(double& into) : into_(into) {}
    ~Timer() { into_ += seconds(); }
    Timer(const Timer&) = delete;
    Timer& operator=(const Timer&) = delete;
    double seconds() const {
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
    }

private:
    double& into_;
    std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// A small portfolio: times of one query vary much between these.
enum class Way : uint8_t {
    logic,       // what the solver takes for QF_UFBV
    tactic,      // bits by a SAT solver
    incremental, // its SMT core, which keeps what it has learned; or knows the whole question
};

constexpr uint64_t steps_per_millisecond = 2000; // measured
constexpr unsigned long_search = 16'000; // milliseconds; a proof has as many at its last try alone

class Solver {
public:
    explicit Solver(Way way) : way_(way), solver_(make(way)) {
        Z3_solver_inc_ref(context(), solver_);
    }
    ~Solver() { Z3_solver_dec_ref(context(), solver_); }
    Solver(const Solver&) = delete;
    Solver& operator=(const Solver&) = delete;

    void add(Term t) {
        Timer timer(effort().asserting);
        Z3_solver_assert(context(), solver_, t);
    }
    void push() { Z3_solver_push(context(), solver_); }
    void pop() { Z3_solver_pop(context(), solver_, 1); }
    Z3_lbool check(unsigned milliseconds) {
        Timer timer(effort().solving);
        Z3_params p = Z3_mk_params(context());
        Z3_params_inc_ref(context(), p);
        // In the solver's own steps: time would make answers depend on what else runs. The time is
        // a second line of defence.
        Z3_params_set_uint(context(), p, Z3_mk_string_symbol(context(), "rlimit"),
                           static_cast<unsigned>(std::min<uint64_t>(
                               milliseconds * steps_per_millisecond, 4000000000)));
        Z3_params_set_uint(context(), p, Z3_mk_string_symbol(context(), "timeout"),
                           std::min(milliseconds, 100000000u) * 20);
        // A long search is one for a counterexample: with zeros where there is a choice, a state
        // breaks few invariants, and is found in fewer rounds.
        if (way_ == Way::incremental && milliseconds >= long_search)
            Z3_params_set_uint(context(), p, Z3_mk_string_symbol(context(), "phase_selection"), 0);
        if (way_ == Way::incremental) // of much use for these formulas: 0.7 s in place of 6 s
            Z3_params_set_uint(context(), p, Z3_mk_string_symbol(context(), "relevancy"), 0);
        Z3_solver_set_params(context(), solver_, p);
        Z3_params_dec_ref(context(), p);
        const Z3_lbool answer = Z3_solver_check(context(), solver_);
        ++effort().checks;
        effort().timeouts += answer == Z3_L_UNDEF ? 1 : 0;
        return answer;
    }
    std::string text() { return Z3_solver_to_string(context(), solver_); }
    Model model() { return Model(Z3_solver_get_model(context(), solver_)); }

private:
    static Z3_solver make(Way way) {
        switch (way) {
        case Way::tactic: {
            Z3_tactic t = Z3_mk_tactic(context(), "qfufbv");
            Z3_tactic_inc_ref(context(), t);
            return Z3_mk_solver_from_tactic(context(), t);
        }
        case Way::incremental:
            return Z3_mk_simple_solver(context());
        case Way::logic:
            break;
        }
        return Z3_mk_solver_for_logic(context(), Z3_mk_string_symbol(context(), "QF_UFBV"));
    }
    Way way_;
    Z3_solver solver_;
};

// A question that was hard, to be looked at by other means.
void keep(const std::vector<Term>& asserted) {
    const char* folder = std::getenv("HOROS_PROVE_KEEP");
    if (folder == nullptr)
        return;
    static unsigned number = 0;
    Solver solver(Way::incremental);
    for (Term t : asserted)
        solver.add(t);
    std::ofstream(std::string(folder) + "/" + std::to_string(getpid()) + "-" +
                  std::to_string(number++) + ".smt2")
        << solver.text() << "(check-sat)\n";
}

Z3_lbool ask(const std::vector<Term>& asserted, unsigned milliseconds, Model* model,
             const std::vector<Way>& ways = {Way::logic, Way::incremental, Way::tactic}) {
    for (const Way way : ways) {
        Solver solver(way);
        for (Term t : asserted)
            solver.add(t);
        double seconds = 0;
        Z3_lbool answer = Z3_L_UNDEF;
        {
            Timer timer(seconds);
            answer = solver.check(milliseconds);
        }
        if (tracing())
            std::fprintf(stderr, "  way %d: %d in %.2f s\n", static_cast<int>(way), answer,
                         seconds);
        if (answer == Z3_L_TRUE && model != nullptr)
            *model = solver.model();
        if (answer != Z3_L_UNDEF)
            return answer;
    }
    return Z3_L_UNDEF;
}

size_t missing(const Places& places, const Places& from) {
    size_t n = 0;
    for (const auto& [function, at] : places) {
        const auto known = from.find(function);
        for (const auto& arguments : at)
            n += known == from.end() || !known->second.contains(arguments) ? 1 : 0;
    }
    return n;
}

// The lemmas that a model contradicts, those first that say most about why it is one. Best are
// those that contradict the part of it which makes true what is asserted: the rest could be
// otherwise. Else those that need the fewest other values for it. (A mistake here can make a proof
// fail; it cannot make one succeed.)
std::vector<size_t> contradicted(const Model& model, const std::vector<Term>& asserted,
                                 const std::vector<Lemma>& lemmas, const std::vector<bool>& used) {
    Timer timer(effort().evaluating);
    Evaluation whole(model.raw(), true);
    const Places reasons = whole.justification(asserted);
    Evaluation part(model.raw(), true, &reasons);
    std::map<std::pair<size_t, unsigned>, std::vector<size_t>> ranked; // by what is missing, depth
    for (size_t i = 0; i < lemmas.size(); ++i) {
        if (used[i])
            continue;
        const Term holds = lemmas[i].holds;
        if (const auto certain = part.value(holds); certain && *certain == 0) {
            ranked[{0, lemmas[i].depth}].push_back(i);
            continue;
        }
        const auto value = whole.value(holds);
        if (value ? *value == 0 : is_false(model.value(holds)))
            ranked[{std::max<size_t>(missing(whole.justification({holds}), reasons), 1),
                    lemmas[i].depth}]
                .push_back(i);
    }
    return ranked.empty() ? std::vector<size_t>{} : ranked.begin()->second;
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

constexpr unsigned often = 2; // times: measured

struct Session::State {
    Solver solver{Way::incremental};
    size_t asserted = 0;
    std::map<Term, unsigned> uses; // of lemmas, in earlier questions
    bool is_needed_often(Term lemma) const {
        const auto at = uses.find(lemma);
        return at != uses.end() && at->second >= often;
    }
    // It ran out lately, and another way had a proof soon: that one's turn comes soon then, for so
    // many questions.
    unsigned slow = 0;
};
constexpr unsigned stays_slow = 8;

Z3_lbool Session::check(const Limits& limits, const std::vector<Term>& asserted, Answer& answer) {
    const auto first = [&](unsigned milliseconds) {
        double seconds = 0;
        Z3_lbool result = Z3_L_UNDEF;
        {
            Timer timer(seconds);
            result = state_->solver.check(milliseconds);
        }
        if (tracing())
            std::fprintf(stderr, "round %u: %d in %.2f s, %u lemmas\n", answer.rounds, result,
                         seconds, answer.lemmas);
        if (result == Z3_L_TRUE)
            answer.model = state_->solver.model();
        return result;
    };
    // By another way, for a short time.
    const auto soon = [&] {
        const Z3_lbool result =
            ask(asserted, std::max(limits.milliseconds / 16, 250u), &answer.model, {Way::logic});
        state_->slow = result == Z3_L_FALSE ? stays_slow : 0;
        return result;
    };
    Z3_lbool result = Z3_L_UNDEF;
    const bool was_slow = state_->slow > 0;
    if (was_slow) {
        --state_->slow;
        result = first(std::max(limits.milliseconds / 128, 30u));
        if (result == Z3_L_UNDEF)
            result = soon();
    }
    if (result == Z3_L_UNDEF)
        result = first(std::max(limits.milliseconds / 4, 500u));
    if (result == Z3_L_UNDEF && !was_slow)
        result = soon();
    if (result == Z3_L_UNDEF) {
        keep(asserted);
        result = ask(asserted, limits.milliseconds, &answer.model);
    }
    if (result == Z3_L_UNDEF && limits.last > limits.milliseconds)
        result = ask(asserted, limits.last, &answer.model);
    return result;
}

Session::Session() : state_(std::make_unique<State>()) {}
Session::~Session() = default;

Answer Session::prove(const std::vector<Term>& assumptions, Term violated,
                      std::vector<Lemma>& lemmas, const std::function<void(const Lemma&)>& added,
                      const Limits& limits) {
    Answer answer;
    if (is_false(violated)) {
        answer.verdict = Verdict::proved;
        return answer;
    }
    Solver& solver = state_->solver;
    for (; state_->asserted < assumptions.size(); ++state_->asserted)
        solver.add(assumptions[state_->asserted]);
    solver.push();
    struct Pop {
        Solver& solver;
        ~Pop() { solver.pop(); }
    } pop{solver};
    solver.add(violated);
    std::vector<Term> asserted = assumptions;
    asserted.push_back(violated);
    std::vector<bool> used;
    const auto use = [&](size_t n) {
        used.resize(lemmas.size(), false);
        used[n] = true;
        const Lemma lemma = lemmas[n];
        asserted.push_back(lemma.holds);
        solver.add(lemma.holds);
        ++state_->uses[lemma.holds];
        answer.used.push_back(lemma.name);
        ++answer.lemmas;
        if (tracing())
            std::fprintf(stderr, "  %u %s\n", lemma.depth, lemma.name.c_str());
        Timer timer(effort().instantiating);
        if (lemma.depth < limits.depth && added)
            added(lemma);
    };
    // Those of the statement's own terms at once, if they are few.
    constexpr size_t few = 16;
    std::vector<size_t> own;
    for (size_t n = 0; n < lemmas.size(); ++n) {
        if (lemmas[n].depth == 0)
            own.push_back(n);
    }
    for (const size_t n : own.size() <= few ? own : std::vector<size_t>{})
        use(n);
    // What earlier questions needed again and again is needed once more.
    for (size_t n = 0; n < lemmas.size(); ++n) {
        if ((n >= used.size() || !used[n]) && state_->is_needed_often(lemmas[n].holds))
            use(n);
    }
    for (answer.rounds = 1; answer.rounds <= limits.rounds; ++answer.rounds) {
        const Z3_lbool result = check(limits, asserted, answer);
        if (result == Z3_L_FALSE) {
            answer.verdict = Verdict::proved;
            answer.model = Model();
            return answer;
        }
        if (result == Z3_L_UNDEF)
            return answer;
        used.resize(lemmas.size(), false);
        const std::vector<size_t> chosen = contradicted(answer.model, asserted, lemmas, used);
        if (chosen.empty()) {
            answer.verdict = Verdict::refuted;
            return answer;
        }
        constexpr size_t at_once = 16;
        for (size_t n = 0; n < std::min(at_once, chosen.size()); ++n)
            use(chosen[n]);
    }
    return answer;
}

Answer prove(const std::vector<Term>& assumptions, Term violated, std::vector<Lemma>& lemmas,
             const std::function<void(const Lemma&)>& added, const Limits& limits) {
    Session session;
    return session.prove(assumptions, violated, lemmas, added, limits);
}

} // namespace horos::proofs
