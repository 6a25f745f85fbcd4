// The theorems about processors with VMX: machine.vendor is `vmx`, guests have extended page
// tables. Safety of every way into the core that behaves otherwise there, and of a guest's exit.
#include "vmx.hpp"

namespace horos::proofs {

namespace {

constexpr core::Vendor intel = core::Vendor::vmx;

llvm::Function& function(Bitcode& code, const std::string& plain) {
    for (llvm::Function& f : code.core()) {
        if (!f.isDeclaration() && Objects::plain_name(f.getName()) == plain)
            return f;
    }
    throw std::runtime_error("core.bc has no " + plain);
}

// Whether it comes to code of kernel/vmx.
bool is_different(const llvm::Function& f, std::set<const llvm::Function*>& seen) {
    if (!seen.insert(&f).second)
        return false;
    const std::string name = Objects::plain_name(f.getName());
    if (name.starts_with("vmx_"))
        return true;
    for (const llvm::BasicBlock& block : f) {
        for (const llvm::Instruction& i : block) {
            if (const auto* c = llvm::dyn_cast<llvm::CallBase>(&i)) {
                const llvm::Function* callee = c->getCalledFunction();
                if (callee != nullptr && is_different(*callee, seen))
                    return true;
            }
        }
    }
    return false;
}
bool is_different(const llvm::Function& f) {
    std::set<const llvm::Function*> seen;
    return is_different(f, seen);
}

// What contradicts itself has every property. So it must be possible, with every lemma there is,
// that the step ends, that it does so with success, and that it comes to the instructions of VMX.
Result not_vacuous(Step& step, Result result) {
    if (result.verdict != Verdict::proved)
        return result;
    const auto possible = [&](const std::string& what, Term way) {
        const bool alone =
            consistent(step.assumptions, way, step.settings.limits.milliseconds) == Verdict::proved;
        if (alone && step.prove(way, step.settings.limits).verdict == Verdict::refuted)
            return;
        result.verdict = Verdict::unknown;
        result.details.push_back("vacuous: it cannot be shown to " + what);
    };
    possible("end", step.over());
    const Value& word = step.outcome.value;
    if (step.number >= 0 && step.kernel.left_out.empty() && word.kind == Value::Kind::bits)
        possible("succeed", land(step.over(), eq(word.bits, num(width_of(word.bits), 0))));
    std::map<std::string, std::vector<Term>> reached;
    for (const Event& e : step.engine.events) {
        if (e.name == "vmx_run" || e.name == "vmx_write" || e.name == "vmx_clear")
            reached[e.name].push_back(e.guard.term());
    }
    for (const auto& [name, guards] : reached)
        possible("come to " + name, lor(guards));
    return result;
}

// frame_reclaim does something else for each type of frame; on VMX only a virtual CPU's end does.
void take(Step& step, const Hypercall& h) {
    if (h.name == "frame_reclaim")
        step.assumptions.push_back(step.kernel.assume("frames", "[].type",
                                                      {extract(31, 0, named_bits("rsi", 64))},
                                                      static_cast<uint64_t>(ObjectType::vcpu)));
    step.run_hypercall(h);
}

// A virtual CPU that this core's thread runs; its VMCS is the core's.
struct Running {
    Step& step;
    Term vcpu = named_bits("vcpu", 32);

