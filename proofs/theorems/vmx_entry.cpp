// What a guest is entered with on VMX satisfies every rule of the model, is the kernel's own where
// it is not the guest's, and what is true of a virtual CPU's VMCS stays true.
#include "kernel/vmx/vmx.hpp"
#include "vmx.hpp"
#include "vmx_entering.hpp"

#include <horos/abi/vcpu_state.hpp>

namespace horos::proofs::vmx {

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
                 e.step.run_hypercall("vcpu_create");
                 return made(e);
             }},
            {"vmx-guard/vcpu_run", "vmx-guard",
             "what vcpu_run enters a guest with on VMX satisfies every rule of the model",
             [](Bitcode& code, const Settings& settings) {
                 Entering e(code, settings);
                 InPlaceOfRequest request(e);
                 const auto usual = e.step.kernel.policy.summary;
                 e.step.kernel.policy.summary = [&](Executor& x, const Call& c, Value& v) {
                     return request.instead(x, c, v) || usual(x, c, v);
                 };
                 e.step.run_hypercall("vcpu_run");
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
