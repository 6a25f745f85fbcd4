// core-replay SEED STEPS: what the specification answers to a random sequence of hypercalls, line
// by line as user/native/replay writes it. No code of the kernel runs here but that of its start.
#include "spec/calls.hpp"
#include "spec/events.hpp"
#include "support/simulation.hpp"
#include "support/violation.hpp"
#include "user/native/replay/steps.hpp"

#include <cstdio>
#include <cstdlib>

namespace horos::test {
namespace {

using replay::Step;

// As in user/native/replay: two of the root task's blocks.
constexpr replay::Memory memory{.pool_block = 1, .whole_block = 2};
constexpr u64 page_fault = 14;
constexpr u64 fetch_by_user = 0x14; // error code: not present, user, instruction fetch

struct Reply {
    u64 error;
    u64 values[6];
};

// Until the root task is the one that runs. Any other thread finds nothing at its entry.
void settle(Frame root) {
    for (u32 round = 0; round < 128; ++round) {
        if (spec::spec_core_next(0) == Next::again)
            continue;
        const Frame running = cores[0].thread;
        if (running == root)
            return;
        if (running == 0)
            throw Violation("the root task waits for ever");
        threads[running].regs.full = 1;
        spec::spec_core_fault(0, page_fault, fetch_by_user, threads[running].regs.rip);
    }
    throw Violation("the root task does not come to run again");
}

Reply perform(Frame root, const Step& step) {
    const u64(&a)[6] = step.arguments;
    const u64 word =
        spec::spec_table[static_cast<u32>(step.call)](a[0], a[1], a[2], a[3], a[4], a[5]);
    Reply r{word & result_error, {}};
    Values v = (word & result_values) != 0 ? results[0] : Values{};
    if ((word & result_switch) != 0) {
        const Registers& regs = threads[root].regs;
        r.error = regs.gpr[0];
        v = {{regs.gpr[2], regs.gpr[7], regs.gpr[6], regs.gpr[8], regs.gpr[9], regs.gpr[10]}};
        settle(root);
    }
    const CallInfo& info = call_table[static_cast<u32>(step.call)];
    for (u32 i = 0; i < 6; ++i)
        r.values[i] = r.error == 0 && i < info.returns ? v.v[i] : 0;
    return r;
}

void print(Frame root, char mark, u64 index, const Step& step) {
    Reply r = perform(root, step);
    replay::make_comparable(memory, step, r.values);
    std::printf("%c %lx %lx %lx %lx %lx %lx\n", mark, index, r.error, r.values[0], r.values[1],
                r.values[2], r.values[3]);
}

void replay_all(u64 seed, u64 steps) {
    Simulation s;
    s.boot({.core_count = 1});
    const replay::Steps sequence(seed, memory);
    perform(s.root.thread, {Call::block_split, {memory.pool_block}});
    for (u64 i = 0; i < steps; ++i)
        print(s.root.thread, 's', i, sequence.at(i));
    for (u64 i = 0; i < replay::question_count; ++i)
        print(s.root.thread, 'q', i, replay::question(memory, i));
}

} // namespace
} // namespace horos::test

int main(int argc, char** argv) {
    if (argc != 3) {
        std::fputs("usage: core-replay SEED STEPS\n", stderr);
        return 2;
    }
    try {
        horos::test::run_guarded([&] {
            horos::test::replay_all(std::strtoull(argv[1], nullptr, 10),
                                    std::strtoull(argv[2], nullptr, 10));
        });
    } catch (const horos::test::Violation& v) {
        std::fprintf(stderr, "core-replay: %s\n", v.what());
        return 1;
    }
    return 0;
}