    Term statement(const char* name, const std::vector<Term>& at, World& world) {
        for (const auto& inv : step.kernel.invariants) {
            if (inv.name == name)
                return step.kernel.instance(inv, at, world, nullptr);
        }
        throw std::runtime_error(std::string("no invariant ") + name);
    }
    Term is_vcpu(World& world) {
        const Term limit = step.kernel.field("machine", ".frame_limit", {}, world);
        return land({ult(vcpu, limit), eq(step.kernel.frame_type(vcpu, world),
                                          num(8, static_cast<uint64_t>(ObjectType::vcpu)))});
    }
    void assume() {
        World& old = step.kernel.old;
        const Term core = step.kernel.this_core;
        step.assumptions.push_back(ult(core, step.kernel.field("machine", ".core_count", {}, old)));
        step.assumptions.push_back(is_vcpu(old));
        step.kernel.touch({{step.kernel.objects.find("vcpus"), {vcpu}},
                           {step.kernel.objects.find("frames"), {vcpu}},
                           {step.kernel.objects.find("cores"), {core}}},
                          0);
        const Term thread = step.kernel.field("cores", "[].thread", {core}, old);
        step.kernel.touch({{step.kernel.objects.find("threads"), {thread}}}, 0);
        step.assumptions.push_back(
            eq(step.kernel.field("threads", "[].vcpu", {thread}, old), vcpu));
        Kernel::Touches touched;
        step.assumptions.push_back(step.kernel.evaluate(
            *step.kernel.spec_function("pre_core_run_guest"), {core}, old, &touched));
        step.kernel.touch(touched, 1);
    }
    // What other cores' steps leave: all invariants, the virtual CPU, which nobody can take apart
    // while it runs, and the control block that this core holds.
    void rely(World& world) {
        step.assumptions.push_back(is_vcpu(world));
        for (const char* name : {"inv_vcpu_links", "inv_vmx_vcpu"})
            step.assumptions.push_back(statement(name, {vcpu}, world));
        const Term core = step.kernel.this_core;
        step.assumptions.push_back(statement("inv_vmx_core", {core}, world));
        const Term control = step.kernel.field("vcpus", "[].control", {vcpu}, step.kernel.old);
        step.assumptions.push_back(
            eq(step.kernel.field("vcpus", "[].control", {vcpu}, world), control));
        step.assumptions.push_back(
            eq(step.kernel.field("cores", "[].control", {core}, world), control));
    }
};

// vmx_enter, all of it: to the guest and back.
struct GuestEntry {
    Step step;
    Running running;
    World back{}; // the state when the guest has come back

