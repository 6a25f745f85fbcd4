#include "horos/fuzz/bench.hpp"

#include "horos/fuzz/session.hpp"

#include <algorithm>
#include <chrono>
#include <stdexcept>
#include <thread>

namespace horos::fuzz {

namespace {

using Clock = std::chrono::steady_clock;

double since(Clock::time_point begun) {
    return std::chrono::duration<double>(Clock::now() - begun).count();
}

double bareRate(Target& target, uint64_t count) {
    wire::CaseSlot slot = baseCase(Mode::Long64, false);
    target.memory().write(wire::CASES_PA, &slot, sizeof slot);
    auto begun = Clock::now();
    if (target.command(wire::Command::BareLoop, count) != TargetState::Running)
        throw std::runtime_error("the bare loop did not end:\n" + target.log());
    return double(count) / since(begun);
}

// Every case is whole: VMCB and registers in, VMRUN, everything back out and read by us.
double caseRate(Target& target, uint64_t count, bool fresh) {
    wire::CaseSlot slot = baseCase(Mode::Long64, false);
    slot.windows = 1u << unsigned(WindowId::Tables) | 1u << unsigned(WindowId::Stack);
    slot.flags = wire::FRESH_CODE;
    slot.codeQwords = 2;
    slot.code[0] = 0xf4f4f4f4'90909090;
    slot.code[1] = 0xf4f4f4f4'f4f4f4f4;
    static wire::ResultSlot result;
    uint64_t read = target.submitted();
    const uint64_t last = read + count;
    auto begun = Clock::now();
    while (read < last) {
        while (target.submitted() < last && target.submitted() - read < wire::SLOTS) {
            if (fresh) // another program each time: MOV EAX, imm32 with a new value, HLT
                slot.code[0] = 0xf4f4f4'00000000'b8ull | (target.submitted() & 0xffffffff) << 8;
            slot.id = target.submitted();
            target.submit(slot);
            slot.flags = fresh ? wire::FRESH_CODE : 0;
        }
        target.publish();
        uint64_t done = std::min(target.finished(), target.submitted());
        if (done == read) {
            if (target.waitFor(read + std::min<uint64_t>(64, last - read)) != TargetState::Running)
                throw std::runtime_error("the target was lost while measured:\n" + target.log());
            continue;
        }
        for (; read < done; ++read) {
            target.fetch(read, result);
            if (result.id != read || result.status != wire::Status::Exit)
                throw std::runtime_error("a measured case did not end as it should");
        }
    }
    return double(count) / since(begun);
}

} // namespace

BenchResult bench(const TargetOptions& options, unsigned rounds, uint64_t cases) {
    auto target = makeTarget(options);
    BenchResult r;
    r.target = name(options.kind);
    r.version = versionOf(options.kind);
    auto begun = Clock::now();
    bringUp(*target);
    r.startSeconds = since(begun);
    target->setHangLimit(std::chrono::seconds(10));
    for (r.rounds = 0; r.rounds < rounds; ++r.rounds) {
        r.bare = std::max(r.bare, bareRate(*target, cases));
        r.unchanged = std::max(r.unchanged, caseRate(*target, cases, false));
        r.fresh = std::max(r.fresh, caseRate(*target, cases, true));
    }
    return r;
}

} // namespace horos::fuzz
