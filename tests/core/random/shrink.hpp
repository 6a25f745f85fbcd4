// Shortens a failing sequence: cuts off what comes after the failure, then takes out ever smaller
// pieces as long as a check of the same kind still fails.
#pragma once
#include "step.hpp"

namespace horos::test {

struct Failure {
    bool failed;
    std::string what;
    std::vector<std::string> log;
    size_t used; // steps run until the failure
};
Failure try_sequence(const std::vector<Step>& steps);

// Gives back the shortest failing sequence it found within about a minute, or `deadline_seconds`.
Failure shrink_sequence(std::vector<Step> steps, const Failure& first, double deadline_seconds);

} // namespace horos::test
