// When two domains have no channel: statements about slot i of one and slot j of the other, which
// together, over all indices, say that neither can do anything to the other (README.md, Isolation).
#pragma once
#include "spec/state.hpp"

namespace horos::spec {

// The capability in slot i gives no part in what all partitions share: cores, interrupt vectors,
// the machine.
bool separate_from_machine(Frame domain, u32 i);
// The capability in slot i of `domain` names neither the other domain nor anything it owns.
bool separate_from_domain(Frame domain, u32 i, Frame other);
// The capabilities in slot i of one and slot j of the other name different things: not the same
// object, no common port, no common page of device memory.
bool separate_slots(Frame domain, u32 i, Frame other, u32 j);

} // namespace horos::spec
