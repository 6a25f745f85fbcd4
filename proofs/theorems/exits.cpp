// A theorem about a guest's run ends where the processor takes over; these go on after it.
#include "exit_view.hpp"
#include "kernel/core/entry.hpp"

#include <algorithm>

namespace horos::proofs {

using namespace entry;

namespace {

// Reasons that are no exit of the guest's: the kernel did not let it run on.
Term of_kernel(Term reason) {
    return lor(eq(reason, number_of(ExitReason::notified)),
               eq(reason, number_of(ExitReason::deadline)));
}

// The run is over for thread and virtual CPU.
void over_goals(Told& t) {
    const auto field = [&](const char* table, const char* path, Term row) {
        return zext(t.exit.step.kernel.field(table, path, {row}, t.exit.step.now, t.path), 64);
    };
    t.must("the virtual CPU's thread", field("vcpus", "[].thread", t.exit.after->vcpu), num(64, 0));
    t.must("the thread's virtual CPU", field("threads", "[].vcpu", t.exit.after->thread),
           num(64, 0));
}

// A round that is the kernel's own: the guest goes on, an event that was cut off comes first.
void again_goals(Exit& exit, Result& result) {
    for (auto& [guard, world] : exit.again) {
        Told t{exit, guard, nullptr, nullptr, truth(true), {}};
        t.goals.emplace_back("the guest goes on though it stopped for a reason of its own",
                             land(guard.term(), lnot(is_own(t))));
        const auto now = [&](size_t offset, unsigned bytes) {
            return bytes_of(exit.step, world, guard, "vmcbs", exit.after->control, offset, bytes);
        };
        t.must("the event that was cut off comes first", now(offsetof(Vmcb, control.event_inj), 8),
               to_replay(t.block(offsetof(Vmcb, control.exit_int_info), 8)));
        const Term debug = ule(t.code(), num(64, 0x3f));
        t.must("the guest has the breakpoint registers",
               keep(now(offsetof(Vmcb, control.intercept_dr), 4), 0x000f'000f), num(64, 0), debug);
        t.must("they are loaded",
               zext(exit.step.kernel.field("vcpus", "[].dr_live", {exit.after->vcpu}, world, guard),
                    64),
               num(64, 1), debug);
        prove_all(exit.step, result, t.goals);
    }
}

// Nothing goes on, neither this run nor another thread, unless the processor has the host's control
// registers back: each is read after the exit, and found to be what it was before the entry.
void host_goals(Exit& exit, Result& result) {
    const auto& readings = exit.step.engine.readings;
    std::vector<Term> any{exit.step.over()};
    for (const auto& [guard, world] : exit.again)
        any.push_back(guard.term());
    const Term goes_on = lor(any);
    Goals goals;
    for (const char* part : {".0", ".1", ".2"}) { // CR0, CR3, CR4
        const auto is_host = [&](const Reading& r) {
            return r.name.find("mov %cr0, ") != std::string::npos && r.name.ends_with(part);
        };
        const auto middle = readings.begin() + static_cast<long>(exit.read_before);
        const auto before =
            std::find_if(std::make_reverse_iterator(middle), readings.rend(), is_host);
        const auto after = std::find_if(middle, readings.end(), is_host);
        if (before == readings.rend() || after == readings.end() ||
            !exit.after->guard.implies(before->path) || !after->path.implies(exit.after->guard))
            throw Unsupported("nobody looks at the host's control registers");
        const Term changed = lnot(eq(before->value, after->value));
        const std::string name = std::string("host control register ") + part[1];
        goals.emplace_back(name + " is not checked",
                           land({exit.after->guard.term(), goes_on, changed}));
        goals.emplace_back(name + " is not read on every way out",
                           land({exit.after->guard.term(), goes_on, lnot(after->path.term())}));
    }
    prove_all(exit.step, result, goals);
}

// Whoever goes on has his own XCR0, and the guest's is kept; the kernel holds its lock again.
void processor_goals(Exit& exit, Result& result) {
    Kernel& kernel = exit.step.kernel;
    const Guard& path = exit.after->guard;
    const Term over = land(path.term(), exit.step.over());
    const auto guests = [&](World& world, const Guard& guard) {
        return kernel.field("vcpus", "[].xcr0", {exit.after->vcpu}, world, guard);
    };
    const auto has_left = [&](World& world, const Guard& guard) {
        const Term has = kernel.field("machine", ".has_xsave", {}, world, guard);
        return lor(eq(has, num(8, 0)), eq(guests(world, guard), exit.after->xcr0));
    };
    World& now = exit.step.now;
    Goals goals;
    goals.emplace_back("XCR0 is not the host's again",
                       land(over, lnot(kernel.xcr0_is_host(now, path))));
    goals.emplace_back("the guest's XCR0 is not kept", land(over, lnot(has_left(now, path))));
    goals.emplace_back("the kernel's lock is not held again",
                       land(over, lnot(kernel.holds_lock(now, path))));
    for (auto& [guard, world] : exit.again) {
        const auto must = [&, g = &guard](const char* what, Term holds) {
            goals.emplace_back(what, land(g->term(), lnot(holds)));
        };
        must("the guest goes on with another XCR0 than it has",
             kernel.xcr0_is(guests(world, guard), world, guard));
        must("the guest goes on with another XCR0 than it left", has_left(world, guard));
        must("the guest goes on while the kernel's lock is held",
             lnot(kernel.holds_lock(world, guard)));
    }
    prove_all(exit.step, result, goals);
}

// Each path reads `wanted` once, so that all reads can be taken for one.
Term one_wanted(Exit& exit) {
    Term found = nullptr;
    for (const VolatileRead& r : exit.step.engine.volatile_reads) {
        if (r.object->name != "state_pages" ||
            r.offset != static_cast<int64_t>(abi::vcpu_state_offset + offsetof(VcpuState, wanted)))
            continue;
        if (found == nullptr)
            found = r.value;
        else
            exit.step.assumptions.push_back(eq(found, r.value));
    }
    if (found == nullptr)
        throw Unsupported("nobody asks what the VMM wants");
    return zext(found, 64);
}

// Several at once, as they are much alike; one by one when that fails, to say which.
void prove_in_groups(Step& step, Result& result, const Goals& goals) {
    constexpr size_t at_once = 64;
    for (size_t i = 0; i < goals.size(); i += at_once) {
        const size_t end = std::min(i + at_once, goals.size());
        std::vector<Term> some;
        for (size_t n = i; n < end; ++n)
            some.push_back(goals[n].second);
        const Answer answer = step.prove(lor(some));
        result.rounds += answer.rounds;
        if (answer.verdict != Verdict::proved) {
            prove_all(step, result,
                      Goals(goals.begin() + static_cast<long>(i),
                            goals.begin() + static_cast<long>(end)));
            continue;
        }
        result.goals += static_cast<unsigned>(some.size());
        for (const std::string& l : answer.used)
            result.lemmas.push_back(l.substr(0, l.find('(')));
    }
}

// What follows an exit has no undefined behaviour either, whatever the processor has stored. What
// comes before it is safety/'s.
void safety_goals(Exit& exit, Result& result) {
    Goals goals;
    const auto& all = exit.step.engine.obligations;
    for (size_t i = exit.before; i < all.size(); ++i) {
        if (is_false(all[i].term()))
            continue;
        goals.emplace_back(all[i].kind + " (" + all[i].place + ")", all[i].term());
    }
    prove_in_groups(exit.step, result, goals);
}

Result after_exit(Exit& exit) {
    Step& step = exit.step;
    Result result = begin(step);
    result.bound = std::to_string(step.outcome.steps) + " instructions, past one VMRUN";
    if (!exit.after)
        throw Unsupported("no path comes to VMRUN");
    step.kernel.touch({{step.kernel.objects.find("vcpus"), {exit.after->vcpu}},
                       {step.kernel.objects.find("threads"), {exit.after->thread}}},
                      0);
    const Term wanted = one_wanted(exit);
    const Term word = step.outcome.value.bits;
    const Term reason = lshr(word, num(64, core::result_value_shift));
    const Guard path = exit.after->guard;
    // Neither another thread's turn nor the next round's own reason not to run.
    const Term valid = land({step.outcome.returns.term(), lnot(has(word, core::result_switch)),
                             lnot(of_kernel(reason))});
    safety_goals(exit, result);
    Told t{exit, path, word, wanted, valid, {}};
    told_goals(t);
    over_goals(t);
    // A reason of the kernel's is one that the next round has found and stored.
    t.goals.emplace_back(
        "a reason that nobody has stored",
        land({path.term(), step.outcome.returns.term(), lnot(has(word, core::result_switch)),
              of_kernel(reason), lnot(eq(t.page(offsetof(VcpuState, exit_reason), 4), reason))}));
    prove_all(step, result, t.goals);
    again_goals(exit, result);
    host_goals(exit, result);
    processor_goals(exit, result);
    if (consistent(step.assumptions, land(path.term(), valid), step.settings.limits.milliseconds) !=
        Verdict::proved) {
        result.verdict = Verdict::unknown;
        result.details.push_back("vacuous: no exit is told");
    }
    finish(result);
    return result;
}

} // namespace

std::vector<Theorem> exit_theorems(const Bitcode&) {
    return {{"exit/core_run_guest", "exit",
             "after an exit the VMM is told what the processor says, and nothing goes wrong",
             [](Bitcode& code, const Settings& settings) {
                 Exit exit(code, settings);
                 exit.step.run_export(*code.core().getFunction("core_run_guest"));
                 return after_exit(exit);
             }},
            {"exit/vcpu_run", "exit", "so it is after the exit that ends a vcpu_run",
             [](Bitcode& code, const Settings& settings) {
                 Exit exit(code, settings);
                 exit.step.run_hypercall("vcpu_run");
                 return after_exit(exit);
             }}};
}

} // namespace horos::proofs
