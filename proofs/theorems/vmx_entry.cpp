// What a guest is entered with on VMX satisfies every rule of the model, is the kernel's own where
// it is not the guest's, and what is true of a virtual CPU's VMCS stays true.
#include "kernel/vmx/vmx.hpp"
#include "vmx.hpp"
#include "vmx_entering.hpp"

#include <horos/abi/vcpu_state.hpp>

namespace horos::proofs::vmx {

// What the processor holds is what the core says.
Claims held(const View& v) {
    const Term control = v.core("[].control");
    const Term own = eq(control, v.row("[].control"));
    const Term launched = v.slot(launched_slot);
    const Term mine = lor(is(v.row("[].core"), core::no_core),
                          eq(v.row("[].core"), zext(v.step.kernel.this_core, 64)));
    return {{"the current VMCS is the one that the core holds",
             eq(v.slot(current_slot), ite(is(control, 0), num(64, no_vmcs), v.address(control)))},
            {"launched as the core says",
             ite(own, eq(launched, when(lnot(is(v.core("[].launched"), 0)), 1)),
                 implies(mine, is(launched, 0)))}};
}

void assume(Entering& e) {
    const View old = e.view(e.step.kernel.old, {});
    auto& all = e.step.assumptions;
    std::vector<Term> some;
    for (const model::Profile* p : profiles())
        some.push_back(runs_on(old, *p));
    all.push_back(lor(some));
    for (const auto& [name, fact] : facts(old))
        all.push_back(implies(e.exists(old), fact));
    for (const auto& [name, fact] : held(old))
        all.push_back(implies(e.exists(old), fact));
    const Term own =
        eq(old.row("[].vmx.host_core"), zext(add(e.step.kernel.this_core, num(32, 1)), 64));
    for (const auto& [name, fact] : host_facts(old))
        all.push_back(implies(land(e.exists(old), own), fact));
    for (const auto& [name, fact] : host_assumptions(old))
        all.push_back(fact);
}

// Several at once, as they are much alike; one by one when that fails, to say which.
void claim(Step& step, Result& result, const std::string& at, Term where, const Claims& claims) {
    constexpr size_t at_once = 16;
    for (size_t i = 0; i < claims.size(); i += at_once) {
        const size_t end = std::min(i + at_once, claims.size());
        std::vector<Term> some;
        for (size_t n = i; n < end; ++n)
            some.push_back(claims[n].second);
        const Term violated = land(where, lnot(land(some)));
        if (is_false(violated) || step.prove(violated).verdict == Verdict::proved) {
            result.goals += static_cast<unsigned>(some.size());
            continue;
        }
        for (size_t n = i; n < end; ++n)
            step.goal(result, at + claims[n].first, land(where, lnot(claims[n].second)));
    }
}

void access_goals(Entering& e, Result& result) {
    std::map<Term, std::vector<Term>> accesses; // by the VMCS that is the current one then
    for (const Event& event : e.step.engine.events) {
        if (event.name == "vmcs access")
            accesses[event.result].push_back(event.guard.term());
    }
    for (const auto& [current, guards] : accesses)
        e.step.goal(result, "another VMCS is read or written",
                    land(lor(guards), lnot(eq(current, e.step.kernel.followed))));
}

namespace {

// The priority that the guest has is in its page, where the VMM can change it at any time: the rule
// is claimed of what the kernel has read.
Term threshold_rule(const Step& step, const View& v, Inputs& in) {
    std::vector<Term> any{is(v[F::TPR_THRESHOLD], 0)};
    for (const VolatileRead& r : step.engine.volatile_reads) {
        if (r.object->name != "state_pages" ||
            r.offset != static_cast<int64_t>(offsetof(abi::VcpuPage, apic) + 0x80))
            continue;
        in[model::Extra::VTPR].t = zext(r.value, 64);
        any.push_back(holds(v, Rule::TPR_THRESHOLD_VTPR, in));
    }
    return lor(any);
}

void rule_goals(Entering& e, Result& result, Entered& at) {
    const View v = e.view(at.world, at.guard);
    Inputs in = inputs(v);
    in[model::Extra::VMRESUME].t = when(lnot(is(zext(at.resumes, 64), 0)), 1);
    Claims claims;
    for (const model::RuleInfo& rule : model::all_rules())
        claims.emplace_back(rule.name, rule.id == Rule::TPR_THRESHOLD_VTPR
                                           ? threshold_rule(e.step, v, in)
                                           : holds(v, rule.id, in));
    claim(e.step, result, "", at.guard.term(), claims);
}

void own_goals(Entering& e, Result& result, Entered& at) {
    const View v = e.view(at.world, at.guard);
    const auto map = [&](const char* own, const char* usual) {
        const Term f = v.space(own);
        return ite(is(f, 0), v.machine(usual), f);
    };
    const Term here = zext(e.step.kernel.this_core, 64);
    const Term io = map("[].io_map", ".io_map");
    const Term second = when(is(v.row("[].vmx.virtual_apic"), abi::virtual_apic::x2apic), 1);
    const Term thread = v.narrow("cores", "[].thread", e.step.kernel.this_core);
    namespace defs = horos::vmx;
    namespace mandatory = core::mandatory_vmx;
    const auto on = [&](F field, uint64_t bits) { return is(keep(v[field], bits), bits); };
    Claims claims{
        {"it is the VMCS of the thread's virtual CPU",
         land(eq(v.slot(current_slot), v.address(v.row("[].control"))),
              eq(v.narrow("threads", "[].vcpu", thread), v.vcpu))},
        {"it runs on its own core", eq(v.row("[].core"), here)},
        {"its tag is of the core's present era", eq(v.row("[].tlb_era"), v.core("[].tlb_era"))},
        {"nothing of its space has changed since",
         eq(v.row("[].flushes_seen"), v.space("[].flushes"))},
        {"EPTP is that of its space",
         eq(v[F::EPTP],
            bor(v.address(v.space("[].root")), num(64, defs::eptp::TYPE_WB | defs::eptp::WALK_4)))},
        {"the VPID is its tag, and not 0",
         land(eq(v[F::VPID], v.row("[].tlb_tag")), lnot(is(v[F::VPID], 0)))},
        {"I/O bitmaps are those of its space",
         land(eq(v[F::IO_BITMAP_A], v.address(io)),
              eq(v[F::IO_BITMAP_B], v.address(add(io, num(64, 1)))))},
        {"the MSR bitmap is that of its space",
         eq(v[F::MSR_BITMAP], v.address(add(map("[].msr_map", ".msr_map"), second)))},
        {"mandatory pin-based controls", on(F::PIN_CONTROLS, mandatory::pin_controls)},
        {"mandatory primary controls", on(F::PROC_CONTROLS, mandatory::proc_controls)},
        {"mandatory secondary controls", on(F::PROC_CONTROLS_2, mandatory::proc_controls_2)},
        {"mandatory exit controls", on(F::EXIT_CONTROLS, mandatory::exit_controls)},
        {"mandatory entry controls", on(F::ENTRY_CONTROLS, mandatory::entry_controls)},
        {"mandatory exceptions", on(F::EXCEPTION_BITMAP, mandatory::exceptions)},
        {"breakpoint registers exit until they are the guest's",
         lor(on(F::PROC_CONTROLS, defs::proc::MOV_DR_EXITING), lnot(is(v.row("[].dr_live"), 0)))},
        {"host: CR3", eq(v[F::HOST_CR3], host_control(3))},
        {"host: FS", eq(v[F::HOST_FS_BASE], v.narrow("threads", "[].regs.fs_base", thread))},
    };
    claim(e.step, result, "", at.guard.term(), claims);
    claim(e.step, result, "", at.guard.term(), host_facts(v));
}

// What held at the start holds at the end.
void kept_goals(Entering& e, Result& result) {
    const View now = e.view(e.step.now, {});
    const View old = e.view(e.step.kernel.old, {});
    const Term where = land(e.step.over(), e.exists(old));
    claim(e.step, result, "afterwards: ", where, facts(now));
    claim(e.step, result, "afterwards: ", where, held(now));
    const Term mine =
        eq(now.row("[].vmx.host_core"), zext(add(e.step.kernel.this_core, num(32, 1)), 64));
    claim(e.step, result, "afterwards: ", land(where, mine), host_facts(now));
    // Where the host's state is another core's, it is as that core left it.
    for (const model::FieldInfo& f : model::vmcs_fields()) {
        if (horos::vmx::type(f.field) == horos::vmx::FieldType::HOST &&
            !(now[f.field] == old[f.field]))
            e.step.goal(result, "another core's " + std::string(f.name),
                        land({where, lnot(mine), lnot(eq(now[f.field], old[f.field]))}));
    }
    e.step.goal(result, "another core's state",
                land({where, lnot(mine),
                      lnot(eq(now.row("[].vmx.host_core"), old.row("[].vmx.host_core")))}));
}

// What a request may change, of what a run looks at. That it changes nothing else is part of
// vmx-guard/vmx_take_state.
constexpr std::pair<const char*, const char*> of_request[] = {{"vcpus", "[].xcr0"},
                                                              {"vcpus", "[].deadline"},
                                                              {"vcpus", "[].tlb_era"},
                                                              {"vcpus", "[].exception_exits"},
                                                              {"vcpus", "[].extra_exits"},
                                                              {"vcpus", "[].dr_live"},
                                                              {"vcpus", "[].dr[]"},
                                                              {"vcpus", "[].vmx.virtual_apic"},
                                                              {"vcpus", "[].vmx.pending"},
                                                              {"vcpus", "[].vmx.event"},
                                                              {"vcpus", "[].vmx.cr2"},
                                                              {"vcpus", "[].vmx.dr6"},
                                                              {"vcpus", "[].vmx.proc_controls"},
                                                              {"vcpus", "[].vmx.requests"},
                                                              {"vcpus", "[].vmx.apic_page"},
                                                              {"cores", "[].control"},
                                                              {"cores", "[].launched"},
                                                              {"cores", "[].release"},
                                                              {"frames", "[].references"}};
bool is_of_request(const std::string& table, const std::string& path) {
    for (const auto& [t, p] : of_request) {
        if (table == t && path == p)
            return true;
    }
    return table == "state_pages" || table == fields_table || path.starts_with("[].vmx.msrs[]");
}

bool is_of_request(F field) {
    static constexpr F controls[] = {
        F::ENTRY_CONTROLS,      F::PROC_CONTROLS_2,   F::EXCEPTION_BITMAP,  F::TSC_OFFSET,
        F::APIC_ACCESS_ADDRESS, F::EOI_EXIT_BITMAP_0, F::EOI_EXIT_BITMAP_1, F::EOI_EXIT_BITMAP_2,
        F::EOI_EXIT_BITMAP_3,   F::CR0_MASK,          F::CR4_MASK,          F::CR0_SHADOW,
        F::CR4_SHADOW};
    return horos::vmx::type(field) == horos::vmx::FieldType::GUEST ||
           std::find(std::begin(controls), std::end(controls), field) != std::end(controls);
}

// A request changes what is listed, in the rows of its virtual CPU and of this core; a refused one
// nothing of the VMCS, and of the virtual CPU nothing.
void footprint_goals(Entering& e, Result& result) {
    Step& step = e.step;
    const Term refused = land(step.over(), lnot(eq(step.outcome.value.bits, num(32, 0))));
    const View old = e.view(step.kernel.old, {});
    const View now = e.view(step.now, {});
    Claims same;
    for (const model::FieldInfo& f : model::vmcs_fields())
        same.emplace_back("a refusal changes " + std::string(f.name),
                          eq(old[f.field], now[f.field]));
    claim(step, result, "", refused, same);
    Claims never;
    for (const model::FieldInfo& f : model::vmcs_fields()) {
        if (!is_of_request(f.field))
            never.emplace_back("a request changes " + std::string(f.name),
                               eq(old[f.field], now[f.field]));
    }
    claim(step, result, "", step.over(), never);
    const Term era = now.row("[].tlb_era");
    claim(step, result, "", step.over(),
          {{"a request makes up a tag", lor(is(era, 0), eq(era, old.row("[].tlb_era")))}});
    const Term accepted = land(step.over(), eq(step.outcome.value.bits, num(32, 0)));
    step.goal(result, "another VMCS is current afterwards",
              land(accepted, lnot(eq(now.slot(current_slot), step.kernel.followed))));
    for (const auto& object : step.kernel.objects.all()) {
        if (object->storage == Storage::local || object->storage == Storage::constant ||
            !step.now.touched(*object))
            continue;
        for (const auto& [key, leaf] : object->leaves) {
            std::vector<Term> at;
            for (size_t i = 0; i < leaf->strides.size(); ++i)
                at.push_back(named_bits("row" + std::to_string(i), 32));
            const Term before = step.kernel.old.load(*leaf, at, {}).bits;
            const Term after = step.now.load(*leaf, at, {}).bits;
            if (before == after)
                continue;
            const std::string& table = object->name;
            const Term own = table == "vcpus"   ? eq(at[0], e.vcpu)
                             : table == "cores" ? eq(at[0], step.kernel.this_core)
                             : table == "state_pages"
                                 ? eq(at[0], old.narrow("vcpus", "[].state", e.vcpu))
                                 : truth(true);
            const Term allowed = is_of_request(table, leaf->path) ? own : truth(false);
            step.goal(result, "a request changes " + table + leaf->path,
                      land({step.over(), lnot(allowed), lnot(eq(before, after))}));
        }
    }
}

void not_vacuous_requests(Entering& e, Result& result) {
    Step& step = e.step;
    const View old = e.view(step.kernel.old, {});
    for (const model::Profile* p : profiles()) {
        const Term accepted =
            land({step.over(), runs_on(old, *p), eq(step.outcome.value.bits, num(32, 0))});
        if (consistent(step.assumptions, accepted, step.settings.limits.milliseconds) !=
            Verdict::proved) {
            result.verdict = Verdict::unknown;
            result.details.push_back("vacuous: nothing is accepted on " + p->name);
        }
    }
}

// A virtual CPU that nobody runs is asked for something: what is true of its VMCS afterwards, or
// that it is what was asked for.
enum class Judge : uint8_t { facts, request };
Result asked(Entering& e, Judge judge) {
    Step& step = e.step;
    Kernel& kernel = step.kernel;
    e.vcpu = named_bits("vcpu", 32);
    const View old = e.view(kernel.old, {});
    kernel.followed = old.address(old.row("[].control"));
    step.name = "vmx_take_state";
    step.arguments = {e.vcpu};
    Kernel::Touches touched;
    step.assumptions.push_back(kernel.evaluate(*kernel.spec_function("pre_hypercall"),
                                               {kernel.this_core}, kernel.old, &touched));
    kernel.touch(touched, 1);
    step.assumptions.push_back(
        ult(e.vcpu, kernel.field("machine", ".frame_limit", {}, kernel.old)));
    step.assumptions.push_back(e.exists(old));
    step.assumptions.push_back(is(old.row("[].thread"), 0));
    step.assumptions.push_back(lor(is(old.row("[].core"), core::no_core),
                                   eq(old.row("[].core"), zext(kernel.this_core, 64))));
    for (llvm::Function& f : kernel.bitcode.core()) {
        if (!f.isDeclaration() && Objects::plain_name(f.getName()) == "vmx_take_state")
            step.outcome = step.engine.run(f, {Value::of(e.vcpu)}, Guard());
    }
    kernel.touch(step.engine.touched, 1);
    kernel.touch({{kernel.objects.find("vcpus"), {e.vcpu}},
                  {kernel.objects.find("frames"), {e.vcpu}},
                  {kernel.objects.find("cores"), {kernel.this_core}}},
                 0);
    assume(e);
    Result result = begin(step);
    result.bound = std::to_string(step.outcome.steps) + " instructions";
    if (judge == Judge::request) {
        claim(step, result, "", land(step.over(), eq(step.outcome.value.bits, num(32, 0))),
              requested(e));
        not_vacuous_requests(e, result);
        finish(result);
        return result;
    }
    access_goals(e, result);
    kept_goals(e, result);
    footprint_goals(e, result);
    not_vacuous_requests(e, result);
    finish(result);
    return result;
}

// A new virtual CPU.
Result made(Entering& e) {
    Step& step = e.step;
    Result result = begin(step);
    result.bound = std::to_string(step.outcome.steps) + " instructions";
    if (e.vcpu == nullptr) {
        result.verdict = Verdict::unknown;
        result.details.push_back("vacuous: no VMCS is made");
        return result;
    }
    const View old = e.view(step.kernel.old, {});
    const View now = e.view(step.now, {});
    auto& assumed = step.assumptions;
    std::vector<Term> some;
    for (const model::Profile* p : profiles())
        some.push_back(runs_on(old, *p));
    assumed.push_back(lor(some));
    assumed.push_back(held(old).front().second);
    for (const auto& [name, fact] : host_assumptions(old))
        assumed.push_back(fact);
    step.kernel.touch({{step.kernel.objects.find("vcpus"), {e.vcpu}},
                       {step.kernel.objects.find("frames"), {e.vcpu}},
                       {step.kernel.objects.find("cores"), {step.kernel.this_core}}},
                      0);
    access_goals(e, result);
    const Term is_made = land({step.over(), lnot(e.exists(old)), e.exists(now)});
    claim(step, result, "of a new one: ", is_made, facts(now));
    claim(step, result, "of a new one: ", is_made, held(now));
    claim(step, result, "of a new one: ", is_made,
          {{"nobody's host state", is(now.row("[].vmx.host_core"), 0)},
           {"no core has it", is(now.slot(current_slot), no_vmcs)}});
    for (const model::Profile* p : profiles()) {
        if (consistent(assumed, land(is_made, runs_on(old, *p)),
                       step.settings.limits.milliseconds) != Verdict::proved) {
            result.verdict = Verdict::unknown;
            result.details.push_back("vacuous: none is made on " + p->name);
        }
    }
    finish(result);
    return result;
}

// vmx_take_state, by what is proved of it: a rule, or a VMCS that an entry can be made with.
struct Request {
    Entering& e;
    World after{};
    Guard path;

