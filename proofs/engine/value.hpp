// What an SSA name stands for: bits, a pointer, or an aggregate; with the condition under which it
// is poison (or was never set).
#pragma once
#include "objects.hpp"

namespace horos::proofs {

struct Target { // of a pointer, when `condition` holds
    Term condition = nullptr;
    Object* object = nullptr; // null: the null pointer
    Offset offset;
};

struct Value {
    enum class Kind : uint8_t { nothing, bits, pointer, aggregate };
    Kind kind = Kind::nothing;
    Term bits = nullptr;
    Term poison = nullptr; // Bool; never null once made by the functions below
    std::vector<Target> targets;
    std::vector<Value> parts;

    static Value of(Term bits, Term poison = truth(false));
    static Value of_pointer(std::vector<Target> targets, Term poison = truth(false));
    static Value of_parts(std::vector<Value> parts);
    static Value to(Object* object);
};

Value choose(Term condition, const Value& a, const Value& b);

} // namespace horos::proofs
