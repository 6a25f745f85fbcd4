#include "objects.hpp"
#include "names.hpp"

#include <llvm/Demangle/Demangle.h>

namespace horos::proofs {

namespace {

bool app_of(Term t, Z3_decl_kind kind) {
    return Z3_get_ast_kind(context(), t) == Z3_APP_AST &&
           Z3_get_decl_kind(context(), Z3_get_app_decl(context(), Z3_to_app(context(), t))) == kind;
}
Term arg(Term t, unsigned i) { return Z3_get_app_arg(context(), Z3_to_app(context(), t), i); }

} // namespace

void Offset::add(Term index, int64_t stride) {
    if (const auto k = horos::proofs::constant(index)) {
        constant += static_cast<int64_t>(*k) * stride;
        return;
    }
    if (app_of(index, Z3_OP_BADD)) {
        const unsigned n = Z3_get_app_num_args(context(), Z3_to_app(context(), index));
        for (unsigned i = 0; i < n; ++i)
            add(arg(index, i), stride);
        return;
    }
    if (app_of(index, Z3_OP_BSHL)) {
        if (const auto k = horos::proofs::constant(arg(index, 1)); k && *k < 48) {
            add(arg(index, 0), stride << *k);
            return;
        }
    }
    if (app_of(index, Z3_OP_BMUL) &&
        Z3_get_app_num_args(context(), Z3_to_app(context(), index)) == 2) {
        if (const auto k = horos::proofs::constant(arg(index, 1))) {
            add(arg(index, 0), stride * static_cast<int64_t>(*k));
            return;
        }
    }
    if (app_of(index, Z3_OP_ZERO_EXT)) {
        // zext(shl(x, k)) that loses no bit: scaled again, so that x stays an index
        Term inner = arg(index, 0);
        if (app_of(inner, Z3_OP_BSHL)) {
            const auto k = horos::proofs::constant(arg(inner, 1));
            if (k && app_of(arg(inner, 0), Z3_OP_ZERO_EXT) &&
                width_of(arg(arg(inner, 0), 0)) + *k <= width_of(inner)) {
                add(zext(arg(inner, 0), 64), stride << *k);
                return;
            }
        }
    }
    for (auto& [known, by] : terms) {
        if (known == index) {
            by += stride;
            return;
        }
    }
    terms.emplace_back(index, stride);
}

bool Offset::same_form(const Offset& other) const {
    if (constant != other.constant || terms.size() != other.terms.size())
        return false;
    for (size_t i = 0; i < terms.size(); ++i) {
        if (terms[i].second != other.terms[i].second)
            return false;
    }
    return true;
}

std::string Objects::plain_name(llvm::StringRef symbol) {
    const std::string full = llvm::demangle(symbol.str());
    // The last name before the arguments; template arguments can hold both.
    int nested = 0;
    size_t start = 0;
    for (size_t i = 0; i < full.size(); ++i) {
        nested += full[i] == '<';
        nested -= full[i] == '>';
        if (nested > 0)
            continue;
        if (full[i] == '(' && full.compare(i, 21, "(anonymous namespace)") != 0)
            return full.substr(start, i - start);
        if (full[i] == ':' && i + 1 < full.size() && full[i + 1] == ':')
            start = i + 2;
    }
    return full.substr(start);
}

Object* Objects::make(const std::string& name, llvm::Type* type, Storage storage) {
    auto object = std::make_unique<Object>();
    object->name = name;
    object->type = type;
    object->size = layout_.getTypeAllocSize(type);
    object->storage = storage;
    object->id = static_cast<unsigned>(all_.size());
    all_.push_back(std::move(object));
    return all_.back().get();
}

Object* Objects::global(const llvm::GlobalVariable& variable) {
    if (variable.isConstant() && variable.hasInitializer()) {
        Object*& known = constants_[&variable];
        if (known == nullptr) {
            known = make(variable.getName().str(), variable.getValueType(), Storage::constant);
            known->initial = variable.getInitializer();
        }
        return known;
    }
    const std::string name = plain_name(variable.getName());
    Object*& known = globals_[name];
    if (known == nullptr) {
        const bool view = views_.contains(name);
        known = make(name, variable.getValueType(), view ? Storage::view : Storage::table);
        if (view)
            view_objects_.push_back(known);
    }
    return known;
}

Object* Objects::find(const std::string& name) const {
    const auto at = globals_.find(name);
    return at == globals_.end() ? nullptr : at->second;
}

Object* Objects::local(const std::string& name, llvm::Type* type) {
    return make(name, type, Storage::local);
}

bool Objects::resolve(Object& object, const Offset& offset, uint64_t wanted, Piece& out,
                      std::string& problem) {
    llvm::Type* type = object.type;
    int64_t rest = offset.constant;
    std::vector<std::pair<Term, int64_t>> terms = offset.terms;
    std::vector<uint64_t> strides;
    std::vector<uint64_t> counts;
    std::vector<std::string> names;
    std::string path;
    uint64_t field_offset = 0;
    Term bounds = truth(true);
    while (true) {
        if (auto* array = llvm::dyn_cast<llvm::ArrayType>(type)) {
            const auto size =
                static_cast<int64_t>(layout_.getTypeAllocSize(array->getElementType()));
            const uint64_t count = array->getNumElements();
            int64_t row = rest / size;
            if (rest % size < 0)
                --row;
            rest -= row * size;
            Term index = num(64, static_cast<uint64_t>(row));
            std::vector<std::pair<Term, int64_t>> inner;
            for (const auto& [term, stride] : terms) {
                if (stride % size == 0)
                    index = add(index, mul(term, num(64, static_cast<uint64_t>(stride / size))));
                else
                    inner.emplace_back(term, stride);
            }
            terms = inner;
            bounds = land(bounds, ult(index, num(64, count)));
            out.indices.push_back(resize(index, 32));
            strides.push_back(static_cast<uint64_t>(size));
            counts.push_back(count);
            path += "[]";
            type = array->getElementType();
            continue;
        }
        if (auto* record = llvm::dyn_cast<llvm::StructType>(type)) {
            const llvm::StructLayout* fields = layout_.getStructLayout(record);
            if (rest < 0 || rest >= static_cast<int64_t>(fields->getSizeInBytes())) {
                out.in_bounds = truth(false);
                problem = "offset outside of " + path;
                return false;
            }
            const unsigned field = fields->getElementContainingOffset(static_cast<uint64_t>(rest));
            const uint64_t start = fields->getElementOffset(field);
            llvm::Type* inner = record->getElementType(field);
            path += "." + field_name(record, field);
            if (rest >= static_cast<int64_t>(start + layout_.getTypeAllocSize(inner))) {
                out.leaf = nullptr; // padding
                out.size = static_cast<unsigned>(wanted);
                const uint64_t end = field + 1 < record->getNumElements()
                                         ? fields->getElementOffset(field + 1)
                                         : fields->getSizeInBytes();
                out.size = static_cast<unsigned>(
                    std::min<uint64_t>(wanted, end - static_cast<uint64_t>(rest)));
                out.in_bounds = bounds;
                return true;
            }
            rest -= static_cast<int64_t>(start);
            field_offset += start;
            type = inner;
            continue;
        }
        break;
    }
    const uint64_t size = layout_.getTypeStoreSize(type);
    if (!terms.empty() || rest < 0 || rest >= static_cast<int64_t>(size)) {
        problem = "address does not fit the type of " + object.name + path;
        return false;
    }
    auto& leaf = object.leaves[{field_offset, strides}];
    if (!leaf) {
        leaf = std::make_unique<Leaf>();
        leaf->object = &object;
        leaf->path = path;
        leaf->id = leaf_ids_++;
        leaf->width = static_cast<unsigned>(size * 8);
        leaf->pointer = type->isPointerTy();
        leaf->offset = field_offset;
        leaf->strides = strides;
        leaf->counts = counts;
        if (object.storage == Storage::table || object.storage == Storage::view) {
            const std::vector<Z3_sort> domain(strides.size(), Z3_mk_bv_sort(context(), 32));
            leaf->base = Z3_mk_func_decl(
                context(), Z3_mk_string_symbol(context(), (object.name + path).c_str()),
                static_cast<unsigned>(domain.size()), domain.data(),
                Z3_mk_bv_sort(context(), leaf->width));
        }
        if (const auto known = fixed_.find({object.name, path}); known != fixed_.end())
            leaf->fixed = known->second;
    }
    out.leaf = leaf.get();
    out.at = static_cast<unsigned>(rest);
    out.size = static_cast<unsigned>(std::min(wanted, size - static_cast<uint64_t>(rest)));
    out.in_bounds = bounds;
    return true;
}

std::vector<Piece> Objects::pieces(Object& object, const Offset& offset, uint64_t size,
                                   std::string& problem) {
    std::vector<Piece> all;
    Offset at = offset;
    while (size > 0) {
        Piece piece;
        if (!resolve(object, at, size, piece, problem))
            return {};
        at.add(piece.size);
        size -= piece.size;
        all.push_back(std::move(piece));
        if (all.size() > 1024) {
            problem = "access to too many fields of " + object.name;
            return {};
        }
    }
    return all;
}

} // namespace horos::proofs
