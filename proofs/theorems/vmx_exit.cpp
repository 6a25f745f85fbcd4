// A guest's exit on VMX: what the VMM is told is what the VMCS says, and what is true of a VMCS
// between two runs is true again. Sections are of the SDM vol. 3C.
#include "kernel/vmx/vmx.hpp"
#include "vmx.hpp"
#include "vmx_entering.hpp"

#include <horos/abi/vcpu_state.hpp>

namespace horos::proofs::vmx {

namespace {

namespace defs = horos::vmx;
namespace group = abi::group;
using abi::ExitReason;
using abi::VcpuState;
using Reason = defs::ExitReason;

Term number_of(ExitReason r) { return num(64, static_cast<uint64_t>(r)); }

// One entry, its exit, and what is told of it.
struct Exit {
    Entering entering;
    Step& step;
    World back{};         // when the guest has come back
    Guard path;           // to there
    Term event = nullptr; // what is left to inject then

    Exit(Bitcode& code, const Settings& settings) : entering(code, settings), step(entering.step) {
        step.kernel.after_run = [this](const Call& call) { returned(call); };
        const auto usual = step.kernel.policy.external;
        step.kernel.policy.external = [this, usual](Executor& engine, const Call& call,
                                                    Value& out) {
            if (call.name != "shell_take_interrupt")
                return usual(engine, call, out);
            interrupted(engine.world(), call.guard);
            return true;
        };
    }
    View view(World& world, const Guard& guard = {}) { return entering.view(world, guard); }

    // An interrupt that is taken can make the core let go of its VMCS, and look who is to run.
    void interrupted(World& world, const Guard& guard) {
        const Term gone = eq(named_bits("VMCS gone", 8), num(8, 0));
        const Object* cores = step.kernel.objects.find("cores");
        const auto set = [&](const char* field, Term value) {
            for (const auto& [key, leaf] : cores->leaves) {
                if (leaf->path != field)
                    continue;
                Entry e;
                e.guard = guard;
                e.leaf = leaf.get();
                e.indices = {step.kernel.this_core};
                e.value = Value::of(value);
                world.add(*cores, e);
            }
        };
        const View v = view(world, guard);
        const auto now = [&](const char* field) {
            return v.narrow("cores", field, step.kernel.this_core);
        };
        const Term control = now("[].control");
        const Term launched = now("[].launched");
        const Term current = v.slot(current_slot);
        const Term is_launched = v.slot(launched_slot);
        set("[].control", ite(gone, num(32, 0), control));
        set("[].launched", ite(gone, num(8, 0), launched));
        set("[].reschedule", named_bits("look again", 8));
        set_slot(step.kernel, current_slot, ite(gone, num(64, no_vmcs), current), world, guard);
        set_slot(step.kernel, launched_slot, ite(gone, num(64, 0), is_launched), world, guard);
    }

    // While the guest ran, other cores have taken steps; none of theirs is about what this one
    // holds or about its virtual CPU. The processor stores a state that it would enter again, and
    // an event that goes with it.
    void returned(const Call& call) {
        back = step.engine.world();
        path = call.guard;
        const View v = view(back, path);
        const View old = view(step.kernel.old);
        auto& all = step.assumptions;
        const auto same = [&](Term a, Term b) { all.push_back(implies(path.term(), eq(a, b))); };
        all.push_back(implies(path.term(), entering.exists(v)));
        for (const char* field : {"[].control", "[].state", "[].space"})
            same(v.row(field), old.row(field));
        same(v.core("[].control"), old.row("[].control"));
        same(v.core("[].launched"), named_launched());
        const Term failed = failure(v);
        event = ite(failed, v.row("[].vmx.event"), to_replay(v));
        for (const auto& [name, fact] : facts(v, event)) {
            if (name != "nothing is injected by itself")
                all.push_back(implies(path.term(), fact));
        }
        // §26.8: the reasons of an entry that failed.
        const Term basic = keep(v[F::EXIT_REASON], 0xffff);
        const Term of_entry = lor({is(basic, static_cast<uint64_t>(Reason::ENTRY_GUEST_STATE)),
                                   is(basic, static_cast<uint64_t>(Reason::ENTRY_MSR_LOAD)),
                                   is(basic, static_cast<uint64_t>(Reason::ENTRY_MACHINE_CHECK))});
        all.push_back(
            lnot(lxor(of_entry, has(v[F::EXIT_REASON], defs::exit_reason::ENTRY_FAILURE))));
        all.push_back(implies(path.term(), eq(v.row("[].vmx.host_core"),
                                              zext(add(step.kernel.this_core, num(32, 1)), 64))));
    }
    Term named_launched() { return zext(launched_before, 64); }
    Term launched_before = nullptr;

