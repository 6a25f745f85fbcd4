// A started target with its arena in place: the base for every use of a target.
#pragma once

#include "horos/fuzz/arena.hpp"
#include "horos/fuzz/target.hpp"

#include <memory>
#include <vector>

namespace horos::fuzz {

// Starts the target and fills in the arena, the windows and the state between cases.
void bringUp(Target& target);

// Words of the arena that are not as the template has them, installed code apart, and words of the
// VMCBs' pages that a target has no business with.
struct StrayWord {
    uint64_t address;
    uint64_t expected;
    uint64_t found;
};
std::vector<StrayWord> strayWords(Target& target, uint64_t codeAddress, unsigned codeBytes);
// Puts the arena back without the harness, the place of guest programs apart.
void restoreArena(Target& target);

} // namespace horos::fuzz
