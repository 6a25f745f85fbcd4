#include "memory.hpp"

#include <llvm/Analysis/ConstantFolding.h>
#include <llvm/IR/Constants.h>
#include <map>

namespace horos::proofs {

static unsigned havocs = 0;
unsigned next_havoc() { return ++havocs; }
void restart_havocs() { havocs = 0; }

namespace {

Term same_indices(const std::vector<Term>& a, const std::vector<Term>& b) {
    std::vector<Term> all;
    for (size_t i = 0; i < a.size(); ++i)
        all.push_back(eq(a[i], b[i]));
    return land(all);
}

// Whether the leaf at these indices is in the bytes that a fill names.
Term in_fill(const Entry& e, const Leaf& leaf, const std::vector<Term>& indices) {
    Term in_row = truth(true);
    size_t first = 0;
    if (e.row != nullptr) {
        in_row = eq(indices[0], e.row);
        first = 1;
    }
    Term at = num(32, leaf.offset);
    for (size_t i = first; i < indices.size(); ++i)
        at = add(at, mul(indices[i], num(32, leaf.strides[i])));
    const Term above = e.low == 0 ? truth(true) : ule(num(32, e.low), at);
    const uint64_t bytes = leaf.width / 8;
    // A fill of everything holds every index that is in bounds.
    uint64_t end = leaf.offset + bytes;
    for (size_t i = first; i < indices.size(); ++i)
        end += leaf.strides[i] * (leaf.counts[i] - 1);
    const Term below = end <= e.high ? truth(true) : ule(at, num(32, e.high - bytes));
    return land(in_row, land(above, below));
}

Value filled(const Entry& e, const Leaf& leaf, const std::vector<Term>& indices) {
    if (leaf.pointer)
        return Value::of_pointer({{truth(true), nullptr, {}}});
    if (e.kind == Entry::Kind::fill) {
        Term value = num(8, e.byte);
        for (unsigned i = 8; i < leaf.width; i += 8)
            value = concat(value, num(8, e.byte));
        return Value::of(value);
    }
    static std::map<std::pair<unsigned, unsigned>, Z3_func_decl> functions;
    Z3_func_decl& f = functions[{e.number, leaf.id}];
    if (f == nullptr) {
        const std::vector<Z3_sort> domain(indices.size(), Z3_mk_bv_sort(context(), 32));
        f = Z3_mk_func_decl(
            context(),
            Z3_mk_string_symbol(
                context(),
                (leaf.object->name + leaf.path + "'" + std::to_string(e.number)).c_str()),
            static_cast<unsigned>(domain.size()), domain.data(),
            Z3_mk_bv_sort(context(), leaf.width));
    }
    return Value::of(apply(f, indices));
}

Value initial_value(const Leaf& leaf, const std::vector<Term>& indices) {
    if (leaf.object->storage == Storage::local) {
        if (leaf.pointer)
            return Value::of_pointer({}, truth(true));
        return Value::of(num(leaf.width, 0), truth(true)); // unset
    }
    if (leaf.fixed)
        return Value::of(num(leaf.width, *leaf.fixed));
    if (const auto known = leaf.known.find(indices); known != leaf.known.end())
        return Value::of(num(leaf.width, known->second));
    return Value::of(apply(leaf.base, indices));
}

} // namespace

const std::vector<Entry>& World::log(const Object& object) const {
    static const std::vector<Entry> none;
    return object.id < logs_.size() ? logs_[object.id] : none;
}

void World::add(const Object& object, Entry entry) {
    if (entry.guard.impossible())
        return;
    if (object.id >= logs_.size())
        logs_.resize(object.id + 1);
    logs_[object.id].push_back(std::move(entry));
}

Value World::load(const Leaf& leaf, const std::vector<Term>& indices, const Guard& guard) const {
    const std::vector<Entry>& entries = log(*leaf.object);
    std::vector<std::pair<Term, Value>> layers; // newest first
    Value below;
    for (size_t i = entries.size(); i-- > 0;) {
        const Entry& e = entries[i];
        if (e.kind == Entry::Kind::store && e.leaf != &leaf)
            continue;
        if (guard.excludes(e.guard))
            continue;
        const Term here = e.kind == Entry::Kind::store ? same_indices(e.indices, indices)
                                                       : in_fill(e, leaf, indices);
        if (is_false(here) || is_false(guard.fold(here)))
            continue;
        const Value value = e.kind == Entry::Kind::store ? e.value : filled(e, leaf, indices);
        const Term when = guard.implies(e.guard) ? here : land(e.guard.relative_to(guard), here);
        if (is_true(when) || is_true(guard.fold(when))) {
            below = value;
            break;
        }
        layers.emplace_back(when, value);
    }
    if (below.kind == Value::Kind::nothing)
        below = initial_value(leaf, indices);
    for (size_t i = layers.size(); i-- > 0;)
        below = choose(layers[i].first, layers[i].second, below);
    return below;
}

Value load_constant(const llvm::Constant& initial, const llvm::DataLayout& layout, const Leaf& leaf,
                    const std::vector<Term>& indices) {
    // All places that the indices can name, the last index fastest.
    Value all;
    std::vector<uint64_t> at(indices.size(), 0);
    auto* type = llvm::IntegerType::get(initial.getContext(), leaf.width);
    while (true) {
        std::vector<Term> here;
        uint64_t offset = leaf.offset;
        for (size_t i = 0; i < at.size(); ++i) {
            here.push_back(eq(indices[i], num(32, at[i])));
            offset += at[i] * leaf.strides[i];
        }
        const Term match = land(here);
        if (!is_false(match)) {
            const llvm::Constant* folded = llvm::ConstantFoldLoadFromConst(
                const_cast<llvm::Constant*>(&initial), type, llvm::APInt(64, offset), layout);
            const auto* bits = llvm::dyn_cast_or_null<llvm::ConstantInt>(folded);
            const Value value = bits != nullptr ? Value::of(num(leaf.width, bits->getZExtValue()))
                                                : Value::of(num(leaf.width, 0), truth(true));
            all = all.kind == Value::Kind::nothing ? value : choose(match, value, all);
        }
        size_t i = at.size();
        while (i > 0 && ++at[i - 1] == leaf.counts[i - 1])
            at[--i] = 0;
        if (i == 0)
            break;
    }
    return all;
}

} // namespace horos::proofs