    bool instead(Executor& engine, const Call& call, Value& result) {
        if (call.name != "vmx_take_state")
            return false;
        Kernel& kernel = e.step.kernel;
        World& world = engine.world();
        path = call.guard;
        e.vcpu = call.arguments.at(0).bits;
        const View old = e.view(kernel.old, {});
        kernel.followed = old.address(old.row("[].control"));
        for (const auto& [table, field] : of_request) {
            const bool row_is_core = std::string(table) == "cores";
            const bool any_row = std::string(table) == "frames";
            Object* object = kernel.objects.find(table);
            if (!std::string(field).ends_with("dr[]"))
                kernel.field(table, field, {e.vcpu}, kernel.old);
            for (const auto& [key, leaf] : object->leaves) {
                if (leaf->path == field && leaf->strides.size() == 1)
                    forget(world, *object, *leaf,
                           any_row       ? nullptr
                           : row_is_core ? kernel.this_core
                                         : e.vcpu);
            }
        }
        Entry page;
        page.kind = Entry::Kind::havoc;
        page.guard = path;
        page.row = old.narrow("vcpus", "[].state", e.vcpu);
        page.high = 4096;
        page.number = next_havoc();
        world.add(*kernel.objects.find("state_pages"), page);
        for (const model::FieldInfo& f : model::vmcs_fields()) {
            if (is_of_request(f.field))
                set_slot(kernel, model::slot_of(f.field), fresh_bits("asked", 64), world, path);
        }
        for (const size_t slot : {current_slot, launched_slot})
            set_slot(kernel, slot, fresh_bits("asked", 64), world, path);
        after = world;
        result = Value::of(named_bits("rule", 32));
        return true;
    }
    void forget(World& world, Object& object, Leaf& leaf, Term row) {
        if (row == nullptr)
            return; // counts of references are nothing that a run looks at
        Entry entry;
        entry.guard = path;
        entry.leaf = &leaf;
        entry.indices = {row};
        Term value = fresh_bits("asked " + leaf.path, leaf.width);
        if (leaf.path == "[].tlb_era") // 0, or as it was
            value = ite(eq(value, num(leaf.width, 0)), value,
                        e.step.kernel.old.load(leaf, {row}, path).bits);
        entry.value = Value::of(value);
        world.add(object, entry);
    }
    void assume_proved() {
        auto& all = e.step.assumptions;
        const View v = e.view(after, path);
        const auto add = [&](Term t) { all.push_back(implies(path.term(), t)); };
        for (const auto& [name, fact] : facts(v))
            add(fact);
        for (const auto& [name, fact] : held(v))
            add(fact);
        const Term accepted = eq(named_bits("rule", 32), num(32, 0));
        add(implies(accepted, eq(v.slot(current_slot), e.step.kernel.followed)));
        const Term own = eq(v.row("[].vmx.host_core"),
                            zext(proofs::add(e.step.kernel.this_core, num(32, 1)), 64));
        for (const auto& [name, fact] : host_facts(v))
            add(implies(own, fact));
        for (const auto& inv : e.step.kernel.invariants) {
            if (inv.name == "inv_vmx_vcpu")
                add(e.step.kernel.instance(inv, {e.vcpu}, after, nullptr, path));
            if (inv.name == "inv_vmx_core")
                add(e.step.kernel.instance(inv, {e.step.kernel.this_core}, after, nullptr, path));
        }
    }
};

Result entered(Entering& e) {
    Step& step = e.step;
    Result result = begin(step);
    result.bound = std::to_string(step.outcome.steps) + " instructions, to the entry; " +
                   std::to_string(profiles().size()) + " processor profiles";
    if (e.vcpu == nullptr || e.entries.empty()) {
        result.verdict = Verdict::unknown;
        result.details.push_back("vacuous: no path comes to an entry");
        return result;
    }
    assume(e);
    step.kernel.touch({{step.kernel.objects.find("vcpus"), {e.vcpu}},
                       {step.kernel.objects.find("cores"), {step.kernel.this_core}}},
                      0);
    access_goals(e, result);
    for (Entered& at : e.entries) {
        const Term thread =
            step.kernel.field("cores", "[].thread", {step.kernel.this_core}, at.world, at.guard);
        const Term base =
            step.kernel.field("threads", "[].regs.fs_base", {thread}, at.world, at.guard);
        // It is in the processor, which has no other.
        const Inputs in = inputs(e.view(at.world, at.guard));
        step.assumptions.push_back(
            model::View<TermDomain>{in, *profiles().front()}.canonical({base}).t);
        own_goals(e, result, at);
        rule_goals(e, result, at);
        for (const model::Profile* p : profiles()) {
            if (consistent(step.assumptions,
                           land(at.guard.term(), runs_on(e.view(at.world, at.guard), *p)),
                           step.settings.limits.milliseconds) != Verdict::proved) {
                result.verdict = Verdict::unknown;
                result.details.push_back("vacuous: no entry on " + p->name);
            }
        }
    }
    kept_goals(e, result);
    finish(result);
    return result;
}

} // namespace

std::vector<Theorem> entry_theorems() {
    return {{"vmx-guard/vmx_take_state", "vmx-guard",
             "a request leaves a VMCS that an entry can be made with",
             [](Bitcode& code, const Settings& settings) {
                 Entering e(code, settings);
                 return asked(e, Judge::facts);
             }},
            {"vmx-guard/request", "vmx-guard",
             "what an accepted request asks for is in the VMCS, and all else is as it was",
             [](Bitcode& code, const Settings& settings) {
                 Entering e(code, settings);
                 return asked(e, Judge::request);
             }},
            {"vmx-guard/new_vmcs", "vmx-guard",
             "vcpu_create makes a VMCS that a request can be put into",
             [](Bitcode& code, const Settings& settings) {
                 Entering e(code, settings);
                 for (const Hypercall& h : hypercalls()) {
                     if (h.name == "vcpu_create")
                         e.step.run_hypercall(h);
                 }
                 return made(e);
             }},
            {"vmx-guard/vcpu_run", "vmx-guard",
             "what vcpu_run enters a guest with on VMX satisfies every rule of the model",
             [](Bitcode& code, const Settings& settings) {
                 Entering e(code, settings);
                 Request request{e, {}, {}};
                 const auto usual = e.step.kernel.policy.summary;
                 e.step.kernel.policy.summary = [&](Executor& x, const Call& c, Value& v) {
                     return request.instead(x, c, v) || usual(x, c, v);
                 };
                 for (const Hypercall& h : hypercalls()) {
                     if (h.name == "vcpu_run")
                         e.step.run_hypercall(h);
                 }
                 if (e.vcpu != nullptr)
                     request.assume_proved();
                 Result result = entered(e);
                 result.lemmas.push_back("vmx-guard/vmx_take_state");
                 return result;
             }},
            {"vmx-guard/core_run_guest", "vmx-guard",
             "so does what a run goes on with after an interruption",
             [](Bitcode& code, const Settings& settings) {
                 Entering e(code, settings);
                 e.step.run_export(*code.core().getFunction("core_run_guest"));
                 return entered(e);
             }}};
}

} // namespace horos::proofs::vmx
