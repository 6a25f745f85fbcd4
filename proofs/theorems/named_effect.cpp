// The guard's part that takes over what a VMM asks for is the same in kernel and specification: of
// a virtual CPU's run there is to be shown when it is called and what is made of it. It is executed
// once for both, and what it leaves behind has names there, so that no question is about the
// hundreds of values that it chooses from. That the kernel's and the specification's, which are
// compiled apart, do the same is a theorem of its own.
#include "theorem.hpp"
#include <horos/abi/vcpu_state.hpp>

#include <algorithm>

namespace horos::proofs {

namespace {

constexpr const char* function_name = "take_groups"; // kernel/svm/guard.cpp

llvm::Function* find(llvm::Module& module) {
    for (llvm::Function& f : module) {
        if (!f.isDeclaration() && Objects::plain_name(f.getName()) == function_name)
            return &f;
    }
    return nullptr;
}

Value row_of(Object& table, Term row, uint64_t member) {
    const uint64_t size = table.size / llvm::cast<llvm::ArrayType>(table.type)->getNumElements();
    Value pointer = Value::to(&table);
    pointer.targets[0].offset.add(static_cast<int64_t>(member));
    pointer.targets[0].offset.add(zext(row, 64), static_cast<int64_t>(size));
    return pointer;
}

bool is_state(const Object& object) {
    return object.storage == Storage::table || object.storage == Storage::view;
}

// As an argument can be written in several ways: in one of them. False: it has another form. (That
// arguments are set is a matter of safety/.)
bool in_plain_form(Objects& objects, const Guard& guard, Value& argument, std::vector<Term>& key) {
    if (argument.kind == Value::Kind::bits) {
        argument = Value::of(guard.narrowed(guard.pick(argument.bits)));
        key.push_back(argument.bits);
        return true;
    }
    if (argument.targets.size() != 1 || argument.targets[0].object == nullptr)
        return false;
    Object& table = *argument.targets[0].object;
    const Offset& offset = argument.targets[0].offset;
    if (!llvm::isa<llvm::ArrayType>(table.type))
        return false;
    const auto size = static_cast<int64_t>(
        table.size / llvm::cast<llvm::ArrayType>(table.type)->getNumElements());
    std::string problem;
    const std::vector<Piece> pieces = objects.pieces(table, offset, 1, problem);
    const bool whole_rows = std::all_of(offset.terms.begin(), offset.terms.end(),
                                        [&](const auto& t) { return t.second % size == 0; });
    if (!whole_rows || pieces.size() != 1 || pieces[0].indices.empty())
        return false;
    const Term row = guard.narrowed(guard.pick(pieces[0].indices[0]));
    const int64_t member = ((offset.constant % size) + size) % size;
    argument = row_of(table, row, static_cast<uint64_t>(member));
    key.insert(key.end(), {row, num(64, table.id), num(64, static_cast<uint64_t>(member))});
    return true;
}

// The same name for the same term.
Value named(const Value& value) {
    if (value.kind != Value::Kind::bits || constant(value.bits))
        return value;
    return Value::of(named_bits("taken " + std::to_string(Z3_get_ast_id(context(), value.bits)),
                                width_of(value.bits)),
                     value.poison);
}

} // namespace

struct Kernel::Effect {
    struct Write {
        const Object* object;
        Entry entry;
    };
    bool complete = false; // all that it does is written down here
    std::vector<Write> writes;
    std::vector<Reading> readings;
    Touches touched;
    Value result;
};

Kernel::Effect Kernel::execute_once(llvm::Function& function, const std::vector<Value>& values) {
    Effect e;
    World after; // from the start, whose values are unknown
    Executor engine(objects, after, policy);
    engine.obligations_on = false;
    const Outcome out = engine.run(function, values, Guard());
    e.complete = out.returns == Guard() && engine.events.empty() && !engine.stopped;
    for (const auto& object : objects.all()) {
        if (!is_state(*object))
            continue;
        std::set<std::pair<const Leaf*, std::vector<Term>>> seen;
        for (const Entry& written : after.log(*object)) {
            e.complete = e.complete && written.kind == Entry::Kind::store;
            if (written.kind != Entry::Kind::store ||
                !seen.insert({written.leaf, written.indices}).second)
                continue;
            Entry entry = written;
            entry.value = named(after.load(*written.leaf, written.indices, Guard()));
            e.writes.push_back({object.get(), entry});
        }
    }
    e.readings = engine.readings;
    e.touched = engine.touched;
    e.result = named(out.value);
    return e;
}

bool Kernel::effect(Executor& engine, const Call& call, Value& result) {
    if (!names_effects || executing_once_ || call.name != function_name)
        return false;
    llvm::Function* function = find(bitcode.core());
    std::vector<Value> values = call.arguments;
    std::vector<Term> key;
    for (Value& v : values) {
        if (!in_plain_form(objects, call.guard, v, key))
            return false;
    }
    // Of the state at the start only: then it is the same wherever it is called.
    for (const auto& object : objects.all()) {
        if (!is_state(*object) || object->name == "kernel_lock_word")
            continue;
        for (const Entry& e : engine.world().log(*object)) {
            if (!call.guard.excludes(e.guard))
                return false;
        }
    }
    auto& known = effects_[key];
    if (function != nullptr && known == nullptr) {
        executing_once_ = true;
        known = std::make_shared<const Effect>(execute_once(*function, values));
        executing_once_ = false;
    }
    if (known == nullptr || !known->complete)
        return false;
    for (const Reading& r : known->readings) {
        if (engine.has_read(r.name, call.guard))
            return false;
    }
    for (const Reading& r : known->readings)
        engine.count_reading(r.name, call.guard.and_also(r.path));
    for (const Effect::Write& w : known->writes) {
        Entry entry = w.entry;
        entry.guard = call.guard;
        engine.world().add(*w.object, entry);
    }
    engine.touched.insert(engine.touched.end(), known->touched.begin(), known->touched.end());
    result = known->result;
    named_effects.insert(call.name);
    return true;
}

namespace {

// How often something was read.
Term times_read(const Executor& engine, const std::string& name) {
    Term n = num(16, 0);
    for (const Reading& r : engine.readings) {
        if (r.name == name)
            n = add(n, zext(r.path.term(), 16));
    }
    return n;
}

Result same_in_both(Bitcode& code, const Settings& settings) {
    llvm::Function* kernels = find(code.core());
    llvm::Function* specs = find(code.spec());
    Step step(code, settings);
    if (kernels == nullptr || specs == nullptr || kernels->arg_size() != 4 ||
        specs->arg_size() != 4)
        throw std::runtime_error(std::string("no ") + function_name);
    step.name = function_name;
    const auto row = [&](const char* table, const char* name, uint64_t member) {
        return row_of(*step.kernel.objects.find(table), named_bits(name, 32), member);
    };
    const std::vector<Value> values{row("vcpus", "vcpu", 0), row("vmcbs", "control", 0),
                                    row("state_pages", "page", abi::vcpu_state_offset),
                                    Value::of(named_bits("dirty", 32))};
    step.outcome = step.engine.run(*kernels, values, Guard());
    World spec;
    Executor other(step.kernel.objects, spec, step.kernel.policy);
    other.obligations_on = false;
    const Outcome expected = other.run(*specs, values, Guard());
    Result result = begin(step);
    result.bound = std::to_string(step.outcome.steps) + " instructions";
    step.goal(result, "where it goes on differs",
              lxor(step.outcome.returns.term(), expected.returns.term()));
    step.goal(result, "privileged steps",
              truth(!step.engine.events.empty() || !other.events.empty()));
    step.goal(result, "result", lnot(eq(step.outcome.value.bits, expected.value.bits)));
    std::set<std::string> names;
    for (const auto* readings : {&step.engine.readings, &other.readings}) {
        for (const Reading& r : *readings)
            names.insert(r.name);
    }
    for (const std::string& name : names)
        step.goal(result, "what is read: " + name,
                  lnot(eq(times_read(step.engine, name), times_read(other, name))));
    for (const auto& object : step.kernel.objects.all()) {
        if (!is_state(*object))
            continue;
        std::vector<std::pair<const Leaf*, std::vector<Term>>> written;
        for (const World* world : std::initializer_list<const World*>{&step.now, &spec}) {
            for (const Entry& e : world->log(*object)) {
                if (e.kind != Entry::Kind::store)
                    throw Unsupported("a whole row is written");
                const std::pair at{e.leaf, e.indices};
                if (std::find(written.begin(), written.end(), at) == written.end())
                    written.push_back(at);
            }
        }
        for (const auto& [leaf, indices] : written)
            step.goal(result, "state: " + object->name + leaf->path,
                      lnot(eq(step.now.load(*leaf, indices, Guard()).bits,
                              spec.load(*leaf, indices, Guard()).bits)));
    }
    finish(result);
    return result;
}

} // namespace

std::vector<Theorem> named_effect_theorems(const Bitcode&) {
    return {{std::string("refinement/") + function_name, "refinement",
             std::string(function_name) +
                 ", which vcpu_run of kernel and specification both call, does the same in both",
             same_in_both}};
}

} // namespace horos::proofs
