// A state of memory: what was stored since the start, by object, oldest first; each store with the
// condition under which it happened. What nothing has stored is the leaf's base function.
#pragma once
#include "guard.hpp"
#include "value.hpp"
#include <functional>

namespace horos::proofs {

struct Entry {
    enum class Kind : uint8_t {
        store, // one leaf at one index tuple
        fill,  // bytes [low, high) of one row (the first index), or of the whole object
        havoc, // as fill, but with values that nothing is known of
    };
    Kind kind = Kind::store;
    Guard guard;
    const Leaf* leaf = nullptr;
    std::vector<Term> indices;
    Value value; // store
    Term row = nullptr;
    uint64_t low = 0, high = 0;
    uint8_t byte = 0;
    unsigned number = 0; // havoc: names its functions
};

struct Access {
    const Object* object;
    const Leaf* leaf;
    std::vector<Term> indices;
    bool store;
};

class World {
public:
    // The value of a leaf, seen under a guard.
    Value load(const Leaf& leaf, const std::vector<Term>& indices, const Guard& guard) const;
    void add(const Object& object, Entry entry);
    const std::vector<Entry>& log(const Object& object) const;
    bool touched(const Object& object) const { return !log(object).empty(); }

private:
    std::vector<std::vector<Entry>> logs_;
};

// The value of a read-only global's leaf.
Value load_constant(const llvm::Constant& initial, const llvm::DataLayout& layout, const Leaf& leaf,
                    const std::vector<Term>& indices);
unsigned next_havoc();
void restart_havocs(); // as restart_fresh()

} // namespace horos::proofs
