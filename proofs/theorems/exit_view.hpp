// A guest's exit, as the theorems about what the VMM is told see it: a run that goes on after the
// processor has taken over (svm_run), with a control block and a shared page in which the processor
// and the guest have left anything.
#pragma once
#include "asked.hpp"

namespace horos::proofs::entry {

using abi::ExitReason;
using abi::VcpuState;
using Vmcb = horos::svm::Vmcb;

// The moment after the first VMRUN of the step.
struct AfterRun {
    Guard guard;
    World world;
    Term thread, vcpu, control, state;
    Term xcr0; // that the guest has left
};

struct Exit {
    Step step;
    std::optional<AfterRun> after;
    size_t before = 0;                          // obligations of what comes before it
    size_t read_before = 0;                     // readings, likewise
    std::vector<std::pair<Guard, World>> again; // before the next VMRUN

    Exit(Bitcode& code, const Settings& settings) : step(code, settings) {
        step.assumptions.push_back(step.kernel.xcr0_is_host(step.kernel.old));
        const auto usual = step.kernel.policy.external;
        step.kernel.policy.external = [this, usual](Executor& engine, const Call& call,
                                                    Value& out) {
            if (call.name == "shell_take_interrupt") {
                anything(engine.world(), call.guard, "[].reschedule");
                return true;
            }
            if (call.name != "svm_run")
                return usual(engine, call, out);
            if (after) {
                again.emplace_back(call.guard, engine.world());
                return usual(engine, call, out);
            }
            run_guest(engine, call);
            return true;
        };
    }

    // An interrupt's own theorems say what it does; of all that, only this is looked at later.
    void anything(World& world, const Guard& guard, const char* path) {
        const Object* cores = step.kernel.objects.find("cores");
        for (const auto& [key, leaf] : cores->leaves) {
            if (leaf->path != path)
                continue;
            proofs::Entry e;
            e.guard = guard;
            e.leaf = leaf.get();
            e.indices = {step.kernel.this_core};
            e.value = Value::of(fresh_bits("after the guest", leaf->width));
            world.add(*cores, e);
        }
    }
    void run_guest(Executor& engine, const Call& call) {
        World& world = engine.world();
        const auto field = [&](const char* table, const char* path, Term row) {
            return step.kernel.field(table, path, {row}, world, call.guard);
        };
        AfterRun a{call.guard,
                   {},
                   field("cores", "[].thread", step.kernel.this_core),
                   nullptr,
                   nullptr,
                   nullptr,
                   fresh_bits("xcr0", 64)};
        a.vcpu = field("threads", "[].vcpu", a.thread);
        a.control = field("vcpus", "[].control", a.vcpu);
        a.state = field("vcpus", "[].state", a.vcpu);
        const auto havoc = [&](const char* table, Term row) {
            proofs::Entry e;
            e.kind = proofs::Entry::Kind::havoc;
            e.guard = call.guard;
            e.row = row;
            e.high = 4096;
            e.number = next_havoc();
            world.add(*step.kernel.objects.find(table), e);
        };
        havoc("vmcbs", a.control);
        havoc("state_pages", a.state);
        anything(world, call.guard, "[].reschedule");
        // Not every processor lets all XSETBVs exit (kernel/svm/enter.cpp).
        step.kernel.set_xcr0(a.xcr0, world, call.guard);
        a.world = world;
        after = a;
        before = engine.obligations.size();
        read_before = engine.readings.size();
    }
};

inline Term has(Term value, uint64_t bits) {
    return lnot(eq(band(value, num(64, bits)), num(64, 0)));
}
inline Term keep(Term value, uint64_t bits) { return band(value, num(64, bits)); }
inline Term is(Term value, uint64_t n) { return eq(value, num(64, n)); }

inline Term number_of(ExitReason r) { return num(64, static_cast<uint64_t>(r)); }

// What is compared: the control block as the processor left it, the page as the VMM finds it.
struct Told {
    Exit& exit;
    Guard path;
    Term word; // that vcpu_run gives back
    Term wanted;
    Term valid; // on these paths
    Goals goals;

    Term block(size_t offset, unsigned bytes) {
        return bytes_of(exit.step, exit.after->world, path, "vmcbs", exit.after->control, offset,
                        bytes);
    }
    Term page_in(const World& world, size_t field, unsigned bytes) {
        return bytes_of(exit.step, world, path, "state_pages", exit.after->state,
                        abi::vcpu_state_offset + field, bytes);
    }
    Term page(size_t field, unsigned bytes) { return page_in(exit.step.now, field, bytes); }
    void must(const std::string& what, Term value, Term expected, Term on = nullptr) {
        goals.emplace_back(what, land({path.term(), valid, on == nullptr ? truth(true) : on,
                                       lnot(eq(value, expected))}));
    }
    void same(const std::string& what, size_t field, size_t place, unsigned bytes,
              Term on = nullptr) {
        must(what, page(field, bytes), block(place, bytes), on);
    }
    Term code() { return block(offsetof(Vmcb, control.exit_code), 8); }
    Term info1() { return block(offsetof(Vmcb, control.exit_info_1), 8); }
    Term info2() { return block(offsetof(Vmcb, control.exit_info_2), 8); }
};

// Host interrupts, NMI, INIT, and the guest's first use of DR0..DR3: the kernel's own affairs.
Term is_own(Told& t);
// An event whose delivery was cut off, as it is to be injected again.
Term to_replay(Term info);
// What the VMM is told: at every exit, in the groups that it wants, and for which reason.
void told_goals(Told& t);

} // namespace horos::proofs::entry
