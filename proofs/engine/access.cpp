// Loads and stores through pointers: bounds as obligations, access by pieces of leaves.
#include "execute.hpp"

namespace horos::proofs {

void Executor::require(const Guard& guard, Term holds, const std::string& kind,
                       const std::string& place) {
    if (!obligations_on || guard.impossible() || is_true(holds) || is_true(guard.fold(holds)))
        return;
    obligations.push_back({kind, place, guard, lnot(holds)});
}

void Executor::touch(const Piece& piece, const Object& object) {
    if (object.storage != Storage::local && object.storage != Storage::constant &&
        !piece.indices.empty()) {
        if (touched.empty() || touched.back().first != &object ||
            touched.back().second != piece.indices)
            touched.emplace_back(&object, piece.indices);
    }
}

std::vector<Piece> Executor::access(const Target& target, uint64_t size, const Guard& guard,
                                    bool store, const std::string& place) {
    if (target.object == nullptr) {
        require(guard, truth(false), "null pointer is not used", place);
        return {};
    }
    if (store && target.object->storage == Storage::constant) {
        require(guard, truth(false), "read-only memory is not written", place);
        return {};
    }
    std::string problem;
    std::vector<Piece> pieces = objects_.pieces(*target.object, target.offset, size, problem);
    if (pieces.empty() && size > 0) {
        if (problem.starts_with("offset outside")) {
            require(guard, truth(false), "offset in bounds", place);
            return {};
        }
        throw Unsupported(problem + " (" + place + ")");
    }
    for (Piece& piece : pieces) {
        for (Term& index : piece.indices)
            index = policy_.narrow_indices ? guard.narrowed(guard.pick(index)) : guard.pick(index);
        require(guard, piece.in_bounds, "index in bounds of " + target.object->name, place);
        if (piece.leaf == nullptr)
            continue;
        touch(piece, *target.object);
        if (policy_.on_access) {
            current_guard = guard;
            policy_.on_access(*this, piece, *target.object, store);
        }
    }
    return pieces;
}

Value Executor::load_piece(const Piece& piece, const Object& object, const Guard& guard) {
    if (piece.leaf == nullptr)
        return Value::of(num(piece.size * 8, 0), truth(true));
    Value whole =
        object.storage == Storage::constant
            ? load_constant(*object.initial, objects_.layout(), *piece.leaf, piece.indices)
            : world_.load(*piece.leaf, piece.indices, guard);
    if (whole.kind == Value::Kind::bits)
        whole.bits = guard.pick(whole.bits);
    if (whole.kind == Value::Kind::pointer || piece.size * 8 == piece.leaf->width)
        return whole;
    return Value::of(extract((piece.at + piece.size) * 8 - 1, piece.at * 8, whole.bits),
                     whole.poison);
}

Value Executor::load(const Value& pointer, uint64_t size, const Guard& guard,
                     const std::string& place, bool as_pointer) {
    Value all;
    require(guard, lnot(pointer.poison), "address is set", place);
    for (const Target& target : pointer.targets) {
        const Guard here = guard.with(target.condition);
        if (here.impossible())
            continue;
        Value value;
        for (const Piece& piece : access(target, size, here, false, place)) {
            const Value part = load_piece(piece, *target.object, here);
            if (value.kind == Value::Kind::nothing)
                value = part;
            else if (part.kind != Value::Kind::bits || value.kind != Value::Kind::bits)
                throw Unsupported("load of part of a pointer (" + place + ")");
            else
                value = Value::of(concat(part.bits, value.bits), lor(part.poison, value.poison));
        }
        if (value.kind == Value::Kind::nothing) // a violation: the value does not matter
            value = as_pointer ? Value::of_pointer({}, truth(true))
                               : Value::of(num(static_cast<unsigned>(size * 8), 0), truth(true));
        if (as_pointer && value.kind == Value::Kind::bits) {
            if (!constant(value.bits) || *constant(value.bits) != 0)
                throw Unsupported("integer read as a pointer (" + place + ")");
            value = Value::of_pointer({{truth(true), nullptr, {}}}, value.poison);
        }
        all = choose(target.condition, value, all);
    }
    if (all.kind == Value::Kind::nothing)
        all = as_pointer ? Value::of_pointer({}, truth(true))
                         : Value::of(num(static_cast<unsigned>(size * 8), 0), truth(true));
    return all;
}

Term Executor::reading(const std::string& name, const std::vector<Term>& where, unsigned width,
                       const Guard& guard) {
    // How often before, on this path. As a term, since two executions can know of two paths in
    // different ways that they exclude each other.
    constexpr unsigned count_width = 8;
    unsigned certain = 0;
    Term number = num(count_width, 0);
    auto& before = readings_[name];
    for (const Guard& path : before) {
        if (guard.implies(path))
            ++certain;
        else if (!path.excludes(guard))
            number = add(number, zext(path.relative_to(guard), count_width));
    }
    if (before.size() >= 255)
        throw Unsupported("more readings than are counted of " + name);
    before.push_back(guard);
    std::vector<Term> at{add(number, num(count_width, certain))};
    at.insert(at.end(), where.begin(), where.end());
    std::vector<Z3_sort> domain;
    for (const Term t : at)
        domain.push_back(Z3_get_sort(context(), t));
    const Z3_sort range = width == 1 ? Z3_mk_bool_sort(context()) : Z3_mk_bv_sort(context(), width);
    const Z3_symbol symbol =
        Z3_mk_string_symbol(context(), (name + " " + std::to_string(width)).c_str());
    const Z3_func_decl f = Z3_mk_func_decl(context(), symbol, static_cast<unsigned>(domain.size()),
                                           domain.data(), range);
    readings.push_back({name, guard, proofs::apply(f, at)});
    return readings.back().value;
}

bool Executor::has_read(const std::string& name, const Guard& guard) const {
    const auto at = readings_.find(name);
    if (at == readings_.end())
        return false;
    for (const Guard& path : at->second) {
        if (!path.excludes(guard))
            return true;
    }
    return false;
}

Term Executor::volatile_value(const Value& pointer, uint64_t size, const Guard& guard) {
    // A function of where: two executions can write the same index in different ways.
    std::string name = "volatile";
    std::vector<Term> where;
    for (const Target& t : pointer.targets) {
        name += " " + (t.object != nullptr ? t.object->name : "null") + "+" +
                std::to_string(t.offset.constant);
        if (pointer.targets.size() > 1)
            where.push_back(zext(t.condition, 64));
        for (const auto& [term, stride] : t.offset.terms) {
            name += "+*" + std::to_string(stride);
            where.push_back(resize(term, 64));
        }
    }
    const Term value = reading(name, where, static_cast<unsigned>(size * 8), guard);
    if (pointer.targets.size() == 1)
        volatile_reads.push_back(
            {pointer.targets[0].object, pointer.targets[0].offset.constant, value});
    return value;
}

void Executor::store_piece(const Piece& piece, const Object& object, Value value,
                           const Guard& guard) {
    if (piece.leaf == nullptr)
        return;
    if (value.kind == Value::Kind::bits && piece.size * 8 != piece.leaf->width) {
        if (piece.leaf->pointer)
            throw Unsupported("store to part of a pointer");
        const Value old = world_.load(*piece.leaf, piece.indices, guard);
        Term bits = value.bits;
        if (piece.at > 0)
            bits = concat(bits, extract(piece.at * 8 - 1, 0, old.bits));
        if ((piece.at + piece.size) * 8 < piece.leaf->width)
            bits =
                concat(extract(piece.leaf->width - 1, (piece.at + piece.size) * 8, old.bits), bits);
        value = Value::of(bits, lor(value.poison, old.poison));
    }
    Entry e;
    e.guard = guard;
    e.leaf = piece.leaf;
    e.indices = piece.indices;
    e.value = std::move(value);
    world_.add(object, std::move(e));
}

void Executor::store(const Value& pointer, const Value& value, uint64_t size, const Guard& guard,
                     const std::string& place) {
    require(guard, lnot(pointer.poison), "address is set", place);
    for (const Target& target : pointer.targets) {
        const Guard here = guard.with(target.condition);
        if (here.impossible())
            continue;
        unsigned at = 0;
        for (const Piece& piece : access(target, size, here, true, place)) {
            if (target.object->storage != Storage::local) {
                require(here, lnot(value.poison), "stored value is set", place);
                if (value.kind == Value::Kind::pointer)
                    throw Unsupported("pointer stored in a table (" + place + ")");
            }
            if (value.kind == Value::Kind::pointer) {
                if (piece.leaf == nullptr || !piece.leaf->pointer || piece.size != size)
                    throw Unsupported("pointer stored over something else (" + place + ")");
                store_piece(piece, *target.object, value, here);
                continue;
            }
            const Term bits = extract((at + piece.size) * 8 - 1, at * 8, value.bits);
            store_piece(piece, *target.object, Value::of(bits, value.poison), here);
            at += piece.size;
        }
    }
}

void Executor::fill(const Value& pointer, uint8_t byte, uint64_t size, const Guard& guard,
                    const std::string& place) {
    constexpr uint64_t row_size = 4096;
    require(guard, lnot(pointer.poison), "address is set", place);
    for (const Target& target : pointer.targets) {
        const Guard here = guard.with(target.condition);
        if (here.impossible())
            continue;
        if (target.object == nullptr) {
            require(here, truth(false), "null pointer is not used", place);
            continue;
        }
        if (target.object->storage == Storage::view && size == row_size) {
            std::string problem;
            const auto first = objects_.pieces(*target.object, target.offset, 1, problem);
            if (first.size() != 1 || first[0].leaf == nullptr || first[0].leaf->offset != 0)
                throw Unsupported("fill of part of two frames (" + place + ")");
            for (size_t i = 1; i < first[0].indices.size(); ++i) {
                if (constant(first[0].indices[i]).value_or(1) != 0)
                    throw Unsupported("fill of part of two frames (" + place + ")");
            }
            require(here, first[0].in_bounds, "index in bounds of " + target.object->name, place);
            touch(first[0], *target.object);
            Entry e;
            e.kind = Entry::Kind::fill;
            e.guard = here;
            e.row = first[0].indices[0];
            e.high = row_size;
            e.byte = byte;
            for (const Object* view : objects_.views())
                world_.add(*view, e);
            continue;
        }
        if (target.object->storage == Storage::local && target.offset.terms.empty() &&
            target.offset.constant == 0 && size == target.object->size) {
            Entry e;
            e.kind = Entry::Kind::fill;
            e.guard = here;
            e.high = size;
            e.byte = byte;
            world_.add(*target.object, e);
            continue;
        }
        for (const Piece& piece : access(target, size, here, true, place)) {
            if (piece.leaf != nullptr && piece.leaf->pointer) {
                store_piece(piece, *target.object, Value::of_pointer({{truth(true), nullptr, {}}}),
                            here);
                continue;
            }
            Term bits = num(8, byte);
            for (unsigned i = 1; i < piece.size; ++i)
                bits = concat(bits, num(8, byte));
            store_piece(piece, *target.object, Value::of(bits), here);
        }
    }
}

void Executor::copy(const Value& to, const Value& from, uint64_t size, const Guard& guard,
                    const std::string& place) {
    // By the pieces of the source; all is read before anything is written.
    require(guard, lnot(to.poison), "address is set", place);
    require(guard, lnot(from.poison), "address is set", place);
    std::vector<std::pair<unsigned, Value>> parts; // size, value
    for (const Target& source : from.targets) {
        if (from.targets.size() > 1)
            break;
        for (const Piece& piece : access(source, size, guard, false, place))
            parts.emplace_back(piece.size, load_piece(piece, *source.object, guard));
    }
    if (from.targets.size() != 1) {
        for (unsigned i = 0; i < size; ++i) {
            Value pointer = from;
            for (Target& t : pointer.targets)
                t.offset.add(i);
            parts.emplace_back(1, load(pointer, 1, guard, place));
        }
    }
    unsigned at = 0;
    for (const auto& [bytes, value] : parts) {
        Value pointer = to;
        for (Target& t : pointer.targets)
            t.offset.add(at);
        store(pointer, value, bytes, guard, place);
        at += bytes;
    }
}

} // namespace horos::proofs