    GuestEntry(Bitcode& code, const Settings& settings)
        : step(code, settings, intel), running{step} {
        step.name = "vmx_enter";
        step.kernel.after_run = [this](const Call&) {
            back = step.engine.world();
            running.rely(back);
        };
        running.assume();
        step.arguments = {running.vcpu};
    }
    void run() {
        step.outcome =
            step.engine.run(function(step.kernel.bitcode, "vmx_enter"),
                            {Value::of(step.kernel.this_core), Value::of(running.vcpu)}, Guard());
        step.kernel.touch(step.engine.touched, 1);
    }
};

// After the exit every invariant holds that held when the guest came back.
Result exit_keeps(GuestEntry& e) {
    Result result = begin(e.step);
    for (const auto& inv : e.step.kernel.invariants) {
        if (inv.ghost)
            continue;
        const std::vector<Term> at = any_place(inv);
        Kernel::Touches touched;
        const Guard& over = e.step.outcome.returns;
        const Term before = e.step.kernel.instance(inv, at, e.back, &touched, over);
        const Term after = e.step.kernel.instance(inv, at, e.step.now, &touched, over);
        const Kernel::Focus focus(e.step.kernel);
        e.step.kernel.touch(touched, 0);
        e.step.goal(result, inv.name, land({e.step.over(), before, lnot(after)}));
    }
    finish(result);
    return result;
}

// What is shown of a way into the core on VMX, as groups of the same name show it on SVM.
struct Shown {
    const char* group;
    const char* says;
    bool of_mapping, of_others; // calls that map memory, and all else that comes to kernel/vmx
    Before before;
    Judge judge;
};

void no_obligations(Step& step) {
    step.engine.obligations_on = false;
} // vmx-safety/ is about these

const std::vector<Shown>& shown() {
    static const std::vector<Shown> all{
        {"vmx-safety", "has no undefined behaviour and ends", true, true, [](Step&) {},
         [](Step& step) { return prove_safety(step, {}); }},
        {"vmx-invariants", "preserves every invariant", true, true, [](Step&) {}, preserved},
        {"vmx-pages", "reaches nothing else than before, but what it is to map", true, false,
         no_obligations, nothing_else_reached},
        {"vmx-refinement", "does exactly what spec/ says", true, false, prepare_refinement,
         refined},
        {"vmx-counts", "keeps every count the sum of what it counts", false, true, no_obligations,
         kept}};
    return all;
}

void add(std::vector<Theorem>& all, const Shown& what, const std::string& name,
         const std::string& who, const std::function<void(Step&)>& run) {
    all.push_back({what.group + ("/" + name), what.group, who + " on VMX " + what.says,
                   [what, run](Bitcode& code, const Settings& settings) {
                       Step step(code, settings, intel);
                       what.before(step);
                       run(step);
                       return not_vacuous(step, what.judge(step));
                   }});
}

void add_hypercalls(std::vector<Theorem>& all, const Bitcode& bitcode) {
    for (const Hypercall& h : hypercalls()) {
        const llvm::Function* f = hypercall_entry(bitcode, h.number);
        const bool maps = h.name.starts_with("map_") || h.name == "table_map";
        if (f == nullptr || (!maps && !is_different(*f)))
            continue;
        const std::string who =
            "hypercall " + h.name + (h.name == "frame_reclaim" ? " of a virtual CPU" : "");
        for (const Shown& what : shown()) {
            if (maps ? what.of_mapping : what.of_others)
                add(all, what, h.name, who, [h](Step& step) { take(step, h); });
        }
    }
}

void add_exports(std::vector<Theorem>& all, const Bitcode& bitcode) {
    for (const std::string& symbol : core_exports()) {
        const llvm::Function* f = bitcode.core().getFunction(symbol);
        const std::string plain = Objects::plain_name(symbol);
        if (f == nullptr || f->isDeclaration() || symbol == "hypercall_unknown" || is_boot(plain) ||
            !is_different(*f))
            continue;
        for (const Shown& what : {shown()[0], shown()[1]})
            add(all, what, plain, plain, [symbol](Step& step) {
                step.run_export(*step.kernel.bitcode.core().getFunction(symbol));
            });
    }
}

// Of one entry into a guest, and of what it is made with.
void add_entry(std::vector<Theorem>& all) {
    const auto of_entry = [&](const char* group, const char* says,
                              const std::function<Result(GuestEntry&)>& judge) {
        all.push_back({std::string(group) + "/vmx_enter", group, says,
                       [=](Bitcode& code, const Settings& settings) {
                           GuestEntry e(code, settings);
                           e.step.engine.obligations_on = std::string(group) == "vmx-safety";
                           e.run();
                           return not_vacuous(e.step, judge(e));
                       }});
    };
    of_entry("vmx-safety",
             "an entry into a guest, its exit, and what is told of it have no undefined behaviour "
             "and end",
             [](GuestEntry& e) { return prove_safety(e.step, {}); });
    of_entry("vmx-invariants", "a guest's exit keeps every invariant", exit_keeps);
    of_entry("vmx-guard",
             "what is written into a VMCS at an entry keeps the mandatory controls, its space's "
             "tables, its own tag and maps, and goes into no other VMCS",
             [](GuestEntry& e) { return vmx::writes(e.step, e.running.vcpu); });
    all.push_back({"vmx-guard/vcpu_create", "vmx-guard",
                   "a new VMCS has the mandatory controls, and nothing of the host's state in it "
                   "is what a VMM says",
                   [](Bitcode& code, const Settings& settings) {
                       Step step(code, settings, intel);
                       no_obligations(step);
                       step.run_hypercall("vcpu_create");
                       return not_vacuous(step, vmx::writes(step, nullptr));
                   }});
}

} // namespace

std::vector<Theorem> vmx_theorems(const Bitcode& bitcode) {
    std::vector<Theorem> all;
    add_hypercalls(all, bitcode);
    add_exports(all, bitcode);
    all.push_back({"vmx-pages/reach", "vmx-pages",
                   "on VMX a walk of any space's tables ends at memory that is counted as mapped, "
                   "or at a free device",
                   [](Bitcode& code, const Settings& settings) {
                       Step step(code, settings, intel);
                       return walks_end_well(step);
                   }});
    add_entry(all);
    for (const Theorem& t : vmx::entry_theorems())
        all.push_back(t);
    for (const Theorem& t : vmx::exit_theorems())
        all.push_back(t);
    return all;
}

} // namespace horos::proofs
