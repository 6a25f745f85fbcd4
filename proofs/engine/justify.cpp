// What of a model makes terms have the values that they have.
#include "evaluate.hpp"

namespace horos::proofs {

namespace {

// The arguments that decide a node's value, when not all do: one that is false decides a
// conjunction. Those that were visited already cost nothing.
struct Deciding {
    const Graph::Node& node;
    const std::function<bool(uint32_t, bool)>& is; // known, and this
    const std::vector<bool>& visited;

    std::optional<uint32_t> one(bool value) const {
        std::optional<uint32_t> found;
        for (const uint32_t a : node.args) {
            if (is(a, value) && (!found || visited[a]))
                found = a;
        }
        return found;
    }
    std::vector<uint32_t> find() const {
        switch (node.kind) {
        case Z3_OP_AND:
        case Z3_OP_OR:
            if (const auto a = one(node.kind == Z3_OP_OR))
                return {*a};
            return node.args;
        case Z3_OP_IMPLIES:
            if (is(node.args[0], false))
                return {node.args[0]};
            return is(node.args[1], true) ? std::vector{node.args[1]} : node.args;
        case Z3_OP_ITE:
            if (is(node.args[0], true))
                return {node.args[0], node.args[1]};
            return is(node.args[0], false) ? std::vector{node.args[0], node.args[2]} : node.args;
        default:
            return node.args;
        }
    }
};

} // namespace

Places Evaluation::justification(const std::vector<Term>& terms) {
    Places places;
    std::vector<uint32_t> open;
    for (Term t : terms) {
        (void)value(t);
        open.push_back(Graph::the().id(t));
    }
    std::vector<bool> visited(Graph::the().size(), false);
    const std::function<bool(uint32_t, bool)> is = [&](uint32_t id, bool wanted) {
        return states_[id] == State::known && (values_[id] != 0) == wanted;
    };
    while (!open.empty()) {
        const uint32_t top = open.back();
        open.pop_back();
        if (visited[top])
            continue;
        visited[top] = true;
        const Graph::Node& n = Graph::the().node(top);
        if (n.kind == Z3_OP_UNINTERPRETED && n.decl != nullptr) {
            std::vector<Number> at;
            for (const uint32_t a : n.args)
                at.push_back(values_[a]);
            places[n.decl].insert(std::move(at));
        }
        for (const uint32_t a : Deciding{n, is, visited}.find())
            open.push_back(a);
    }
    return places;
}

} // namespace horos::proofs