    Term failure(const View& v) const {
        return lor(lnot(is(zext(named_bits("vmx_run", 32), 64), 0)),
                   has(v[F::EXIT_REASON], defs::exit_reason::ENTRY_FAILURE));
    }
    // §27.2.4: an event that was cut off, but those whose instruction starts over.
    static Term to_replay(const View& v) {
        const Term info = v[F::IDT_VECTORING_INFO];
        const Term type = keep(lshr(info, num(64, 8)), 7);
        const Term again = land(has(info, defs::interruption::VALID), ult(type, num(64, 4)));
        const Term code = ite(has(info, defs::interruption::ERROR_CODE_VALID),
                              shl(v[F::IDT_VECTORING_ERROR_CODE], num(64, 32)), num(64, 0));
        return ite(again, bor(keep(info, defs::interruption::EVENT), code), num(64, 0));
    }

    void run() {
        Kernel& kernel = step.kernel;
        entering.vcpu = named_bits("vcpu", 32);
        const View old = view(kernel.old);
        kernel.followed = old.address(old.row("[].control"));
        step.name = "vmx_enter";
        step.arguments = {entering.vcpu};
        const auto& touch = [&](const char* table, Term row) {
            kernel.touch({{kernel.objects.find(table), {row}}}, 0);
        };
        const Term thread = old.narrow("cores", "[].thread", kernel.this_core);
        Kernel::Touches touched;
        step.assumptions.push_back(kernel.evaluate(*kernel.spec_function("pre_core_run_guest"),
                                                   {kernel.this_core}, kernel.old, &touched));
        kernel.touch(touched, 1);
        step.assumptions.push_back(
            ult(entering.vcpu, kernel.field("machine", ".frame_limit", {}, kernel.old)));
        step.assumptions.push_back(entering.exists(old));
        step.assumptions.push_back(eq(old.narrow("threads", "[].vcpu", thread), entering.vcpu));
        touch("vcpus", entering.vcpu);
        touch("frames", entering.vcpu);
        touch("cores", kernel.this_core);
        touch("threads", thread);
        launched_before = named_bits("launched before", 8);
        for (llvm::Function& f : kernel.bitcode.core()) {
            if (!f.isDeclaration() && Objects::plain_name(f.getName()) == "vmx_enter")
                step.outcome = step.engine.run(
                    f, {Value::of(kernel.this_core), Value::of(entering.vcpu)}, Guard());
        }
        kernel.touch(step.engine.touched, 1);
        assume(entering);
        if (!entering.entries.empty()) // other cores leave it alone
            step.assumptions.push_back(implies(
                path.term(), eq(zext(launched_before, 64), zext(entering.entries[0].resumes, 64))));
    }
};

// What a VMM finds in its page.
struct Told {
    Exit& exit;
    View then, now;
    Term where, reason;
    Claims claims;

