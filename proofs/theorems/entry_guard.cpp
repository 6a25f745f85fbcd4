// Theorem 4: whatever a VMM asks for, at whatever state the kernel is in, the control block that
// VMRUN is given satisfies every rule of model/, keeps the mandatory intercepts and nested paging,
// has a tag and permission maps that are its own, and nothing that is the host's was touched; or
// the call is refused with a rule that is broken, and nothing changes.
#include "entry_view.hpp"
#include <algorithm>

namespace horos::proofs {

using namespace entry;

namespace {

// In legacy modes the manual leaves open whether CR3[63:32] matter (§3.1.2), and a guest that
// leaves long mode can make that state by itself: not claimed.
Term claimed(RuleId rule, const Inputs& in) {
    return rule == RuleId::SAVE_CR3_PHYS ? svm::predicates::guest_lme_pg<TermDomain>(in).t
                                         : truth(true);
}

void rule_goals(Step& step, Result& result, const View& view, Term address) {
    const Inputs in = inputs(view, address);
    Goals goals;
    for (const svm::RuleInfo& rule : svm::all_rules()) {
        std::vector<Term> broken;
        for (const svm::Profile* profile : profiles()) {
            const svm::Params params(*profile);
            if (!svm::rule_applies(rule.id, params))
                continue;
            const Term holds = svm::evaluate_rule<TermDomain>(rule.id, in, params).t;
            broken.push_back(land({runs_on(view, *profile), claimed(rule.id, in), lnot(holds)}));
        }
        goals.emplace_back(std::string(rule.name), land(view.guard.term(), lor(broken)));
    }
    prove_all(step, result, goals);
}

void invariant_goals(Step& step, Result& result, const View& view) {
    Goals goals;
    for (const auto& inv : step.kernel.invariants) {
        static const std::set<std::string> about_entry{
            "inv_vmcb_intercepts", "inv_vmcb_paging", "inv_vmcb_maps",   "inv_vmcb_current",
            "inv_vmcb_tag",        "inv_tag",         "inv_tags_differ", "inv_vmcb_host_owned",
            "inv_vmcb_state",      "inv_vmcb_event",  "inv_vcpu_links",  "inv_space"};
        if (!about_entry.contains(inv.name))
            continue;
        std::vector<Term> at{inv.name == "inv_space" ? view.field("vcpus", "[].space", view.vcpu)
                                                     : view.vcpu};
        if (inv.domain.second != Over::nothing)
            at.push_back(named_bits("other", 32));
        Kernel::Touches touched;
        const Term holds = step.kernel.instance(inv, at, view.world, &touched);
        step.kernel.instance(inv, at, step.kernel.old, &touched);
        step.kernel.touch(touched, 0);
        goals.emplace_back(inv.name, land(view.guard.term(), lnot(holds)));
    }
    prove_all(step, result, goals);
}

// The tag is in force, its own, and the maps are its space's: no "not yet" at an entry.
void ownership_goals(Step& step, Result& result, const View& view, Term address) {
    const auto vcpu = [&](const char* path) { return view.field("vcpus", path, view.vcpu); };
    const Term space = vcpu("[].space");
    const auto map = [&](const char* own, const char* usual) {
        const Term f = view.field("spaces", own, space);
        const Term frame = ite(eq(f, num(32, 0)), view.machine(usual), f);
        return shl(zext(frame, 64), num(64, 12));
    };
    using Control = horos::svm::ControlArea;
    const auto control = [&](size_t offset, unsigned bytes) {
        return view.number(static_cast<unsigned>(offset), bytes);
    };
    Goals goals;
    const auto must = [&](const char* what, Term holds) {
        goals.emplace_back(what, land(view.guard.term(), lnot(holds)));
    };
    must("VMRUN is given the virtual CPU's control block",
         eq(address, shl(zext(view.control, 64), num(64, 12))));
    must("the control block is one", eq(view.field("frames", "[].type", view.control),
                                        num(8, static_cast<uint64_t>(ObjectType::vmcb))));
    must("it runs on its own core", eq(vcpu("[].core"), view.core));
    must("its tag is of the core's present era",
         eq(vcpu("[].tlb_era"), view.field("cores", "[].tlb_era", view.core)));
    must("the ASID is its tag",
         eq(control(offsetof(Control, guest_asid), 4), zext(vcpu("[].tlb_tag"), 64)));
    must("nothing of its space has changed since the tag was given",
         eq(vcpu("[].flushes_seen"), view.field("spaces", "[].flushes", space)));
    must("the I/O map is its space's, or the kernel's",
         eq(control(offsetof(Control, iopm_base_pa), 8), map("[].io_map", ".io_map")));
    must("the processor has the guest's XCR0",
         step.kernel.xcr0_is(vcpu("[].xcr0"), view.world, view.guard));
    must("the MSR map is its space's, or the kernel's",
         eq(control(offsetof(Control, msrpm_base_pa), 8), map("[].msr_map", ".msr_map")));
    prove_all(step, result, goals);
}

void untouched_goals(Step& step, Result& result, const View& view) {
    step.goal(result, "a field of a control block that is the host's is changed",
              land(view.guard.term(), changed(step, "vmcbs", view.world, view.guard, false)));
    // Nobody else's control block changes at all.
    const Term other = named_bits("vmcbs.row0", 32);
    step.goal(result, "another control block is changed",
              land({view.guard.term(), lnot(eq(other, view.control)),
                    changed(step, "vmcbs", view.world, view.guard, true)}));
}

// Runs a step and looks at each VMRUN that it comes to.
template <class Run>
Result at_entries(Bitcode& code, const Settings& settings, Run run) {
    Step step(code, settings);
    step.assumptions.push_back(step.kernel.xcr0_is_host(step.kernel.old));
    std::vector<Vmrun> entries = entries_of(step, [&] { run(step); });
    Result result;
    result.verdict = Verdict::proved;
    result.bound = std::to_string(step.outcome.steps) + " instructions, to VMRUN; " +
                   std::to_string(profiles().size()) + " processor profiles";
    need_entry(result, entries);
    for (Vmrun& e : entries) {
        const View view(step, e.guard, e.world);
        step.kernel.touch({{step.kernel.objects.find("vcpus"), {view.vcpu}},
                           {step.kernel.objects.find("cores"), {view.core}},
                           {step.kernel.objects.find("vmcbs"), {view.control}}},
                          0);
        ownership_goals(step, result, view, e.vmcb.bits);
        invariant_goals(step, result, view);
        rule_goals(step, result, view, e.vmcb.bits);
        untouched_goals(step, result, view);
        // The statement would be empty if no such entry were possible on any of the processors.
        for (const svm::Profile* profile : profiles()) {
            const Term possible = land(e.guard.term(), runs_on(view, *profile));
            if (consistent(step.assumptions, possible, settings.limits.milliseconds) !=
                Verdict::proved) {
                result.verdict = Verdict::unknown;
                result.details.push_back("vacuous: no entry on " + profile->name);
            }
        }
    }
    finish(result);
    return result;
}

} // namespace

std::vector<Theorem> guard_theorems(const Bitcode&) {
    const auto& calls = hypercalls();
    const auto named = [](const Hypercall& h) { return h.name == "vcpu_run"; };
    const unsigned vcpu_run = std::find_if(calls.begin(), calls.end(), named)->number;
    std::vector<Theorem> all;
    all.push_back({"guard/vcpu_run", "guard",
                   "what vcpu_run enters a guest with satisfies every VMRUN rule of the model",
                   [vcpu_run](Bitcode& code, const Settings& settings) {
                       return at_entries(code, settings,
                                         [&](Step& s) { s.run_hypercall(vcpu_run); });
                   }});
    all.push_back({"guard/refusal", "guard",
                   "a request that the guard refuses breaks the rule that it names, and "
                   "changes nothing",
                   [vcpu_run](Bitcode& code, const Settings& settings) {
                       return refusals(code, settings, vcpu_run);
                   }});
    all.push_back({"guard/request", "guard",
                   "a guest is entered with all that an accepted request asks for, and "
                   "otherwise as it was left",
                   [vcpu_run](Bitcode& code, const Settings& settings) {
                       return requests(code, settings, vcpu_run);
                   }});
    all.push_back({"guard/core_run_guest", "guard",
                   "so does what a run goes on with after an interruption",
                   [](Bitcode& code, const Settings& settings) {
                       return at_entries(code, settings, [&](Step& s) {
                           s.run_export(*code.core().getFunction("core_run_guest"));
                       });
                   }});
    return all;
}

} // namespace horos::proofs
