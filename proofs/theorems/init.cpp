// Theorem 3's beginning: initialisation establishes the invariants. Its loops go over memory, so
// it is made of steps (kernel/core/init.cpp), and of each is shown that it keeps what is true so
// far: the statements of spec/boot.hpp from the zeroed tables on, all invariants from init_root on.
// That nothing else writes is read off the bitcode (init_writes.cpp).
#include "init.hpp"

namespace horos::proofs {

using namespace init;

namespace init {

llvm::Function& function(Bitcode& code, const std::string& plain) {
    for (llvm::Function& f : code.core()) {
        if (!f.isDeclaration() && Objects::plain_name(f.getName()) == plain)
            return f;
    }
    throw std::runtime_error("core.bc has no " + plain);
}

} // namespace init

namespace {

using Row = std::vector<Term>;

// The RootTask, and the frames in it that the statement boot_root is about.
struct Root {
    Object* object;
    Term domain = named_bits("root.domain", 32);
    Term table = named_bits("root.root_table", 32);
    Term thread = named_bits("root.thread", 32);
};
constexpr unsigned domain_at = 0, table_at = 3, thread_at = 4, root_fields = 11;

Root make_root(Step& step, bool filled) {
    auto& context = step.kernel.bitcode.context;
    Root root{step.kernel.objects.local(
        "root", llvm::ArrayType::get(llvm::Type::getInt32Ty(context), root_fields))};
    for (unsigned i = 0; i < root_fields && filled; ++i) {
        Value to = Value::to(root.object);
        to.targets[0].offset.add(4 * static_cast<int64_t>(i));
        const Term value = i == domain_at   ? root.domain
                           : i == table_at  ? root.table
                           : i == thread_at ? root.thread
                                            : named_bits("root." + std::to_string(i), 32);
        step.engine.store(to, Value::of(value), 4, Guard(), "root");
    }
    return root;
}

Kernel::Invariant statement(Kernel& kernel, const char* name, const Domain& domain) {
    llvm::Function* f = kernel.spec_function(name);
    if (f == nullptr)
        throw std::runtime_error(std::string("spec/ has no ") + name);
    return {name, f, domain, false};
}

std::vector<Kernel::Invariant> at_boot(Kernel& k) {
    std::vector<Kernel::Invariant> all;
    all.push_back(statement(k, "boot_frame", {Over::frame, Over::nothing, "frames", -1, ""}));
    all.push_back(statement(k, "boot_block", {Over::block, Over::nothing, "blocks", -1, ""}));
    all.push_back(statement(k, "boot_core", {Over::any_core, Over::nothing, "cores", -1, ""}));
    all.push_back(
        statement(k, "boot_position", {Over::any_core, Over::position, "cores", -1, "cores"}));
    all.push_back(
        statement(k, "boot_vector", {Over::vector, Over::nothing, "irq_of_vector", -1, ""}));
    return all;
}
Kernel::Invariant tags_of_absent(Kernel& k) {
    return statement(k, "boot_core_tags", {Over::any_core, Over::nothing, "cores", -1, ""});
}

bool is_fact(const Kernel::Invariant& inv) {
    return inv.domain.first == Over::nothing || inv.domain.first == Over::small ||
           inv.domain.first == Over::host_frame;
}

// Before the root task: what is assumed is the statements of spec/boot.hpp, and the machine's
// sizes. Gives back the invariants.
std::vector<Kernel::Invariant> start_at_boot(Step& step) {
    std::vector<Kernel::Invariant> boot = at_boot(step.kernel);
    std::vector<Kernel::Invariant> real = std::move(step.kernel.invariants);
    step.kernel.invariants = std::move(boot);
    step.kernel.lemmas.clear();
    step.assumptions.clear();
    for (const auto& inv : real) {
        if (inv.name == "inv_machine" || inv.name == "inv_svm_limits")
            step.assumptions.push_back(step.kernel.instance(inv, {}, step.kernel.old, nullptr));
    }
    return real;
}

Term table_level() { return named_bits("level", 32); }

// Of the table that the step is given, and its entry.
void table_is_right(Step& step, llvm::Function& f, unsigned at) {
    const auto argument = [&](unsigned n) {
        return named_bits("argument" + std::to_string(n), 32);
    };
    if (at + 1 >= f.arg_size())
        throw std::runtime_error("no table and entry in " + f.getName().str());
    Kernel::Touches touched;
    step.assumptions.push_back(step.kernel.evaluate(*step.kernel.spec_function("boot_table"),
                                                    {argument(at), table_level(), argument(at + 1)},
                                                    step.kernel.old, &touched));
    step.assumptions.push_back(at == 0 ? ule(num(32, 2), table_level())
                                       : eq(table_level(), num(32, 1)));
    step.kernel.touch(touched, 1);
}

void run(Step& step, const std::string& plain, const Root* root) {
    llvm::Function& f = function(step.kernel.bitcode, plain);
    step.name = plain;
    std::vector<Value> values;
    for (const llvm::Argument& a : f.args()) {
        if (a.getType()->isPointerTy()) {
            values.push_back(Value::to(root->object));
            continue;
        }
        Term argument = named_bits("argument" + std::to_string(a.getArgNo()),
                                   a.getType()->getIntegerBitWidth());
        if (a.getArgNo() == 0 && root != nullptr && plain != "init_root" && plain != "init_table")
            argument = root->domain;
        step.arguments.push_back(argument);
        values.push_back(Value::of(argument));
    }
    step.outcome = step.engine.run(f, values, Guard());
    step.kernel.touch(step.engine.touched, 1);
}

void boot_root_holds(Step& step, const Root& root) {
    Kernel::Touches touched;
    step.assumptions.push_back(step.kernel.evaluate(*step.kernel.spec_function("boot_root"),
                                                    {root.domain, root.table, root.thread},
                                                    step.kernel.old, &touched));
    step.kernel.touch(touched, 1);
}

// A step is of one of three kinds.
enum class Kind : uint8_t { before_root, root, after_root };
struct InitStep {
    const char* name;
    const char* function;
    Kind kind;
    int table = -1;              // its argument that is a page table
    bool ends_boot_root = false; // the root task runs afterwards
};
constexpr InitStep steps[] = {
    {"init_type", "init_type", Kind::before_root},
    {"init_whole", "init_whole", Kind::before_root},
    {"init_split", "init_split", Kind::before_root},
    {"first_core", "core_init_core", Kind::before_root},
    {"init_root", "init_root", Kind::root},
    {"init_owner", "init_owner", Kind::after_root},
    {"init_core_object", "init_core_object", Kind::after_root},
    {"init_table", "init_table", Kind::after_root, 0},
    {"init_leaf", "init_leaf", Kind::after_root, 1},
    {"core_init_core", "core_init_core", Kind::after_root},
    {"core_root_start", "core_root_start", Kind::after_root, -1, true},
};

struct Taken {
    std::vector<Kernel::Invariant> invariants; // of the root's kind: to be established
    Root root{};
};

Taken take(Step& step, const InitStep& s) {
    Taken t;
    if (s.kind != Kind::after_root) {
        t.invariants = start_at_boot(step);
        if (s.kind == Kind::root) {
            for (const auto& inv : t.invariants) {
                if (inv.name == "inv_frame_zero") // init_type(0) has come before
                    step.assumptions.push_back(
                        step.kernel.instance(inv, {}, step.kernel.old, nullptr));
            }
            t.root = make_root(step, false);
        }
        run(step, s.function, s.kind == Kind::root ? &t.root : nullptr);
        return t;
    }
    step.kernel.invariants.push_back(tags_of_absent(step.kernel));
    t.root = make_root(step, true);
    boot_root_holds(step, t.root);
    if (s.table >= 0)
        table_is_right(step, function(step.kernel.bitcode, s.function),
                       static_cast<unsigned>(s.table));
    const bool about_core = std::string(s.function) == "core_init_core";
    run(step, s.function, about_core ? nullptr : &t.root);
    return t;
}

// ---- all invariants, where there was none
void established(Step& step, Result& result, std::vector<Kernel::Invariant> invariants) {
    invariants.push_back(tags_of_absent(step.kernel));
    for (const auto& inv : invariants) {
        if (inv.ghost)
            continue; // follows from the sums
        const Row at = any_place(inv);
        Kernel::Touches touched;
        for (const Term index : at) // what it was decides whether the statement is about it
            touched.emplace_back(step.kernel.objects.find("frames"), Row{index});
        const Term after = step.kernel.instance(inv, at, step.now, &touched);
        const Term before =
            is_fact(inv) ? step.kernel.instance(inv, at, step.kernel.old, &touched) : truth(true);
        const Kernel::Focus focus(step.kernel);
        step.kernel.touch(touched, 0);
        step.shown = touched;
        step.goal(result, inv.name, land({step.over(), before, lnot(after)}));
    }
}

Term root_holds(Step& step, const Root& root, World& world, Kernel::Touches& touched) {
    const auto field = [&](unsigned i) {
        Value from = Value::to(root.object);
        from.targets[0].offset.add(4 * static_cast<int64_t>(i));
        return step.engine.load(from, 4, step.outcome.returns, "root").bits;
    };
    return step.kernel.evaluate(*step.kernel.spec_function("boot_root"),
                                {field(domain_at), field(table_at), field(thread_at)}, world,
                                &touched);
}

Result invariants_of(Step& step, const InitStep& s) {
    const Taken t = take(step, s);
    Result result;
    if (s.kind == Kind::root) {
        result = begin(step);
        established(step, result, t.invariants);
    } else {
        result = preserved(step);
    }
    if (s.kind != Kind::before_root && !s.ends_boot_root) {
        Kernel::Touches touched;
        const Term holds = root_holds(step, t.root, step.now, touched);
        step.kernel.touch(touched, 0);
        step.goal(result, "boot_root", land(step.over(), lnot(holds)));
    }
    if (std::string(s.name) == "init_table") { // the next step's table is right
        Kernel::Touches touched;
        const Term holds = step.kernel.evaluate(
            *step.kernel.spec_function("boot_table"),
            {step.outcome.value.bits, sub(table_level(), num(32, 1)), num(32, 0)}, step.now,
            &touched);
        step.kernel.touch(touched, 0);
        step.goal(result, "boot_table", land(step.over(), lnot(holds)));
    }
    if (std::string(s.name) == "init_type") {
        const Term zero = num(32, 0);
        const Term type = step.kernel.frame_type(zero, step.now);
        step.goal(result, "frame 0 is memory",
                  land({step.over(), eq(step.arguments[0], zero),
                        lnot(eq(type, num(8, static_cast<uint64_t>(ObjectType::reserved))))}));
    }
    if (consistent(step.assumptions, step.over(), step.settings.limits.milliseconds) !=
        Verdict::proved) {
        result.verdict = Verdict::unknown;
        result.details.push_back("vacuous: it cannot be shown to return");
    }
    finish(result);
    return result;
}

// The tables that the core looks at are zero at first, but for the machine's facts.
Result zeroed(Step& step) {
    start_at_boot(step);
    for (const char* table : {"frames", "blocks", "cores", "irq_of_vector"}) {
        const Object* object = step.kernel.objects.find(table);
        Entry e;
        e.kind = Entry::Kind::fill;
        e.high = object->size;
        step.now.add(*object, e);
    }
    Result result;
    result.verdict = Verdict::proved;
    result.bound = "no step";
    for (const auto& inv : step.kernel.invariants)
        step.goal(result, inv.name,
                  lnot(step.kernel.instance(inv, any_place(inv), step.now, nullptr)));
    return result;
}

} // namespace

std::vector<Theorem> init_theorems(const Bitcode&) {
    std::vector<Theorem> all;
    all.push_back({"init/zeroed", "init", "what spec/boot.hpp says holds of zeroed tables",
                   [](Bitcode& code, const Settings& settings) {
                       Step step(code, settings);
                       return zeroed(step);
                   }});
    all.push_back({"init/writes", "init",
                   "the boot functions that are loops write by the steps below alone",
                   [](Bitcode& code, const Settings&) { return only_steps_write(code); }});
    for (const InitStep& s : steps) {
        const std::string name = s.name;
        all.push_back(
            {"init/" + name, "init",
             s.kind == Kind::root
                 ? name + " makes every invariant true"
                 : name + " keeps every " +
                       (s.kind == Kind::before_root ? "statement of spec/boot.hpp" : "invariant"),
             [s](Bitcode& code, const Settings& settings) {
                 Step step(code, settings);
                 step.engine.obligations_on = false;
                 return invariants_of(step, s);
             }});
        all.push_back({"init-safety/" + name, "init",
                       name + ", in its place at boot, has no undefined behaviour and ends",
                       [s](Bitcode& code, const Settings& settings) {
                           Step step(code, settings);
                           take(step, s);
                           return prove_safety(step, {});
                       }});
        if (s.kind == Kind::before_root)
            continue; // there is nothing to count, and the counts are zero (boot_frame, boot_block)
        all.push_back({"init-counts/" + name, "init",
                       name + " keeps every count the sum of what it counts",
                       [s](Bitcode& code, const Settings& settings) {
                           Step step(code, settings);
                           step.engine.obligations_on = false;
                           take(step, s);
                           return kept(step);
                       }});
    }
    return all;
}

} // namespace horos::proofs
