#include "entry_view.hpp"

namespace horos::proofs::entry {

namespace {

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

} // namespace

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

Term bytes_of(Step& step, const World& world, const Guard& guard, const char* table, Term row,
              size_t offset, unsigned bytes) {
    Object* object = step.kernel.objects.find(table);
    Offset at;
    at.constant = static_cast<int64_t>(offset);
    at.add(zext(row, 64), 4096);
    const std::string what = std::string("no field of ") + table + " at " + std::to_string(offset);
    std::string problem;
    Term all = nullptr;
    for (const Piece& p : step.kernel.objects.pieces(*object, at, bytes, problem)) {
        if (p.leaf == nullptr || p.at != 0 || p.size * 8 != p.leaf->width)
            throw Unsupported(what);
        const Term part = world.load(*p.leaf, p.indices, guard).bits;
        all = all == nullptr ? part : concat(part, all);
    }
    if (all == nullptr)
        throw Unsupported(what + problem);
    return zext(all, 64);
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

std::vector<const svm::Profile*> profiles() {
    std::vector<const svm::Profile*> all;
    for (const svm::Profile& p : svm::builtin_profiles()) {
        if (p.has_svm && p.svm_feature(x86::cpuid::SVM_EDX_NP))
            all.push_back(&p);
    }
    return all;
}

std::vector<Vmrun> entries_of(Step& step, const std::function<void()>& run) {
    step.engine.obligations_on = false; // theorem 1 is about these
    std::vector<Vmrun> entries;
    const auto usual = step.kernel.policy.external;
    step.kernel.policy.external = [&](Executor& engine, const Call& call, Value& out) {
        if (call.name == "svm_run")
            entries.push_back({call.guard, engine.world(), call.arguments.at(0)});
        return usual(engine, call, out);
    };
    run();
    step.kernel.policy.external = usual;
    return entries;
}

void need_entry(Result& result, const std::vector<Vmrun>& entries) {
    if (!entries.empty())
        return;
    result.verdict = Verdict::unknown;
    result.details.push_back("vacuous: no path comes to VMRUN");
}

// One by one: together they take longer.
void prove_all(Step& step, Result& result, const Goals& goals) {
    for (const auto& [name, violated] : goals)
        step.goal(result, name, violated);
}

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

} // namespace horos::proofs::entry
