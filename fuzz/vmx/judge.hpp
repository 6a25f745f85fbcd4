// Holds a result against what the model allows.
#pragma once

#include "cases.hpp"

#include <optional>
#include <string>

namespace horos::fuzz::vmx {

struct Divergence {
    std::string what;     // "entered", "refused: VMfailValid 7", "guest.rip" ...
    std::string expected; // in words
    std::string observed;
    std::string overlooked = {}; // the rule without which the result would be right
};

std::optional<Divergence> judge(const RuleState& state, const Profile& profile,
                                const Result& result);
std::string observed_text(const Result& result);

} // namespace horos::fuzz::vmx
