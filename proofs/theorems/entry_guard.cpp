// Theorem 4: whatever a VMM asks for, at whatever state the kernel is in, the control block that
// VMRUN is given satisfies every rule of model/, keeps the mandatory intercepts and nested paging,
// has a tag and permission maps that are its own, and nothing that is the host's was touched; or
// the call is refused with a rule that is broken, and nothing changes.
#include "horos/model/svm/profile.hpp"
#include "horos/model/svm/rule_predicates.hpp"
#include "kernel/core/entry.hpp"
#include "kernel/svm/svm.hpp"
#include "model_terms.hpp"
#include "theorem.hpp"
#include <horos/abi/gen/calls.hpp>
#include <horos/abi/vcpu_state.hpp>

namespace horos::proofs {

namespace {

namespace svm = model::svm;
using svm::RuleField;
using svm::RuleId;
using Inputs = svm::RuleInputs<TermDomain>;

// The moment before a VMRUN.
struct Entry {
    Guard guard;
    World world;
    Value vmcb; // its address
};

// What a theorem about an entry looks at.
struct View {
    Step& step;
    Guard guard;
    World& world;
    Term core, vcpu, control;

    View(Step& s, const Guard& g, World& w)
        : step(s), guard(g), world(w), core(s.kernel.this_core) {
        vcpu = field("threads", "[].vcpu", field("cores", "[].thread", core));
        control = field("vcpus", "[].control", vcpu);
    }
    Term field(const char* table, const char* path, Term row) const {
        return step.kernel.field(table, path, {row}, world, guard);
    }
    Term machine(const char* path) const {
        return step.kernel.field("machine", path, {}, world, guard);
    }
    // A number of the control block, by its place there.
    Term number(unsigned offset, unsigned bytes) const {
        Object* vmcbs = step.kernel.objects.find("vmcbs");
        Offset at;
        at.constant = offset;
        at.add(zext(control, 64), 4096);
        std::string problem;
        Term all = nullptr;
        for (const Piece& p : step.kernel.objects.pieces(*vmcbs, at, bytes, problem)) {
            if (p.leaf == nullptr || p.at != 0 || p.size * 8 != p.leaf->width)
                throw Unsupported("no field of the VMCB at " + std::to_string(offset));
            const Term part = world.load(*p.leaf, p.indices, guard).bits;
            all = all == nullptr ? part : concat(part, all);
        }
        if (all == nullptr)
            throw Unsupported("no field of the VMCB at " + std::to_string(offset) + problem);
        return zext(all, 64);
    }
};

// What the machine was set up with, trusted (kernel/arch, svm_enable_cpu): long mode, paging, SVM
// on, ring 0, the host save area that is set aside for the core.
Term host_value(const View& view, RuleField f) {
    switch (f) {
    case RuleField::HOST_EFER:
        return num(64, x86::efer::LME | x86::efer::LMA | x86::efer::SVME | x86::efer::NXE);
    case RuleField::HOST_CR0:
        return num(64, x86::cr0::PE | x86::cr0::PG | x86::cr0::ET | x86::cr0::NE | x86::cr0::WP);
    case RuleField::HOST_RFLAGS:
        return num(64, x86::rflags::ONE);
    case RuleField::HOST_CPL:
        return num(64, 0);
    case RuleField::HOST_VM_HSAVE_PA:
        return shl(zext(add(view.machine(".host_frames"), shl(view.core, num(32, 1))), 64),
                   num(64, 12));
    default: // anything
        return named_bits("host" + std::to_string(static_cast<unsigned>(f)), 64);
    }
}

Inputs inputs(const View& view, Term address) {
    Inputs in;
    for (const svm::RuleFieldInfo& f : svm::rule_fields()) {
        if (f.field == RuleField::RAX)
            in[f.field].t = address;
        else if (f.place == svm::FieldPlace::VMCB)
            in[f.field].t = view.number(f.vmcb_offset, f.bytes);
        else if (f.place == svm::FieldPlace::HOST)
            in[f.field].t = host_value(view, f.field);
        else
            in[f.field].t = named_bits(std::string(f.name), 64);
    }
    return in;
}

// That the kernel runs on a processor of this profile: what svm_init and the boot code find then.
Term runs_on(const View& view, const svm::Profile& profile) {
    const svm::Params params(profile);
    Object* limits = view.step.kernel.objects.find("svm_limits");
    const auto limit = [&](size_t offset) {
        Offset at;
        at.add(static_cast<int64_t>(offset));
        std::string problem;
        const auto pieces = view.step.kernel.objects.pieces(*limits, at, 8, problem);
        return view.world.load(*pieces.at(0).leaf, {}, view.guard).bits;
    };
    using core::SvmLimits;
    return land({eq(zext(view.machine(".physical_bits"), 64), num(64, profile.physical_bits)),
                 eq(limit(offsetof(SvmLimits, physical_mask)), num(64, params.physical_limit - 1)),
                 eq(band(limit(offsetof(SvmLimits, cr4)), num(64, params.cr4_mbz | x86::cr4::CET)),
                    num(64, 0)),
                 eq(band(limit(offsetof(SvmLimits, efer)), num(64, params.efer_mbz)), num(64, 0)),
                 eq(view.machine(".tlb_tags"), num(32, profile.asid_count))});
}

// In legacy modes the manual leaves open whether CR3[63:32] matter (§3.1.2), and a guest that
// leaves long mode can make that state by itself: not claimed.
Term claimed(RuleId rule, const Inputs& in) {
    return rule == RuleId::SAVE_CR3_PHYS ? svm::predicates::guest_lme_pg<TermDomain>(in).t
                                         : truth(true);
}

std::vector<const svm::Profile*> profiles() {
    std::vector<const svm::Profile*> all;
    for (const svm::Profile& p : svm::builtin_profiles()) {
        if (p.has_svm && p.svm_feature(x86::cpuid::SVM_EDX_NP))
            all.push_back(&p);
    }
    return all;
}

// Goals that are mostly proved: together first, one by one to say which is not.
using Goals = std::vector<std::pair<std::string, Term>>;
void prove_all(Step& step, Result& result, const Goals& goals) {
    constexpr size_t at_once = 1; // together they take longer than one by one
    for (size_t i = 0; i < goals.size(); i += at_once) {
        const size_t end = std::min(i + at_once, goals.size());
        std::vector<Term> some;
        for (size_t n = i; n < end; ++n)
            some.push_back(goals[n].second);
        const Answer answer = step.prove(lor(some));
        for (const std::string& l : answer.used)
            result.lemmas.push_back(l);
        if (answer.verdict == Verdict::proved) {
            result.goals += static_cast<unsigned>(end - i);
            continue;
        }
        for (size_t n = i; n < end; ++n)
            step.goal(result, goals[n].first, goals[n].second);
    }
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
    must("the MSR map is its space's, or the kernel's",
         eq(control(offsetof(Control, msrpm_base_pa), 8), map("[].msr_map", ".msr_map")));
    prove_all(step, result, goals);
}

// Fields of the VMCB that a VMM's request or the kernel's own bookkeeping may change. All others
// are as they were.
bool may_change(const std::string& path) {
    static const char* const names[] = {
        "intercept_cr",    "intercept_dr",    "intercept_exceptions",
        "intercept_misc1", "intercept_misc2", "iopm_base_pa",
        "msrpm_base_pa",   "tsc_offset",      "guest_asid",
        "tlb_control",     "int_ctl",         "v_intr_vector",
        "int_state",       "event_inj"};
    static const char* const save[] = {".es.",          ".cs.",
                                       ".ss.",          ".ds.",
                                       ".fs.",          ".gs.",
                                       ".gdtr.",        ".ldtr.",
                                       ".idtr.",        ".tr.",
                                       ".cpl",          ".efer",
                                       ".cr4",          ".cr3",
                                       ".cr0",          ".dr7",
                                       ".dr6",          ".rflags",
                                       ".rip",          ".rsp",
                                       ".rax",          ".star",
                                       ".lstar",        ".cstar",
                                       ".sfmask",       ".kernel_gs_base",
                                       ".sysenter_cs",  ".sysenter_esp",
                                       ".sysenter_eip", ".cr2",
                                       ".g_pat"};
    const auto ends = [&](const std::string& name) { return path.ends_with("." + name); };
    for (const char* name : names) {
        if (path.find(".control.") != std::string::npos && ends(name))
            return true;
    }
    if (path.find(".save.") == std::string::npos)
        return false;
    for (const char* name : save) {
        const std::string n = name;
        if (n.back() == '.' ? path.find(".save" + n) != std::string::npos : path.ends_with(n))
            return true;
    }
    return false;
}

// Any row of a table: whether some field of it differs from the old state. With `all`, also those
// that a request may change.
Term changed(Step& step, const char* table, World& now, const Guard& guard, bool all) {
    const Object* object = step.kernel.objects.find(table);
    std::vector<Term> any;
    for (const auto& [key, leaf] : object->leaves) {
        if (!all && may_change(leaf->path))
            continue;
        std::vector<Term> at;
        for (size_t i = 0; i < leaf->strides.size(); ++i)
            at.push_back(named_bits(std::string(table) + ".row" + std::to_string(i), 32));
        const Term before = step.kernel.old.load(*leaf, at, guard).bits;
        const Term after = now.load(*leaf, at, guard).bits;
        if (before != after)
            any.push_back(lnot(eq(before, after)));
    }
    return lor(any);
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

// SVM's side of the seam: paths to the other backend end there.
void only_svm(Step& step) {
    step.engine.obligations_on = false; // theorem 1 is about these
    step.kernel.policy.replaced = [](const std::string& name) { return name.starts_with("vmx_"); };
}

// Runs a step and looks at each VMRUN that it comes to.
template <class Run>
Result at_entries(Bitcode& code, const Settings& settings, Run run) {
    Step step(code, settings);
    only_svm(step);
    std::vector<Entry> entries;
    const auto usual = step.kernel.policy.external;
    step.kernel.policy.external = [&](Executor& engine, const Call& call, Value& out) {
        if (call.name == "svm_run")
            entries.push_back({call.guard, engine.world(), call.arguments.at(0)});
        return usual(engine, call, out);
    };
    run(step);
    Result result;
    result.verdict = Verdict::proved;
    result.bound = std::to_string(step.outcome.steps) + " instructions, to VMRUN; " +
                   std::to_string(profiles().size()) + " processor profiles";
    if (entries.empty()) {
        result.verdict = Verdict::unknown;
        result.details.push_back("vacuous: no path comes to VMRUN");
    }
    for (Entry& e : entries) {
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

// ---- refusals

// What the VMM asked for: the fields of the groups that it marked, the control block for others.
struct Asked {
    const Step& step;
    const View& view; // of the state before

    Term read(size_t offset) const {
        Term found = nullptr;
        for (const VolatileRead& r : step.engine.volatile_reads) {
            if (r.object->name != "state_pages" || r.offset != static_cast<int64_t>(offset))
                continue;
            if (found != nullptr)
                throw Unsupported("a field of the shared page is read twice: " +
                                  std::to_string(offset));
            found = r.value;
        }
        if (found == nullptr)
            throw Unsupported("a field of the shared page is not read");
        return zext(found, 64);
    }
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

Result refusals(Bitcode& code, const Settings& settings, unsigned number) {
    Step step(code, settings);
    only_svm(step);
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

} // namespace

std::vector<Theorem> guard_theorems(const Bitcode&) {
    std::vector<Theorem> all;
    for (const Hypercall& h : hypercalls()) {
        if (h.name != "vcpu_run")
            continue;
        all.push_back({"guard/vcpu_run", "guard",
                       "what vcpu_run enters a guest with satisfies every VMRUN rule of the model",
                       [h](Bitcode& code, const Settings& settings) {
                           return at_entries(code, settings,
                                             [&](Step& s) { s.run_hypercall(h.number); });
                       }});
    }
    for (const Hypercall& h : hypercalls()) {
        if (h.name != "vcpu_run")
            continue;
        all.push_back({"guard/refusal", "guard",
                       "a request that the guard refuses breaks the rule that it names, and "
                       "changes nothing",
                       [h](Bitcode& code, const Settings& settings) {
                           return refusals(code, settings, h.number);
                       }});
    }
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
