// What a VMM asks for, and what a new virtual CPU is like before it has asked.
#include "kernel/vmx/vmx.hpp"
#include "vmx.hpp"
#include "vmx_entering.hpp"

#include <horos/abi/vcpu_state.hpp>

namespace horos::proofs::vmx {

namespace {

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

} // namespace

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

bool InPlaceOfRequest::instead(Executor& engine, const Call& call, Value& result) {
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

void InPlaceOfRequest::forget(World& world, const Object& object, const Leaf& leaf, Term row) {
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

void InPlaceOfRequest::assume_proved() {
    auto& all = e.step.assumptions;
    const View v = e.view(after, path);
    const auto add = [&](Term t) { all.push_back(implies(path.term(), t)); };
    for (const auto& [name, fact] : facts(v))
        add(fact);
    for (const auto& [name, fact] : held(v))
        add(fact);
    const Term accepted = eq(named_bits("rule", 32), num(32, 0));
    add(implies(accepted, eq(v.slot(current_slot), e.step.kernel.followed)));
    const Term own =
        eq(v.row("[].vmx.host_core"), zext(proofs::add(e.step.kernel.this_core, num(32, 1)), 64));
    for (const auto& [name, fact] : host_facts(v))
        add(implies(own, fact));
    for (const auto& inv : e.step.kernel.invariants) {
        if (inv.name == "inv_vmx_vcpu")
            add(e.step.kernel.instance(inv, {e.vcpu}, after, nullptr, path));
        if (inv.name == "inv_vmx_core")
            add(e.step.kernel.instance(inv, {e.step.kernel.this_core}, after, nullptr, path));
    }
}
} // namespace horos::proofs::vmx
