// The fuzzer's own teeth: faults seeded into a copy of the model's answers.
#pragma once

#include "judge.hpp"

namespace horos::fuzz::vmx {

// All faults that make sense for a profile.
std::vector<Fault> seeded_faults(const Profile& profile);

struct Kill {
    std::string fault, kind;
    bool killed = false;
    uint64_t at_case = 0;
    double seconds = 0;
    std::string by; // what gave it away
};

} // namespace horos::fuzz::vmx
