// Questions to the solver. A question is a set of assumptions and a statement; the answer is that
// the statement follows, or a model in which it does not.
#pragma once
#include "terms.hpp"
#include <functional>
#include <memory>
#include <vector>

namespace horos::proofs {

enum class Verdict : uint8_t { proved, refuted, unknown };

// A model of a refuted question; empty otherwise.
class Model {
public:
    Model() = default;
    explicit Model(Z3_model model);
    Model(const Model& other);
    Model& operator=(const Model& other);
    ~Model();
    Z3_model raw() const { return model_; }
    bool exists() const { return model_ != nullptr; }
    Term value(Term t, bool complete = true) const; // complete: also what the model leaves open
    bool holds(Term t) const;
    uint64_t number(Term t) const;

private:
    Z3_model model_ = nullptr;
};

// Statements that are true and may be added when a model contradicts them.
struct Lemma {
    std::string name;
    Term holds;
    unsigned depth;
};

struct Answer {
    Verdict verdict = Verdict::unknown;
    Model model;
    unsigned rounds = 0;
    unsigned lemmas = 0; // that were needed
    std::vector<std::string> used;
};

struct Limits {
    unsigned milliseconds = 10'000; // of one call of the solver
    unsigned last = 0;              // ... when all ways have run out: once more, for so long
    unsigned rounds = 240;
    unsigned depth = 5;
};

// Whether the assumptions are consistent with `possible`.
Verdict consistent(const std::vector<Term>& assumptions, Term possible, unsigned milliseconds,
                   Model* model = nullptr);

// Where the time goes, of one process.
struct Effort {
    double solving = 0;    // in the solver
    double asserting = 0;  // handing terms to it
    double evaluating = 0; // lemmas in models
    double instantiating = 0;
    unsigned checks = 0;
    unsigned timeouts = 0;
};
Effort& effort();

// Questions under the same assumptions: what the solver has made of them is kept from one question
// to the next.
class Session {
public:
    Session();
    ~Session();
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    // Proves that `violated` cannot be, under the assumptions and whatever lemmas are needed.
    // `lemmas` grows as `added` tells what each new one brings with it. Assumptions may have been
    // appended since the last question, but not changed.
    Answer prove(const std::vector<Term>& assumptions, Term violated, std::vector<Lemma>& lemmas,
                 const std::function<void(const Lemma&)>& added, const Limits& limits);

private:
    Z3_lbool check(const Limits& limits, const std::vector<Term>& asserted, Answer& answer);
    struct State;
    std::unique_ptr<State> state_;
};

// The same, for one question.
Answer prove(const std::vector<Term>& assumptions, Term violated, std::vector<Lemma>& lemmas,
             const std::function<void(const Lemma&)>& added, const Limits& limits);

} // namespace horos::proofs
