// How fast the harness is, beside how fast the target can be at best.
#pragma once

#include "horos/fuzz/target.hpp"

namespace horos::fuzz {

struct BenchResult {
    std::string target, version;
    double bare = 0;      // bare VMRUN loop, per second
    double unchanged = 0; // whole cases, guest code as before
    double fresh = 0;     // whole cases, new guest code in each
    double startSeconds = 0;
    unsigned rounds = 0;
};

// The best of some rounds of each, taken by turns, so that another load on the machine meets all
// of them alike.
BenchResult bench(const TargetOptions& options, unsigned rounds, uint64_t cases);

} // namespace horos::fuzz
