#include "kernel.hpp"
#include "proofs/engine/names.hpp"
#include "vmx_fields.hpp"

#include <llvm/IRReader/IRReader.h>
#include <llvm/Support/SourceMgr.h>
#include <llvm/Support/raw_ostream.h>

namespace horos::proofs {

namespace {

constexpr const char* views[] = {"cap_tables", "page_tables",    "domains",     "spaces",
                                 "threads",    "sched_contexts", "endpoints",   "notifications",
                                 "interrupts", "port_ranges",    "mmio_ranges", "core_objects",
                                 "vcpus",      "vmcbs",          "state_pages", "permission_maps",
                                 "vmcss"};

std::unique_ptr<llvm::Module> load(llvm::LLVMContext& context, const std::string& path) {
    llvm::SMDiagnostic problem;
    auto module = llvm::parseIRFile(path, problem, context);
    if (!module)
        throw std::runtime_error("cannot read " + path + ": " + problem.getMessage().str());
    learn_names(*module);
    return module;
}

} // namespace

std::unique_ptr<Bitcode> load_bitcode(const std::string& core, const std::string& spec) {
    auto all = std::make_unique<Bitcode>();
    all->program.modules.push_back(load(all->context, core));
    all->program.modules.push_back(load(all->context, spec));
    return all;
}

Kernel::Kernel(Bitcode& code, core::Vendor which)
    : objects(code.core().getDataLayout()), this_core(named_bits("core", 32)), bitcode(code),
      vendor(which) {
    for (const char* view : views)
        objects.declare_view(view);
    // A theorem is about one vendor's processors (docs/theorems.md): what is only reached on others
    // is not executed.
    const bool is_vmx = vendor == core::Vendor::vmx;
    objects.fix("machine", ".vendor", static_cast<uint64_t>(vendor));
    objects.fix(
        "machine", ".guest_format",
        static_cast<uint64_t>(is_vmx ? core::TableFormat::ept : core::TableFormat::long_mode));
    vmx::declare_fields(code.spec());
    declare_processor();
    // Every table exists from the start, so that a cleared row is seen by all its views.
    for (const auto& module : code.program.modules) {
        for (const llvm::GlobalVariable& g : module->globals()) {
            if (!g.isConstant() && !g.getName().starts_with("llvm."))
                objects.global(g);
        }
    }
    policy.summary = [this](Executor& e, const Call& c, Value& r) {
        return summary(e, c, r) || effect(e, c, r);
    };
    policy.external = [this](Executor& e, const Call& c, Value& r) { return external(e, c, r); };
    policy.on_access = [this](Executor& e, const Piece& p, const Object& o, bool s) {
        on_access(e, p, o, s);
    };
    find_invariants();
}

void Kernel::find_invariants() {
    invariants.reserve(256); // instances are known by its address
    for (llvm::Function& f : bitcode.spec()) {
        if (f.isDeclaration() || !f.getName().starts_with("_ZN5horos4spec"))
            continue;
        const std::string name = Objects::plain_name(f.getName());
        const bool ghost = name.starts_with("ghost_");
        if ((!name.starts_with("inv_") && !ghost) || name == "inv_host_leaf" ||
            name == "ghost_step" || name == "ghost_entries") // where they are of use
            continue;
        if (vendor != core::Vendor::svm && name.starts_with("inv_vmcb_"))
            continue; // of SVM's control blocks
        if (const Domain* domain = domain_of(name))
            invariants.push_back({name, &f, *domain, ghost});
        else
            unknown_invariants.push_back(name);
    }
}

std::vector<Kernel::Invariant> Kernel::reach() {
    std::vector<Invariant> all;
    for (llvm::Function& f : bitcode.spec()) {
        const std::string name = Objects::plain_name(f.getName());
        if (f.isDeclaration() || !f.getName().starts_with("_ZN5horos4spec") ||
            !name.starts_with("reach_") || name == "reach_caller")
            continue;
        const Domain* domain = domain_of(name);
        if (domain == nullptr)
            throw Unsupported("what " + name + " ranges over is not known");
        all.push_back({name, &f, *domain, true});
    }
    return all;
}

llvm::Function* Kernel::spec_function(const std::string& plain) const {
    for (llvm::Function& f : bitcode.spec()) {
        if (!f.isDeclaration() && f.getName().starts_with("_ZN5horos4spec") &&
            Objects::plain_name(f.getName()) == plain)
            return &f;
    }
    return nullptr;
}

Term Kernel::evaluate(llvm::Function& function, const std::vector<Term>& arguments, World& world,
                      Touches* touched, const Guard& guard) {
    return to_bool(extract(0, 0, number(function, arguments, world, touched, guard)));
}

Term Kernel::number(llvm::Function& function, const std::vector<Term>& arguments, World& world,
                    Touches* touched, const Guard& guard) {
    Executor engine(objects, world, spec_policy);
    engine.obligations_on = false;
    std::vector<Value> values;
    for (Term t : arguments)
        values.push_back(Value::of(t));
    const Outcome out = engine.run(function, values, guard);
    if (touched != nullptr)
        touched->insert(touched->end(), engine.touched.begin(), engine.touched.end());
    if (out.value.kind != Value::Kind::bits)
        throw Unsupported("no result: " + function.getName().str());
    return out.value.bits;
}

Term Kernel::field(const std::string& table, const std::string& path,
                   const std::vector<Term>& indices, World& world, const Guard& guard) {
    Object* object = objects.find(table);
    if (object == nullptr)
        throw Unsupported("no table " + table);
    for (const auto& [key, leaf] : object->leaves) {
        if (leaf->path == path)
            return world.load(*leaf, indices, guard).bits;
    }
    // Not accessed so far: walk the type for it.
    std::string problem;
    for (uint64_t at = 0; at < object->size && at < 4096; ++at) {
        Offset offset;
        offset.constant = static_cast<int64_t>(at);
        for (const Piece& p : objects.pieces(*object, offset, 1, problem)) {
            if (p.leaf != nullptr && p.leaf->path == path)
                return world.load(*p.leaf, indices, guard).bits;
        }
    }
    throw Unsupported("no field " + table + path);
}

Term Kernel::frame_type(Term frame, World& world, const Guard& guard) {
    return field("frames", "[].type", {frame}, world, guard);
}

Term Kernel::assume(const std::string& table, const std::string& path,
                    const std::vector<Term>& indices, uint64_t value) {
    const Term is = field(table, path, indices, old);
    for (const auto& [key, leaf] : objects.find(table)->leaves) {
        if (leaf->path == path)
            leaf->known[indices] = value;
    }
    return eq(is, num(width_of(is), value));
}

Term Kernel::applies(const Invariant& invariant, const std::vector<Term>& arguments, World& world,
                     const Guard& guard) {
    const auto range = [&](Over over, Term t) -> Term {
        switch (over) {
        case Over::nothing:
            return truth(true);
        case Over::frame:
            return ult(t, field("machine", ".frame_limit", {}, world, guard));
        case Over::block:
            return ult(shl(zext(t, 64), num(64, 9)),
                       zext(field("machine", ".frame_limit", {}, world, guard), 64));
        case Over::slot:
            return ult(t, num(32, 256));
        case Over::entry:
            return ult(t, num(32, 512));
        case Over::table:
            return ult(t, num(32, abi::tables_per_domain));
        case Over::core:
            return ult(t, field("machine", ".core_count", {}, world, guard));
        case Over::position:
            return ult(t, num(32, 16));
        case Over::vector:
            return ult(t, num(32, 256));
        case Over::any_core:
            return ult(t, num(32, 64));
        case Over::small:
            return ult(t, num(32, static_cast<uint64_t>(invariant.domain.type)));
        case Over::host_frame:
            return ult(t, num(32, 128));
        }
        return truth(false);
    };
    Term all = truth(true);
    if (!arguments.empty())
        all = land(all, range(invariant.domain.first, arguments[0]));
    if (arguments.size() > 1)
        all = land(all, range(invariant.domain.second, arguments[1]));
    if (invariant.domain.second == Over::frame)
        all = land(all, eq(frame_type(arguments[1], world, guard),
                           num(8, static_cast<uint64_t>(invariant.domain.type))));
    if (invariant.domain.first == Over::frame && invariant.domain.type >= 0)
        all = land(all, eq(frame_type(arguments[0], world, guard),
                           num(8, static_cast<uint64_t>(invariant.domain.type))));
    return all;
}

Term Kernel::instance(const Invariant& invariant, const std::vector<Term>& arguments, World& world,
                      Touches* touched, const Guard& guard) {
    return implies(applies(invariant, arguments, world, guard),
                   evaluate(*invariant.function, arguments, world, touched, guard));
}

void Kernel::add_lemma(const std::string& name, Term holds, unsigned depth) {
    if (!is_true(holds))
        lemmas.push_back({name, holds, depth});
}

void Kernel::assume_both(const std::vector<Term>& entry, const std::vector<Term>& other) {
    llvm::Function* function = spec_function("ghost_entries");
    if (function == nullptr)
        throw std::runtime_error("spec/ has no ghost_entries");
    add_lemma("ghost_entries",
              evaluate(*function, {entry[0], entry[1], other[0], other[1]}, old, nullptr), 1);
}

void Kernel::instantiate(const Invariant& invariant, const std::vector<Term>& arguments,
                         unsigned depth) {
    if (!instances_.insert({&invariant, arguments}).second)
        return;
    const auto [at, is_new] = made_.try_emplace({&invariant, arguments});
    if (is_new)
        at->second.first = instance(invariant, arguments, old, &at->second.second);
    const auto& [holds, touches] = at->second;
    if (is_true(holds))
        return;
    pending_[holds] = {touches, depth};
    add_lemma(invariant.name, holds, depth);
}

struct Kernel::Focus::Saved {
    std::vector<Lemma> lemmas;
    decltype(Kernel::seen_) seen;
    decltype(Kernel::instances_) instances;
    decltype(Kernel::pending_) pending;
    decltype(Kernel::positions_of_) positions;
    decltype(Kernel::said_) said;
};

Kernel::Focus::Focus(Kernel& kernel)
    : kernel_(kernel), saved_(new Saved{kernel.lemmas, kernel.seen_, kernel.instances_,
                                        kernel.pending_, kernel.positions_of_, kernel.said_}) {}

Kernel::Focus::~Focus() {
    kernel_.lemmas = std::move(saved_->lemmas);
    kernel_.seen_ = std::move(saved_->seen);
    kernel_.instances_ = std::move(saved_->instances);
    kernel_.pending_ = std::move(saved_->pending);
    kernel_.positions_of_ = std::move(saved_->positions);
    kernel_.said_ = std::move(saved_->said);
}

void Kernel::lemma_added(const Lemma& lemma) {
    const auto at = pending_.find(lemma.holds);
    if (at == pending_.end())
        return;
    const Touches touches = at->second.first;
    const unsigned depth = at->second.second;
    pending_.erase(at);
    touch(touches, depth + 1);
}

void Kernel::touch(const Touches& touched, unsigned depth) {
    for (const auto& [object, indices] : touched) {
        if (!seen_[object].insert(indices).second)
            continue;
        if (object->name == "cores")
            say_of_core(indices[0], depth);
        for (const Invariant& inv : invariants) {
            const Domain& d = inv.domain;
            const bool two = d.second != Over::nothing;
            if (object->name == d.key) {
                if (!two)
                    instantiate(inv, {indices[0]}, depth);
                else if (d.second_key[0] == 0 ||
                         (std::string(d.second_key) == d.key && d.second != Over::frame)) {
                    if (indices.size() > 1)
                        instantiate(inv, {indices[0], indices[1]}, depth);
                } else if (Object* other = objects.find(d.second_key)) {
                    for (const auto& tuple : std::set(seen_[other])) {
                        const size_t n = d.second == Over::core || d.second == Over::frame ? 0 : 1;
                        if (tuple.size() > n)
                            instantiate(inv, {indices[0], tuple[n]}, depth);
                    }
                }
            } else if (two && object->name == d.second_key) {
                const size_t n = d.second == Over::core || d.second == Over::frame ? 0 : 1;
                if (indices.size() <= n)
                    continue;
                if (Object* key = objects.find(d.key)) {
                    for (const auto& tuple : std::set(seen_[key]))
                        instantiate(inv, {tuple[0], indices[n]}, depth);
                }
            }
        }
        // A scheduling context's place is where its core's masks and slots are looked at.
        if (object->name == "sched_contexts" && positions_of_.insert(indices[0]).second) {
            const Term core = field("sched_contexts", "[].core", {indices[0]}, old);
            const Term at = zext(field("sched_contexts", "[].position", {indices[0]}, old), 32);
            if (const Object* cores = objects.find("cores"))
                touch({{cores, {core, at}}}, depth);
        }
    }
}

// Memory has one type at a time: an access through a view needs the frame to be of its type now.
void Kernel::on_access(Executor& engine, const Piece& piece, const Object& object, bool store) {
    if (!engine.obligations_on || object.storage != Storage::view)
        return;
    const int type = type_of_view(object.name);
    if (type < 0)
        return;
    (void)store;
    const Guard guard = engine.current_guard;
    const Term frame = piece.indices[0];
    Object* frames = objects.find("frames");
    const Term now = field("frames", "[].type", {frame}, engine.world(), guard);
    if (engine.touched.empty() || engine.touched.back().first != frames)
        engine.touched.emplace_back(frames, std::vector<Term>{frame});
    engine.require(guard, eq(now, num(8, static_cast<uint64_t>(type))),
                   "frame is of the type that " + object.name + " shows", "");
    if (!engine.obligations.empty() && engine.obligations.back().place.empty())
        engine.obligations.back().place = "access to " + object.name;
}

} // namespace horos::proofs
