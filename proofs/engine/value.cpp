#include "value.hpp"

#include <algorithm>

namespace horos::proofs {

Value Value::of(Term bits, Term poison) {
    Value v;
    v.kind = Kind::bits;
    v.bits = bits;
    v.poison = poison;
    return v;
}
Value Value::of_pointer(std::vector<Target> targets, Term poison) {
    Value v;
    v.kind = Kind::pointer;
    v.targets = std::move(targets);
    v.poison = poison;
    return v;
}
Value Value::of_parts(std::vector<Value> parts) {
    Value v;
    v.kind = Kind::aggregate;
    v.poison = truth(false);
    v.parts = std::move(parts);
    return v;
}
Value Value::to(Object* object) { return of_pointer({{truth(true), object, {}}}); }

namespace {

Offset choose_offset(Term condition, const Offset& a, const Offset& b) {
    Offset both;
    both.constant = a.constant;
    for (size_t i = 0; i < a.terms.size(); ++i)
        both.terms.emplace_back(ite(condition, a.terms[i].first, b.terms[i].first),
                                a.terms[i].second);
    return both;
}

std::vector<Target> choose_targets(Term condition, const std::vector<Target>& a,
                                   const std::vector<Target>& b) {
    std::vector<Target> all;
    std::vector<bool> used(b.size(), false);
    for (const Target& t : a) {
        const auto same = std::find_if(b.begin(), b.end(), [&](const Target& other) {
            return other.object == t.object && other.offset.same_form(t.offset) &&
                   !used[static_cast<size_t>(&other - b.data())];
        });
        if (same == b.end()) {
            all.push_back({land(condition, t.condition), t.object, t.offset});
            continue;
        }
        used[static_cast<size_t>(same - b.begin())] = true;
        all.push_back({ite(condition, t.condition, same->condition), t.object,
                       choose_offset(condition, t.offset, same->offset)});
    }
    for (size_t i = 0; i < b.size(); ++i) {
        if (!used[i])
            all.push_back({land(lnot(condition), b[i].condition), b[i].object, b[i].offset});
    }
    std::erase_if(all, [](const Target& t) { return is_false(t.condition); });
    return all;
}

} // namespace

using Origins = std::shared_ptr<const std::vector<Origin>>;

Origins merged_origins(const std::vector<std::pair<const Guard*, const Value*>>& from,
                       const Value& merged) {
    constexpr size_t most = 24;
    if (merged.kind != Value::Kind::bits || constant(merged.bits) || from.size() > most)
        return nullptr;
    std::vector<Origin> origins;
    for (const auto& [path, value] : from) {
        if (!value->origins) {
            const bool is_set = !is_true(value->poison);
            origins.push_back({*path, is_set ? value->bits : merged.bits}); // as choose() has it
            continue;
        }
        for (const Origin& origin : *value->origins) {
            const Guard both = path->and_also(origin.path);
            if (!both.impossible())
                origins.push_back({both, origin.bits});
        }
    }
    const bool useful = std::any_of(origins.begin(), origins.end(),
                                    [](const Origin& w) { return constant(w.bits).has_value(); });
    return useful && origins.size() <= most
               ? std::make_shared<const std::vector<Origin>>(std::move(origins))
               : nullptr;
}

Origins origins_of(const Value& value, const std::function<Term(Term)>& function) {
    if (!value.origins)
        return nullptr;
    std::vector<Origin> origins;
    for (const Origin& origin : *value.origins)
        origins.push_back({origin.path, function(origin.bits)});
    return std::make_shared<const std::vector<Origin>>(std::move(origins));
}

Value choose(Term condition, const Value& a, const Value& b) {
    if (is_true(condition) || b.kind == Value::Kind::nothing)
        return a;
    if (is_false(condition) || a.kind == Value::Kind::nothing)
        return b;
    const Term poison = ite(condition, a.poison, b.poison);
    if (a.kind == Value::Kind::pointer)
        return Value::of_pointer(choose_targets(condition, a.targets, b.targets), poison);
    if (a.kind == Value::Kind::aggregate) {
        std::vector<Value> parts;
        for (size_t i = 0; i < a.parts.size(); ++i)
            parts.push_back(choose(condition, a.parts[i], b.parts[i]));
        return Value::of_parts(std::move(parts));
    }
    // The bits of what is not set are anything, so also those of the other: a row that only one of
    // two paths has found has one name after them.
    if (is_true(a.poison) != is_true(b.poison))
        return Value::of(is_true(a.poison) ? b.bits : a.bits, poison);
    return Value::of(ite(condition, a.bits, b.bits), poison);
}

} // namespace horos::proofs
