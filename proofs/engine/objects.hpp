// Memory objects and the scalar fields ("leaves") that an address resolves to. A leaf of a global
// table is an uninterpreted function of the indices on the way to it.
#pragma once
#include "terms.hpp"
#include <llvm/IR/DataLayout.h>
#include <llvm/IR/GlobalVariable.h>
#include <map>
#include <memory>

namespace horos::proofs {

enum class Storage : uint8_t {
    table,    // a global with one meaning
    view,     // one of the typed views of all frames, which share their memory
    local,    // an alloca: unset at first
    constant, // read-only, its initialiser is its value
};

struct Object;
struct Shape; // of a function's control flow (execute.hpp)

struct Leaf {
    Object* object = nullptr;
    std::string path; // ".slots[].object"
    unsigned id = 0;
    unsigned width = 0; // in bits
    bool pointer = false;
    uint64_t offset = 0;           // of the leaf at indices 0
    std::vector<uint64_t> strides; // of its indices, outermost first
    std::vector<uint64_t> counts;
    Z3_func_decl base = nullptr;   // its value before the first step (tables and views)
    std::optional<uint64_t> fixed; // ... that is assumed to be this
    std::map<std::vector<Term>, uint64_t> known; // ... that is assumed of one row
};

struct Object {
    std::string name;
    llvm::Type* type = nullptr;
    uint64_t size = 0;
    Storage storage = Storage::table;
    const llvm::Constant* initial = nullptr;
    unsigned id = 0;
    std::map<std::pair<uint64_t, std::vector<uint64_t>>, std::unique_ptr<Leaf>> leaves;
};

// byte offset = constant + sum of index * stride, the indices 64 bits wide
struct Offset {
    int64_t constant = 0;
    std::vector<std::pair<Term, int64_t>> terms;
    void add(int64_t bytes) { constant += bytes; }
    void add(Term index, int64_t stride); // takes index * stride apart where it can
    bool same_form(const Offset& other) const;
};

// A piece of an access: `size` bytes from byte `at` of the leaf on.
struct Piece {
    Leaf* leaf = nullptr;      // null: padding
    std::vector<Term> indices; // 32 bits wide
    unsigned at = 0;
    unsigned size = 0;
    Term in_bounds = nullptr; // every index below its count
};

class Objects {
public:
    explicit Objects(const llvm::DataLayout& layout) : layout_(layout) {}

    Object* global(const llvm::GlobalVariable& variable); // one for all modules, by name
    Object* find(const std::string& name) const;
    Object* local(const std::string& name, llvm::Type* type);
    // By which names a global goes: `frames`, not a mangled name.
    static std::string plain_name(llvm::StringRef symbol);

    // An assumption about the state before the first step. Known as a number it leaves out the
    // paths that it excludes. To be named before the field is first looked at.
    void fix(const std::string& object, const std::string& path, uint64_t value) {
        fixed_[{object, path}] = value;
    }
    void declare_view(const std::string& name) { views_.insert({name, true}); }
    const std::vector<Object*>& views() const { return view_objects_; }
    const std::vector<std::unique_ptr<Object>>& all() const { return all_; }

    // Takes an access apart into leaves. Empty with `problem` set when it cannot.
    std::vector<Piece> pieces(Object& object, const Offset& offset, uint64_t size,
                              std::string& problem);
    const llvm::DataLayout& layout() const { return layout_; }
    std::map<const llvm::Function*, std::shared_ptr<Shape>> shapes; // found so far

private:
    bool resolve(Object& object, const Offset& offset, uint64_t wanted, Piece& out,
                 std::string& problem);
    Object* make(const std::string& name, llvm::Type* type, Storage storage);

    llvm::DataLayout layout_;
    std::map<std::string, Object*> globals_;
    std::map<const llvm::GlobalVariable*, Object*> constants_;
    std::map<std::string, bool> views_;
    std::map<std::pair<std::string, std::string>, uint64_t> fixed_;
    std::vector<Object*> view_objects_;
    std::vector<std::unique_ptr<Object>> all_;
    unsigned leaf_ids_ = 0;
};

} // namespace horos::proofs
