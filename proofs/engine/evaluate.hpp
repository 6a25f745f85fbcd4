// The value of terms in a model. The solver's own evaluation starts anew for each term; lemmas
// share nearly all of their terms, and hundreds of them are looked at for each model.
#pragma once
#include "terms.hpp"
#include <functional>
#include <set>
#include <unordered_map>

namespace horos::proofs {

// The terms of a process as a graph, each term once.
class Graph {
public:
    struct Node {
        Z3_decl_kind kind = Z3_OP_UNINTERPRETED;
        unsigned width = 1;
        std::vector<uint32_t> args;
        Z3_func_decl decl = nullptr; // uninterpreted
        unsigned __int128 value = 0; // of a numeral
        int low = 0;                 // of an extract
        bool numeral = false;
        bool known_kind = true; // else its value is left to the solver
    };
    static Graph& the();
    uint32_t id(Term t);
    const Node& node(uint32_t id) const { return nodes_[id]; }
    size_t size() const { return nodes_.size(); }

private:
    Node make(Term t) const;
    std::vector<Node> nodes_;
    std::unordered_map<Term, uint32_t> ids_;
};

// Of functions, the arguments at which a model is looked at.
using Places = std::unordered_map<Z3_func_decl, std::set<std::vector<unsigned __int128>>>;

// Values in one model. What the model leaves open is unknown, or zero when it is to be completed.
class Evaluation {
public:
    using Number = unsigned __int128;
    // With `only`: all else is unknown.
    Evaluation(Z3_model model, bool complete, const Places* only = nullptr)
        : model_(model), complete_(complete), only_(only) {}
    std::optional<Number> value(Term t);
    // Of the terms' values: a part of the model from which they follow (justify.cpp).
    Places justification(const std::vector<Term>& terms);

private:
    enum class State : uint8_t { untouched, open, known };
    struct Function {
        std::vector<std::pair<std::vector<Number>, Number>> entries;
        std::optional<Number> otherwise;
        bool present = false;
    };
    void visit(uint32_t id);
    std::optional<Number> compute(const Graph::Node& n);
    std::optional<Number> logic(const Graph::Node& n) const;
    std::optional<Number> arithmetic(const Graph::Node& n) const;
    std::optional<Number> application(const Graph::Node& n);
    std::optional<Number> argument(const Graph::Node& n, size_t i) const;
    const Function& function(Z3_func_decl decl, bool is_constant);

    Z3_model model_;
    bool complete_;
    const Places* only_;
    std::vector<State> states_;
    std::vector<Number> values_;
    std::unordered_map<Z3_func_decl, Function> functions_;
};

} // namespace horos::proofs
