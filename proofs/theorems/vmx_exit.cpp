// A guest's exit on VMX: what the VMM is told is what the VMCS says, and what is true of a VMCS
// between two runs is true again. Sections are of the SDM vol. 3C.
#include "vmx_exit.hpp"
#include "kernel/vmx/vmx.hpp"
#include "vmx.hpp"

namespace horos::proofs::vmx {

namespace {

Result after_exit(Exit& exit) {
    Step& step = exit.step;
    Result result = begin(step);
    result.bound = std::to_string(step.outcome.steps) + " instructions, past one entry";
    if (exit.event == nullptr)
        throw Unsupported("no path comes to an entry");
    const Term word = zext(step.outcome.value.bits, 64);
    const Term returns = land(exit.path.term(), step.outcome.returns.term());
    const View then = exit.view(exit.back, exit.path);
    const View now = exit.view(step.now, exit.path);
    access_goals(exit.entering, result);
    Told told{exit, then, now, nullptr, word, {}};
    const Term tells = land(returns, lnot(is(word, 0)));
    told_claims(told);
    claim(step, result, "told: ", tells, told.claims);
    const Term goes_on = land(returns, is(word, 0));
    claim(step, result, "the guest goes on: ", goes_on,
          {{"though it stopped for a reason of its own", is_own(told)},
           {"the event that was cut off comes first", eq(now.row("[].vmx.event"), exit.event)}});
    claim(step, result, "afterwards: ", returns, facts(now));
    claim(step, result, "afterwards: ", returns, held(now));
    claim(step, result, "afterwards: ", returns, host_facts(now));
    for (const auto& [what, way] :
         {std::pair<const char*, Term>{"told", tells}, {"dealt with", goes_on}}) {
        if (consistent(step.assumptions, way, step.settings.limits.milliseconds) !=
            Verdict::proved) {
            result.verdict = Verdict::unknown;
            result.details.push_back(std::string("vacuous: no exit is ") + what);
        }
    }
    finish(result);
    return result;
}

} // namespace

std::vector<Theorem> exit_theorems() {
    return {{"vmx-exit/vmx_enter", "vmx-exit",
             "after an exit on VMX the VMM is told what the VMCS says, and the VMCS is one that an "
             "entry can be made with",
             [](Bitcode& code, const Settings& settings) {
                 Exit exit(code, settings);
                 exit.run();
                 return after_exit(exit);
             }}};
}

} // namespace horos::proofs::vmx
