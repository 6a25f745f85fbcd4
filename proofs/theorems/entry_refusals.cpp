// The other half of theorem 4: what is refused is refused for a reason.
#include "asked.hpp"
#include "kernel/core/entry.hpp"
#include <horos/abi/gen/calls.hpp>

namespace horos::proofs::entry {

namespace {

// What the VMM asked for: the fields of the groups that it marked, the control block for others.
struct Asked {
    const Step& step;
    const View& view; // of the state before

    Term read(size_t field) const { return read_of_page(step, field); }
    Term field(uint32_t group, size_t page, RuleField rule) const {
        const Term dirty = read(offsetof(abi::VcpuState, dirty));
        const svm::RuleFieldInfo& f = svm::rule_field(rule);
        return ite(eq(band(dirty, num(64, group)), num(64, 0)), view.number(f.vmcb_offset, f.bytes),
                   read(page));
    }
};

Inputs asked(const Asked& a) {
    using abi::VcpuState;
    namespace group = abi::group;
    Inputs in = inputs(a.view, num(64, 0));
    const auto set = [&](RuleField f, uint32_t g, size_t offset) {
        in[f].t = a.field(g, offset, f);
    };
    set(RuleField::CR0, group::control, offsetof(VcpuState, cr0));
    set(RuleField::CR3, group::control, offsetof(VcpuState, cr3));
    set(RuleField::CR4, group::control, offsetof(VcpuState, cr4));
    set(RuleField::EFER, group::control, offsetof(VcpuState, efer));
    set(RuleField::CS_ATTRIBUTES, group::segments, offsetof(VcpuState, cs.attributes));
    set(RuleField::DR6, group::debug, offsetof(VcpuState, dr6));
    set(RuleField::DR7, group::debug, offsetof(VcpuState, dr7));
    set(RuleField::G_PAT, group::system, offsetof(VcpuState, pat));
    set(RuleField::EVENT_INJ, group::events, offsetof(VcpuState, inject));
    return in;
}

constexpr RuleId answers[] = {
    RuleId::CTL_EVENT_TYPE, RuleId::CTL_EVENT_VECTOR,  RuleId::CTL_EVENT_VECTOR_FEATURE,
    RuleId::CTL_EVENT_MODE, RuleId::CTL_EVENT_MODE_OF, RuleId::CTL_NP_GPAT,
    RuleId::SAVE_EFER_MBZ,  RuleId::SAVE_CR0_CD_NW,    RuleId::SAVE_CR0_HIGH,
    RuleId::SAVE_CR3_MBZ,   RuleId::SAVE_CR4_MBZ,      RuleId::SAVE_DR6_HIGH,
    RuleId::SAVE_DR7_HIGH,  RuleId::SAVE_LME_PG_PAE,   RuleId::SAVE_LME_PG_PE,
    RuleId::SAVE_CS_L_D};

// Whether a rule is broken. For three the limits are the kernel's, which are narrower than the
// processor's: EFER and CR4 bits that Horos knows, and a CR3 that is right once the guest has
// switched paging on.
Term is_broken(const Step& step, RuleId id, const Inputs& in) {
    Object* limits = step.kernel.objects.find("svm_limits");
    const auto limit = [&](size_t offset) {
        return step.kernel.old.load(*limits->leaves.at({offset, {}}), {}, Guard()).bits;
    };
    const auto beyond = [&](RuleField f, size_t offset) {
        return lnot(eq(band(in[f].t, bxor(limit(offset), num(64, ~uint64_t{0}))), num(64, 0)));
    };
    if (id == RuleId::SAVE_EFER_MBZ)
        return beyond(RuleField::EFER, offsetof(core::SvmLimits, efer));
    if (id == RuleId::SAVE_CR4_MBZ)
        return beyond(RuleField::CR4, offsetof(core::SvmLimits, cr4));
    if (id == RuleId::SAVE_CR3_MBZ)
        return land(beyond(RuleField::CR3, offsetof(core::SvmLimits, physical_mask)),
                    svm::predicates::has<TermDomain>(in[RuleField::EFER], x86::efer::LME).t);
    svm::Params params(*profiles().front());
    params.cet = params.sev = false; // no guest of Horos has these
    return lnot(svm::evaluate_rule<TermDomain>(id, in, params).t);
}

Term first_row(const Step& step, const char* table) {
    for (const auto& [object, indices] : step.engine.touched) {
        if (object->name == table)
            return indices.at(0);
    }
    throw Unsupported(std::string("nothing of ") + table + " is looked at");
}

} // namespace

Term found_in_page(const Step& step, size_t field) {
    const size_t offset = abi::vcpu_state_offset + field;
    Term found = nullptr;
    for (const VolatileRead& r : step.engine.volatile_reads) {
        if (r.object->name != "state_pages" || r.offset != static_cast<int64_t>(offset))
            continue;
        if (found != nullptr)
            throw NotReadOnce("a field of the shared page is read twice: " +
                              std::to_string(offset));
        found = r.value;
    }
    return found == nullptr ? nullptr : zext(found, 64);
}

Term read_of_page(const Step& step, size_t field) {
    const Term found = found_in_page(step, field);
    if (found == nullptr)
        throw NotReadOnce("a field of the shared page is not read: " +
                          std::to_string(abi::vcpu_state_offset + field));
    return found;
}

// Rules of the kernel's own, about the policy: whether one is broken.
Term is_wrong_policy(const Asked& a, uint32_t rule) {
    const Term dirty = a.read(offsetof(abi::VcpuState, dirty));
    const Term wrong =
        rule == abi::guard_rule::extra_exits
            ? has_unknown_exits(a.read(offsetof(abi::VcpuState, extra_exits)))
            : is_wrong_xcr0(a.view.machine(".xcr0"), a.read(offsetof(abi::VcpuState, xcr0)));
    return land(lnot(eq(band(dirty, num(64, abi::group::policy)), num(64, 0))), wrong);
}

Result refusals(Bitcode& code, const Settings& settings, unsigned number) {
    Step step(code, settings);
    step.engine.obligations_on = false; // theorem 1 is about these
    step.run_hypercall(number);
    Result result;
    result.verdict = Verdict::proved;
    result.bound = std::to_string(step.outcome.steps) + " instructions";
    const Term word = step.outcome.value.bits;
    const Term refused =
        land(step.outcome.returns.term(),
             eq(extract(7, 0, word), num(8, static_cast<uint64_t>(abi::Error::guard))));
    const Term rule = extract(63, core::result_value_shift, word);
    const auto is = [&](uint64_t id) { return eq(rule, num(width_of(rule), id)); };

    View view(step, Guard(), step.kernel.old);
    view.vcpu = first_row(step, "vcpus");
    view.control = view.field("vcpus", "[].control", view.vcpu);
    const Inputs in = asked({step, view});
    Goals goals;
    std::vector<Term> known{is(abi::guard_rule::xcr0), is(abi::guard_rule::extra_exits),
                            is(abi::guard_rule::long_mode_without_pae)};
    for (const RuleId id : answers) {
        const Term named = is(static_cast<uint64_t>(id));
        known.push_back(named);
        goals.emplace_back(std::string(svm::rule_info(id).name) + " is named though it holds",
                           land({refused, named, lnot(is_broken(step, id, in))}));
        if (consistent(step.assumptions, land(refused, named), settings.limits.milliseconds) !=
            Verdict::proved) {
            result.verdict = Verdict::unknown;
            result.details.push_back("vacuous: never answered: " +
                                     std::string(svm::rule_info(id).name));
        }
    }
    for (const uint32_t own : {abi::guard_rule::xcr0, abi::guard_rule::extra_exits})
        goals.emplace_back("the policy is refused though nothing is wrong with it",
                           land({refused, is(own), lnot(is_wrong_policy({step, view}, own))}));
    goals.emplace_back("a refusal without a rule", land(refused, lnot(lor(known))));
    for (const auto& object : step.kernel.objects.all()) {
        if (object->storage == Storage::local || object->storage == Storage::constant ||
            object->name == "results" || !step.now.touched(*object))
            continue;
        goals.emplace_back(
            "a refusal changes " + object->name,
            land(refused, changed(step, object->name.c_str(), step.now, Guard(), true)));
    }
    prove_all(step, result, goals);
    finish(result);
    return result;
}

} // namespace horos::proofs::entry
