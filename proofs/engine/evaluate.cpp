#include "evaluate.hpp"

namespace horos::proofs {

namespace {

using Number = Evaluation::Number;

Number mask(unsigned width) { return width >= 128 ? ~Number{0} : (Number{1} << width) - 1; }
bool negative(Number v, unsigned width) { return (v >> (width - 1) & 1) != 0; }
__int128 as_signed(Number v, unsigned width) {
    return static_cast<__int128>(negative(v, width) ? v | ~mask(width) : v);
}

bool is_known(Z3_decl_kind kind) {
    switch (kind) {
    case Z3_OP_TRUE:
    case Z3_OP_FALSE:
    case Z3_OP_NOT:
    case Z3_OP_AND:
    case Z3_OP_OR:
    case Z3_OP_XOR:
    case Z3_OP_IMPLIES:
    case Z3_OP_ITE:
    case Z3_OP_EQ:
    case Z3_OP_UNINTERPRETED:
    case Z3_OP_BADD:
    case Z3_OP_BSUB:
    case Z3_OP_BMUL:
    case Z3_OP_BAND:
    case Z3_OP_BOR:
    case Z3_OP_BXOR:
    case Z3_OP_BNOT:
    case Z3_OP_BSHL:
    case Z3_OP_BLSHR:
    case Z3_OP_BASHR:
    case Z3_OP_BUDIV:
    case Z3_OP_BUREM:
    case Z3_OP_ULT:
    case Z3_OP_SLT:
    case Z3_OP_EXTRACT:
    case Z3_OP_CONCAT:
    case Z3_OP_ZERO_EXT:
    case Z3_OP_SIGN_EXT:
        return true;
    default:
        return false;
    }
}

// Of a numeral up to 128 bits wide.
bool numeral_value(Term t, Number& out) {
    uint64_t small = 0;
    if (Z3_get_numeral_uint64(context(), t, &small)) {
        out = small;
        return true;
    }
    out = 0;
    for (const char* digit = Z3_get_numeral_string(context(), t); *digit != 0; ++digit) {
        if (*digit < '0' || *digit > '9')
            return false;
        out = out * 10 + static_cast<unsigned>(*digit - '0');
    }
    return true;
}

// A value as a model gives it.
std::optional<Number> literal(Term t) {
    if (is_true(t))
        return 1;
    if (is_false(t))
        return 0;
    Number v = 0;
    if (Z3_get_ast_kind(context(), t) == Z3_NUMERAL_AST && numeral_value(t, v))
        return v;
    return std::nullopt;
}

} // namespace

Graph& Graph::the() {
    static Graph graph;
    return graph;
}

Graph::Node Graph::make(Term t) const {
    Node n;
    n.width = width_of(t);
    n.known_kind = n.width <= 128;
    if (const auto v = literal(t)) {
        n.numeral = true;
        n.value = *v;
        return n;
    }
    if (Z3_get_ast_kind(context(), t) != Z3_APP_AST) {
        n.known_kind = false;
        return n;
    }
    Z3_app app = Z3_to_app(context(), t);
    n.decl = Z3_get_app_decl(context(), app);
    n.kind = Z3_get_decl_kind(context(), n.decl);
    n.known_kind = n.known_kind && is_known(n.kind);
    if (n.kind == Z3_OP_EXTRACT)
        n.low = Z3_get_decl_int_parameter(context(), n.decl, 1);
    const unsigned count = Z3_get_app_num_args(context(), app);
    for (unsigned i = 0; i < count; ++i)
        n.args.push_back(ids_.at(Z3_get_app_arg(context(), app, i)));
    return n;
}

uint32_t Graph::id(Term t) {
    if (const auto at = ids_.find(t); at != ids_.end())
        return at->second;
    std::vector<Term> open{t};
    while (!open.empty()) {
        const Term top = open.back();
        if (ids_.contains(top)) {
            open.pop_back();
            continue;
        }
        const size_t before = open.size();
        if (Z3_get_ast_kind(context(), top) == Z3_APP_AST) {
            Z3_app app = Z3_to_app(context(), top);
            for (unsigned i = Z3_get_app_num_args(context(), app); i-- > 0;) {
                const Term a = Z3_get_app_arg(context(), app, i);
                if (!ids_.contains(a))
                    open.push_back(a);
            }
        }
        if (open.size() != before)
            continue;
        nodes_.push_back(make(top));
        ids_.emplace(top, static_cast<uint32_t>(nodes_.size() - 1));
        open.pop_back();
    }
    return ids_.at(t);
}

std::optional<Number> Evaluation::value(Term t) {
    const uint32_t id = Graph::the().id(t);
    if (states_.size() < Graph::the().size()) {
        states_.resize(Graph::the().size(), State::untouched);
        values_.resize(Graph::the().size());
    }
    visit(id);
    return states_[id] == State::known ? std::optional(values_[id]) : std::nullopt;
}

void Evaluation::visit(uint32_t id) {
    std::vector<uint32_t> open{id};
    while (!open.empty()) {
        const uint32_t top = open.back();
        if (states_[top] != State::untouched) {
            open.pop_back();
            continue;
        }
        const Graph::Node& n = Graph::the().node(top);
        const size_t before = open.size();
        for (const uint32_t a : n.args) {
            if (states_[a] == State::untouched)
                open.push_back(a);
        }
        if (open.size() != before)
            continue;
        const auto v = compute(n);
        states_[top] = v ? State::known : State::open;
        values_[top] = v ? *v & mask(n.width) : 0;
        open.pop_back();
    }
}

std::optional<Number> Evaluation::argument(const Graph::Node& n, size_t i) const {
    const uint32_t a = n.args[i];
    return states_[a] == State::known ? std::optional(values_[a]) : std::nullopt;
}

std::optional<Number> Evaluation::compute(const Graph::Node& n) {
    if (n.numeral)
        return n.value;
    if (!n.known_kind)
        return std::nullopt;
    switch (n.kind) {
    case Z3_OP_UNINTERPRETED:
        return application(n);
    case Z3_OP_NOT:
    case Z3_OP_AND:
    case Z3_OP_OR:
    case Z3_OP_XOR:
    case Z3_OP_IMPLIES:
    case Z3_OP_ITE:
        return logic(n);
    default:
        return arithmetic(n);
    }
}

// Known already when some of the arguments are.
std::optional<Number> Evaluation::logic(const Graph::Node& n) const {
    if (n.kind == Z3_OP_ITE) {
        const auto when = argument(n, 0);
        if (!when) {
            const auto a = argument(n, 1);
            return a && a == argument(n, 2) ? a : std::nullopt;
        }
        return argument(n, *when != 0 ? 1 : 2);
    }
    if (n.kind == Z3_OP_NOT) {
        const auto a = argument(n, 0);
        return a ? std::optional<Number>(*a == 0) : std::nullopt;
    }
    if (n.kind == Z3_OP_IMPLIES) {
        const auto a = argument(n, 0);
        const auto b = argument(n, 1);
        if ((a && *a == 0) || (b && *b != 0))
            return 1;
        return a && b ? std::optional<Number>(0) : std::nullopt;
    }
    bool all = true;
    Number sum = 0;
    for (size_t i = 0; i < n.args.size(); ++i) {
        const auto a = argument(n, i);
        if (a && n.kind != Z3_OP_XOR && (*a != 0) == (n.kind == Z3_OP_OR))
            return *a;
        all = all && a;
        sum ^= a.value_or(0);
    }
    if (!all)
        return std::nullopt;
    return n.kind == Z3_OP_XOR ? sum : Number{n.kind == Z3_OP_AND};
}

std::optional<Number> Evaluation::arithmetic(const Graph::Node& n) const {
    const auto first = argument(n, 0);
    if (!first)
        return std::nullopt;
    const unsigned w = Graph::the().node(n.args[0]).width;
    Number a = *first;
    if (n.args.size() == 1) {
        switch (n.kind) {
        case Z3_OP_BNOT:
            return ~a;
        case Z3_OP_EXTRACT:
            return a >> n.low;
        case Z3_OP_SIGN_EXT:
            return static_cast<Number>(as_signed(a, w));
        default: // zero extension
            return a;
        }
    }
    for (size_t i = 1; i < n.args.size(); ++i) { // of more than two: from the left
        const auto second = argument(n, i);
        if (!second)
            return std::nullopt;
        const Number b = *second;
        switch (n.kind) {
        case Z3_OP_EQ:
            return a == b;
        case Z3_OP_ULT:
            return a < b;
        case Z3_OP_SLT:
            return as_signed(a, w) < as_signed(b, w);
        case Z3_OP_BADD:
            a = a + b;
            break;
        case Z3_OP_BSUB:
            a = a - b;
            break;
        case Z3_OP_BMUL:
            a = a * b;
            break;
        case Z3_OP_BAND:
            a = a & b;
            break;
        case Z3_OP_BOR:
            a = a | b;
            break;
        case Z3_OP_BXOR:
            a = a ^ b;
            break;
        case Z3_OP_CONCAT:
            a = a << Graph::the().node(n.args[i]).width | b;
            break;
        case Z3_OP_BSHL:
            a = b >= w ? 0 : a << static_cast<unsigned>(b);
            break;
        case Z3_OP_BLSHR:
            a = b >= w ? 0 : a >> static_cast<unsigned>(b);
            break;
        case Z3_OP_BASHR:
            a = static_cast<Number>(as_signed(a, w) >> (b >= w ? w - 1 : static_cast<unsigned>(b)));
            break;
        case Z3_OP_BUDIV:
            a = b == 0 ? ~Number{0} : a / b;
            break;
        default: // Z3_OP_BUREM
            a = b == 0 ? a : a % b;
        }
        a &= mask(n.width);
    }
    return a;
}

const Evaluation::Function& Evaluation::function(Z3_func_decl decl, bool is_constant) {
    const auto [at, made] = functions_.try_emplace(decl);
    Function& f = at->second;
    if (!made)
        return f;
    if (is_constant) {
        if (Z3_ast v = Z3_model_get_const_interp(context(), model_, decl)) {
            f.otherwise = literal(v);
            f.present = true;
        }
        return f;
    }
    Z3_func_interp interp = Z3_model_get_func_interp(context(), model_, decl);
    if (interp == nullptr)
        return f;
    Z3_func_interp_inc_ref(context(), interp);
    f.present = true;
    const unsigned count = Z3_func_interp_get_num_entries(context(), interp);
    for (unsigned i = 0; i < count; ++i) {
        Z3_func_entry e = Z3_func_interp_get_entry(context(), interp, i);
        Z3_func_entry_inc_ref(context(), e);
        std::vector<Number> at_args;
        for (unsigned k = 0; k < Z3_func_entry_get_num_args(context(), e); ++k)
            at_args.push_back(literal(Z3_func_entry_get_arg(context(), e, k)).value_or(0));
        if (const auto v = literal(Z3_func_entry_get_value(context(), e)))
            f.entries.emplace_back(std::move(at_args), *v);
        Z3_func_entry_dec_ref(context(), e);
    }
    f.otherwise = literal(Z3_func_interp_get_else(context(), interp));
    Z3_func_interp_dec_ref(context(), interp);
    return f;
}

std::optional<Number> Evaluation::application(const Graph::Node& n) {
    std::vector<Number> at;
    for (size_t i = 0; i < n.args.size(); ++i) {
        const auto a = argument(n, i);
        if (!a)
            return std::nullopt;
        at.push_back(*a);
    }
    if (only_ != nullptr) {
        const auto places = only_->find(n.decl);
        if (places == only_->end() || !places->second.contains(at))
            return std::nullopt;
    }
    const Function& f = function(n.decl, n.args.empty());
    if (!f.present)
        return complete_ ? std::optional<Number>(0) : std::nullopt;
    if (n.args.empty())
        return f.otherwise;
    for (const auto& [where, value] : f.entries) {
        if (where == at)
            return value;
    }
    return f.otherwise;
}

} // namespace horos::proofs
