// Which of the cases before a divergence it needs: those that left something behind in the target.
#pragma once

#include "horos/fuzz/case.hpp"

#include <functional>
#include <optional>
#include <vector>

namespace horos::fuzz {

// Whether the divergence shows on a newly started target that has run these cases.
using ShowsAfter = std::function<bool(const std::vector<Case>&)>;

// The shortest part of `before` that was found within `tries` questions after which it shows, in
// their order; nullopt: it does not show after all of them either.
std::optional<std::vector<Case>> neededBefore(std::vector<Case> before, const ShowsAfter& shows,
                                              unsigned tries);

} // namespace horos::fuzz
