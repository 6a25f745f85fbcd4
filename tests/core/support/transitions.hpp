// What must be true of a step rather than of a state: an error changes nothing, generations only
// grow, a halted thread stays halted until somebody starts it, new mappings rest on memory that the
// caller may use, and memory that is nobody's object is not written.
#pragma once
#include "simulation.hpp"

namespace horos::test {

// Call before a hypercall; together with the journal this is the whole state before it.
void remember_state();
// Throws a Violation when the hypercall that `out` answers broke one of the rules. Call before the
// core goes on (Simulation::after_call).
void check_call(u32 core, Call call, const Registers6& arguments, const Outcome& out);
// The part that holds for events too.
void check_event();

} // namespace horos::test