    Term in_row(const char* table, Term row, size_t place, unsigned bytes,
                const World& world) const {
        Step& step = exit.step;
        Offset at;
        at.constant = static_cast<int64_t>(place);
        at.add(zext(row, 64), 4096);
        std::string problem;
        const auto pieces =
            step.kernel.objects.pieces(*step.kernel.objects.find(table), at, bytes, problem);
        if (pieces.size() != 1 || pieces[0].leaf == nullptr || pieces[0].leaf->width != bytes * 8)
            throw Unsupported("no field of " + std::string(table) + " at " + std::to_string(place));
        return zext(world.load(*pieces[0].leaf, pieces[0].indices, exit.path).bits, 64);
    }
    Term page(size_t field, unsigned bytes, const World& world) const {
        return in_row("state_pages", then.narrow("vcpus", "[].state", then.vcpu),
                      abi::vcpu_state_offset + field, bytes, world);
    }
    Term page(size_t field, unsigned bytes) const { return page(field, bytes, exit.step.now); }
    void must(const std::string& what, Term value, Term expected, Term on = nullptr) {
        claims.emplace_back(what,
                            on == nullptr ? eq(value, expected) : implies(on, eq(value, expected)));
    }
    Term code() const { return keep(then[F::EXIT_REASON], 0xffff); }
    Term qualification() const { return then[F::EXIT_QUALIFICATION]; }
    Term when_reason(ExitReason r) const { return eq(reason, number_of(r)); }
};

struct Row {
    Reason code;
    ExitReason reason;
};
constexpr Row reasons[] = {
    {Reason::EXCEPTION_OR_NMI, ExitReason::exception},
    {Reason::TRIPLE_FAULT, ExitReason::shutdown},
    {Reason::INTERRUPT_WINDOW, ExitReason::window},
    {Reason::NMI_WINDOW, ExitReason::nmi_window},
    {Reason::TASK_SWITCH, ExitReason::task_switch},
    {Reason::CPUID, ExitReason::cpuid},
    {Reason::HLT, ExitReason::hlt},
    {Reason::INVD, ExitReason::invd},
    {Reason::INVLPG, ExitReason::invlpg},
    {Reason::RDPMC, ExitReason::rdpmc},
    {Reason::RDTSC, ExitReason::rdtsc},
    {Reason::RSM, ExitReason::rsm},
    {Reason::VMCALL, ExitReason::vmcall},
    {Reason::CR_ACCESS, ExitReason::cr_access},
    {Reason::MOV_DR, ExitReason::dr_access},
    {Reason::IO, ExitReason::io},
    {Reason::RDMSR, ExitReason::rdmsr},
    {Reason::WRMSR, ExitReason::wrmsr},
    {Reason::ENTRY_GUEST_STATE, ExitReason::entry_refused},
    {Reason::ENTRY_MSR_LOAD, ExitReason::entry_refused},
    {Reason::MWAIT, ExitReason::mwait},
    {Reason::MONITOR, ExitReason::monitor},
    {Reason::PAUSE, ExitReason::pause},
    {Reason::APIC_ACCESS, ExitReason::apic_access},
    {Reason::VIRTUALIZED_EOI, ExitReason::eoi},
    {Reason::GDTR_IDTR_ACCESS, ExitReason::descriptor_access},
    {Reason::LDTR_TR_ACCESS, ExitReason::descriptor_access},
    {Reason::EPT_VIOLATION, ExitReason::memory},
    {Reason::RDTSCP, ExitReason::rdtscp},
    {Reason::WBINVD, ExitReason::wbinvd},
    {Reason::XSETBV, ExitReason::xsetbv},
    {Reason::APIC_WRITE, ExitReason::apic_write},
};
constexpr Reason vmx_instructions[] = {
    Reason::GETSEC, Reason::VMCLEAR,  Reason::VMLAUNCH, Reason::VMPTRLD, Reason::VMPTRST,
    Reason::VMREAD, Reason::VMRESUME, Reason::VMWRITE,  Reason::VMXOFF,  Reason::VMXON,
    Reason::INVEPT, Reason::INVVPID,  Reason::VMFUNC};

Term is_code(const Told& t, Reason r) { return is(t.code(), static_cast<uint64_t>(r)); }

// Appendix C.
Term expected_reason(const Told& t) {
    Term all = number_of(ExitReason::unknown);
    for (const Row& r : reasons)
        all = ite(is_code(t, r.code), number_of(r.reason), all);
    for (const Reason r : vmx_instructions)
        all = ite(is_code(t, r), number_of(ExitReason::svm_vmx_instruction), all);
    const Term refused = lnot(is(zext(named_bits("vmx_run", 32), 64), 0));
    return ite(refused, number_of(ExitReason::entry_refused), all);
}

// Of the kernel alone: host interrupts, NMIs, its timer, and what a guest's own use of the debug
// registers and a window that nobody asked for come to.
Term is_own(const Told& t) {
    const Term nmi = is(keep(t.then[F::EXIT_INTERRUPTION_INFO],
                             defs::interruption::VALID | defs::interruption::TYPE),
                        defs::interruption::VALID | 2u << defs::interruption::TYPE_SHIFT);
    const Term window =
        has(zext(t.then.narrow("vcpus", "[].vmx.requests", t.then.vcpu), 64), abi::request::window);
    const Term debug = has(t.then.row("[].extra_exits"), abi::extra_exit::dr_access);
    return land(
        is(zext(named_bits("vmx_run", 32), 64), 0),
        lor({is_code(t, Reason::EXTERNAL_INTERRUPT), is_code(t, Reason::INIT),
             is_code(t, Reason::SIPI), is_code(t, Reason::TPR_BELOW_THRESHOLD),
             is_code(t, Reason::PREEMPTION_TIMER), land(is_code(t, Reason::EXCEPTION_OR_NMI), nmi),
             land(is_code(t, Reason::INTERRUPT_WINDOW), lnot(window)),
             land(is_code(t, Reason::MOV_DR), lnot(debug))}));
}

struct Register {
    const char* name;
    size_t page;
    F field;
};

void segment_claims(Told& t, const char* name, size_t place, unsigned n, Term on) {
    const auto field = [&](F base) { return t.then[defs::plus(base, n)]; };
    const std::string s = name;
    t.must(s + ".limit", t.page(place + 4, 4), field(F::GUEST_ES_LIMIT), on);
    t.must(s + ".base", t.page(place + 8, 8), field(F::GUEST_ES_BASE), on);
    if (n >= defs::SEGMENTS)
        return;
    const Term rights = field(F::GUEST_ES_RIGHTS);
    // Access rights 7:0 and 15:12 (§24.4.1) are attributes 7:0 and 11:8; unusable is not present.
    const Term low = keep(rights, 0xff);
    const Term attributes = bor(low, keep(lshr(rights, num(64, 4)), 0xf00));
    t.must(s + ".selector", t.page(place, 2), field(F::GUEST_ES_SELECTOR), on);
    t.must(s + ".attributes", t.page(place + 2, 2),
           ite(has(rights, defs::rights::UNUSABLE), keep(attributes, ~uint64_t{0x80}), attributes),
           on);
}

Term seen(const Told& t, F field, F shadow, F mask) {
    const Term owned = t.then[mask];
    return bor(band(t.then[field], bxor(owned, num(64, ~uint64_t{0}))),
               band(t.then[shadow], owned));
}

void common_claims(Told& t) {
    t.must("rsp", t.page(offsetof(VcpuState, gpr) + 32, 8), t.then[F::GUEST_RSP]);
    t.must("rip", t.page(offsetof(VcpuState, rip), 8), t.then[F::GUEST_RIP]);
    t.must("rflags", t.page(offsetof(VcpuState, rflags), 8), t.then[F::GUEST_RFLAGS]);
    t.must("interrupt_shadow", t.page(offsetof(VcpuState, interrupt_shadow), 4),
           when(has(t.then[F::GUEST_INTERRUPTIBILITY], 3), 1));
    t.must("virtual_apics", t.page(offsetof(VcpuState, virtual_apics), 4),
           t.then.limit(offsetof(core::VmxLimits, virtual_apics)));
    const size_t pending = offsetof(VcpuState, pending_interrupt);
    t.must("pending_interrupt", t.page(pending, 8),
           ite(is(t.then.row("[].delivering"), 0), t.page(pending, 8, t.exit.back), num(64, 0)));
    t.must("interrupted_event", t.page(offsetof(VcpuState, interrupted_event), 8), t.exit.event);
    t.must("nothing is left to inject", t.now.row("[].vmx.event"), num(64, 0));
    t.must("exit_reason", t.page(offsetof(VcpuState, exit_reason), 4), t.reason);
    t.must("reason in the answer", t.reason, expected_reason(t));
    t.claims.emplace_back("an affair of the kernel's is told", lnot(is_own(t)));
    // In the middle of an instruction, or between two, there is no next one.
    std::vector<Term> between;
    for (const ExitReason r :
         {ExitReason::unknown, ExitReason::exception, ExitReason::shutdown, ExitReason::window,
          ExitReason::nmi_window, ExitReason::entry_refused, ExitReason::memory, ExitReason::eoi,
          ExitReason::apic_write, ExitReason::apic_access})
        between.push_back(t.when_reason(r));
    const Term length = t.then[F::EXIT_INSTRUCTION_LENGTH];
    t.must("next_rip", t.page(offsetof(VcpuState, next_rip), 8),
           ite(lor(lor(between), is(length, 0)), num(64, 0), add(t.then[F::GUEST_RIP], length)));
}

void wanted_claims(Told& t, Term wanted) {
    static constexpr std::pair<const char*, size_t> segments[] = {
        {"es", offsetof(VcpuState, es)},     {"cs", offsetof(VcpuState, cs)},
        {"ss", offsetof(VcpuState, ss)},     {"ds", offsetof(VcpuState, ds)},
        {"fs", offsetof(VcpuState, fs)},     {"gs", offsetof(VcpuState, gs)},
        {"ldtr", offsetof(VcpuState, ldtr)}, {"tr", offsetof(VcpuState, tr)},
        {"gdtr", offsetof(VcpuState, gdtr)}, {"idtr", offsetof(VcpuState, idtr)}};
    static constexpr Register system[] = {
        {"sysenter_cs", offsetof(VcpuState, sysenter_cs), F::GUEST_SYSENTER_CS},
        {"sysenter_esp", offsetof(VcpuState, sysenter_esp), F::GUEST_SYSENTER_ESP},
        {"sysenter_eip", offsetof(VcpuState, sysenter_eip), F::GUEST_SYSENTER_EIP},
        {"pat", offsetof(VcpuState, pat), F::GUEST_PAT}};
    for (unsigned n = 0; n < std::size(segments); ++n)
        segment_claims(t, segments[n].first, segments[n].second, n, has(wanted, group::segments));
    for (const Register& r : system)
        t.must(r.name, t.page(r.page, 8), t.then[r.field], has(wanted, group::system));
    constexpr size_t list = offsetof(core::Vcpu, vmx) + offsetof(core::VmxState, msrs) +
                            offsetof(core::MsrEntry, value);
    for (unsigned i = 0; i < core::switched_count; ++i) {
        static constexpr size_t places[] = {offsetof(VcpuState, star), offsetof(VcpuState, lstar),
                                            offsetof(VcpuState, cstar), offsetof(VcpuState, sfmask),
                                            offsetof(VcpuState, kernel_gs_base)};
        t.must("MSR " + std::to_string(i), t.page(places[i], 8),
               t.in_row("vcpus", t.then.vcpu, list + i * sizeof(core::MsrEntry), 8, t.exit.back),
               has(wanted, group::system));
    }
    t.must("dr7", t.page(offsetof(VcpuState, dr7), 8), t.then[F::GUEST_DR7],
           has(wanted, group::debug));
}

void mode_claims(Told& t) {
    const Term string = has(t.qualification(), defs::io_access::STRING);
    const Term on = lor(lnot(t.when_reason(ExitReason::io)), string);
    t.must("cr0", t.page(offsetof(VcpuState, cr0), 8),
           seen(t, F::GUEST_CR0, F::CR0_SHADOW, F::CR0_MASK), on);
    t.must("cr4", t.page(offsetof(VcpuState, cr4), 8),
           seen(t, F::GUEST_CR4, F::CR4_SHADOW, F::CR4_MASK), on);
    t.must("cr3", t.page(offsetof(VcpuState, cr3), 8), t.then[F::GUEST_CR3], on);
    t.must("efer", t.page(offsetof(VcpuState, efer), 8), t.then[F::GUEST_EFER], on);
    t.must("cpl", t.page(offsetof(VcpuState, cpl), 4),
           keep(lshr(t.then[F::GUEST_SS_RIGHTS], num(64, 5)), 3), on);
    segment_claims(t, "cs as to the mode", offsetof(VcpuState, cs), 1, on);
    segment_claims(t, "ss as to the mode", offsetof(VcpuState, ss), 2, on);
}

void info_claims(Told& t) {
    const auto info = [&](size_t i) { return t.page(offsetof(VcpuState, info) + 8 * i, 8); };
    const Term q = t.qualification();
    const Term interruption = t.then[F::EXIT_INTERRUPTION_INFO];
    const auto flag = [&](uint64_t bits, uint64_t value) { return when(has(q, bits), value); };
    t.must("guest-physical address", info(0), t.then[F::GUEST_PHYSICAL_ADDRESS],
           t.when_reason(ExitReason::memory));
    namespace ept = defs::ept_violation;
    const Term walk = land(has(q, ept::LINEAR_VALID), lnot(has(q, ept::TRANSLATED)));
    t.must("memory access", info(1),
           bor(bor(flag(ept::WRITE, abi::memory_flag::write),
                   flag(ept::FETCH, abi::memory_flag::fetch)),
               bor(flag(ept::READABLE | ept::WRITABLE | ept::EXECUTABLE, abi::memory_flag::present),
                   when(walk, abi::memory_flag::page_walk))),
           t.when_reason(ExitReason::memory));
    t.must("vector", info(0), keep(interruption, 0xff), t.when_reason(ExitReason::exception));
    t.must("error code", info(1),
           ite(has(interruption, defs::interruption::ERROR_CODE_VALID),
               t.then[F::EXIT_INTERRUPTION_ERROR_CODE], num(64, 0)),
           t.when_reason(ExitReason::exception));
    t.must("fault address", info(2), q, t.when_reason(ExitReason::exception));
    for (const ExitReason r : {ExitReason::eoi, ExitReason::apic_write, ExitReason::apic_access})
        t.must("qualification", info(0), q, t.when_reason(r));
    // Bits 5:4 of a control register's are 1 where it is read; bit 4 of a debug register's.
    const Term reads = is(keep(q, 0x30), 0x10);
    for (const ExitReason r : {ExitReason::cr_access, ExitReason::dr_access})
        t.must("register", info(0), bor(keep(q, 0xf), ite(reads, num(64, 0), num(64, 16))),
               t.when_reason(r));
    t.must("exit reason of the processor", info(0), t.code(),
           land(lor({t.when_reason(ExitReason::svm_vmx_instruction),
                     t.when_reason(ExitReason::unknown), t.when_reason(ExitReason::entry_refused)}),
                is(zext(named_bits("vmx_run", 32), 64), 0)));
    t.must("why VMX refused", info(1), t.then[F::INSTRUCTION_ERROR],
           lnot(is(zext(named_bits("vmx_run", 32), 64), 0)));
}

Term wanted_of(const Step& step) {
    for (const VolatileRead& r : step.engine.volatile_reads) {
        if (r.object->name == "state_pages" &&
            r.offset == static_cast<int64_t>(abi::vcpu_state_offset + offsetof(VcpuState, wanted)))
            return zext(r.value, 64);
    }
    throw Unsupported("nobody asks what the VMM wants");
}

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
    common_claims(told);
    wanted_claims(told, wanted_of(step));
    mode_claims(told);
    info_claims(told);
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
