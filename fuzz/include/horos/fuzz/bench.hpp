// How fast the fuzzer is on a target, beside how fast the target can be at best.
#pragma once

#include "horos/fuzz/target.hpp"

namespace horos::fuzz {

// Per second on the wall, and per second of processor time that the target and we used together:
// what one core does when it has nothing else to do.
struct Rate {
    double wall = 0, core = 0;
};

struct BenchResult {
    std::string target, version;
    Rate bare; // VMRUN and #VMEXIT in a loop, nothing around them
    // Whole cases: VMCB, registers and two windows of memory in, VMRUN, all of it and the host's
    // state back out and fetched by us. `fresh` has another guest program in every case.
    Rate unchanged, fresh;
    // The same cases, each also predicted by the model and compared with the prediction.
    Rate unchangedJudged, freshJudged;
    double startSeconds = 0;
    unsigned rounds = 0;
    bool oneCore = false; // target and fuzzer were kept on one processor
};

// The best of some rounds of each, taken by turns, so that another load on the machine meets all
// of them alike.
BenchResult bench(const TargetOptions& options, unsigned rounds, uint64_t cases);

} // namespace horos::fuzz
