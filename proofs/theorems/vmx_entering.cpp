// What the theorems about an entry have in common.
#include "vmx_entering.hpp"
#include "kernel/vmx/vmx.hpp"
#include "vmx.hpp"

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

} // namespace horos::proofs::vmx
