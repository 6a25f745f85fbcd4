// A guest's exit on VMX, as the theorem about it sees it.
#pragma once
#include "vmx_entering.hpp"

#include <horos/abi/vcpu_state.hpp>

namespace horos::proofs::vmx {

namespace defs = horos::vmx;
using abi::ExitReason;
using abi::VcpuState;
using Reason = defs::ExitReason;

inline Term number_of(ExitReason r) { return num(64, static_cast<uint64_t>(r)); }

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

// The kernel's own affairs: vmx_told.cpp.
Term is_own(const Told& t);
// What the VMM is told, at every exit, in the groups that it wants, and for which reason.
void told_claims(Told& t);

} // namespace horos::proofs::vmx
