// One step of a random sequence: what a core does next. Everything about it follows from its seed
// and the kernel's state, so that a sequence can be shortened and still mean the same.
#pragma once
#include "support/scenario.hpp"
#include <map>
#include <string>
#include <vector>

namespace horos::test {

struct Step {
    u8 core;
    u32 seed;
};

// A stream of numbers from a seed.
class Draw {
public:
    explicit Draw(u64 seed) : state_(seed * 0x9e37'79b9'7f4a'7c15) {}
    u64 word();
    u32 below(u32 end) { return static_cast<u32>(word() % end); }
    bool one_in(u32 n) { return below(n) == 0; }

private:
    u64 state_;
};

// The arguments of a call, so that it has a good chance to succeed for that domain.
Registers6 draw_arguments(Draw& draw, Call call, Frame thread);
// What a VMM writes into its state page before vcpu_run.
void draw_state_page(Draw& draw, Frame vcpu);

// How often which call answered what.
struct Statistics {
    u64 steps = 0, calls = 0, successes = 0, events = 0, idle = 0, guest_entries = 0;
    std::map<Call, std::map<std::string, u64>> answers;
};
extern Statistics statistics;

// Runs a sequence from the start of the scenario. Throws a Violation; `log` then tells the steps as
// the kernel saw them.
// Gives back how many steps were used.
size_t run_sequence(const std::vector<Step>& steps, std::vector<std::string>& log);
// How many steps the latest sequence had used when it failed.
size_t failed_after();

} // namespace horos::test
