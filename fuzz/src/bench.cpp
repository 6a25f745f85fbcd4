#include "horos/fuzz/bench.hpp"

#include "horos/fuzz/campaign.hpp"
#include "horos/fuzz/session.hpp"
#include "process.hpp"

#include <algorithm>
#include <chrono>
#include <sched.h>
#include <stdexcept>
#include <thread>
#include <unistd.h>

namespace horos::fuzz {

namespace {

using Clock = std::chrono::steady_clock;

class Stopwatch {
public:
    explicit Stopwatch(pid_t target) : target_(target), begun_(Clock::now()), used_(processor()) {}
    Rate rate(uint64_t count) const {
        const std::chrono::duration<double> wall = Clock::now() - begun_;
        const std::chrono::duration<double> core = processor() - used_;
        return {double(count) / wall.count(), double(count) / core.count()};
    }

private:
    std::chrono::nanoseconds processor() const {
        return processorTime(target_) + processorTime(getpid());
    }
    pid_t target_;
    Clock::time_point begun_;
    std::chrono::nanoseconds used_;
};

// The children that we start from now on stay on this processor with us.
bool stayOnOneProcessor() {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(sched_getcpu(), &set);
    return sched_setaffinity(0, sizeof set, &set) == 0;
}

void keepBest(Rate& best, const Rate& rate) {
    best.wall = std::max(best.wall, rate.wall);
    best.core = std::max(best.core, rate.core);
}

// A guest that halts at once, with the windows that most cases use.
Case measuredCase() {
    Case c;
    c.slot = baseCase(Mode::Long64, false);
    c.slot.windows = 1u << unsigned(WindowId::Tables) | 1u << unsigned(WindowId::Stack);
    // An ordinary VMRUN, as in the bare loop: no flush beyond what loading CR3 implies.
    c.slot.control[offsetof(horos::svm::ControlArea, tlb_control) / 8] &= 0xffffffff;
    c.slot.codeQwords = 2;
    c.slot.code[0] = 0xf4f4f4f4'90909090;
    c.slot.code[1] = 0xf4f4f4f4'f4f4f4f4;
    return c;
}

// MOV EAX, imm32 with a value of its own; HLT.
uint64_t programFor(uint64_t number) {
    return 0xf4f4f4'00000000'b8ull | (number & 0xffffffff) << 8;
}

Rate bareRate(Target& target, uint64_t count) {
    const Case c = measuredCase();
    target.placeForBareLoop(c.slot);
    Stopwatch watch(target.pid());
    if (target.command(wire::Command::BareLoop, count) != TargetState::Running)
        throw std::runtime_error("the bare loop did not end:\n" + target.log());
    return watch.rate(count);
}

Rate caseRate(Target& target, uint64_t count, bool fresh) {
    Case c = measuredCase();
    c.slot.flags = wire::FRESH_CODE;
    static wire::ResultSlot result;
    uint64_t read = target.submitted();
    const uint64_t last = read + count;
    Stopwatch watch(target.pid());
    while (read < last) {
        while (target.submitted() < last && target.submitted() - read < wire::SLOTS) {
            if (fresh)
                c.slot.code[0] = programFor(target.submitted());
            c.slot.id = target.submitted();
            target.submit(c.slot);
            c.slot.flags = fresh ? wire::FRESH_CODE : 0;
        }
        target.publish();
        uint64_t done = std::min(target.finished(), target.submitted());
        if (done == read) {
            const uint64_t soon = std::min<uint64_t>(wire::SLOTS - 64, target.submitted() - read);
            if (target.waitFor(read + soon) != TargetState::Running)
                throw std::runtime_error("the target was lost while measured:\n" + target.log());
            continue;
        }
        for (; read < done; ++read) {
            target.fetch(read, result);
            if (result.id != read || result.status != wire::Status::Exit)
                throw std::runtime_error("a measured case did not end as it should");
        }
    }
    return watch.rate(count);
}

Rate judgedRate(Executor& executor, Oracle& oracle, Target& target, uint64_t count, bool fresh) {
    Case c = measuredCase();
    Stopwatch watch(target.pid());
    for (uint64_t i = 0; i < count; ++i) {
        if (fresh)
            c.slot.code[0] = programFor(i);
        c.slot.gpr[1] = i;
        Run run;
        run.input = c;
        run.prediction = oracle.predict(c);
        executor.submit(std::move(run));
    }
    executor.finish();
    return watch.rate(count);
}

} // namespace

BenchResult bench(const TargetOptions& options, unsigned rounds, uint64_t cases) {
    BenchResult r;
    r.oneCore = stayOnOneProcessor();
    auto target = makeTarget(options);
    r.target = name(options.kind);
    r.version = versionOf(options.kind);
    const svm_model::Profile profile = svm_model::find_profile(defaultProfile(options.kind));
    Oracle oracle(profile);
    oracle.sameTables = true;
    const Triage triage;
    Executor executor(*target, oracle, [&](Run& run) {
        if (judge(oracle, run, triage).divergence)
            throw std::runtime_error("a measured case did not end as the model says");
    });
    const auto begun = Clock::now();
    bringUp(*target);
    r.startSeconds = std::chrono::duration<double>(Clock::now() - begun).count();
    target->setHangLimit(std::chrono::seconds(10));
    for (r.rounds = 0; r.rounds < rounds; ++r.rounds) {
        keepBest(r.bare, bareRate(*target, cases));
        keepBest(r.unchanged, caseRate(*target, cases, false));
        keepBest(r.fresh, caseRate(*target, cases, true));
    }
    executor.start(); // which has its own idea of what is in place
    for (unsigned i = 0; i < rounds; ++i) {
        keepBest(r.unchangedJudged, judgedRate(executor, oracle, *target, cases, false));
        keepBest(r.freshJudged, judgedRate(executor, oracle, *target, cases, true));
    }
    return r;
}

} // namespace horos::fuzz
