// What an SSA name stands for: bits, a pointer, or an aggregate; with the condition under which it
// is poison (or was never set).
#pragma once
#include "guard.hpp"
#include "objects.hpp"
#include <functional>

namespace horos::proofs {

struct Target { // of a pointer, when `condition` holds
    Term condition = nullptr;
    Object* object = nullptr; // null: the null pointer
    Offset offset;
};

struct Origin;

struct Value {
    enum class Kind : uint8_t { nothing, bits, pointer, aggregate };
    Kind kind = Kind::nothing;
    Term bits = nullptr;
    Term poison = nullptr; // Bool; never null once made by the functions below
    std::vector<Target> targets;
    std::vector<Value> parts;
    // By which paths the bits came about, where some of them give a constant: a branch on such a
    // value knows all that is known of the path that leads to it. Null: not recorded.
    std::shared_ptr<const std::vector<Origin>> origins;

    static Value of(Term bits, Term poison = truth(false));
    static Value of_pointer(std::vector<Target> targets, Term poison = truth(false));
    static Value of_parts(std::vector<Value> parts);
    static Value to(Object* object);
};

// Paths that exclude each other, and together are all on which the value is looked at.
struct Origin {
    Guard path;
    Term bits;
};

// Of a value that was merged from others, each on a path of its own.
std::shared_ptr<const std::vector<Origin>>
merged_origins(const std::vector<std::pair<const Guard*, const Value*>>& from, const Value& merged);
// Of what a function makes of the bits.
std::shared_ptr<const std::vector<Origin>> origins_of(const Value& value,
                                                      const std::function<Term(Term)>& function);

Value choose(Term condition, const Value& a, const Value& b);

} // namespace horos::proofs
