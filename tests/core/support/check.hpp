// Every invariant of spec/ at every index, and the counts as sums.
#pragma once

namespace horos::test {

// Throws a Violation that names the invariant and the object. Needs the kernel lock to be free.
void check_invariants();

} // namespace horos::test
