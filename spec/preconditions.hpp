// What the architecture shell promises when it enters the core, besides the invariants. The kernel
// lock is held, and shell_core() is the core that is named. (The shell itself is assembly and a
// few lines of C++ that are trusted; the tests check these where they stand in for it.)
#pragma once
#include "spec/invariants.hpp"

namespace horos::spec {

bool pre_hypercall(u32 core);  // its thread made a hypercall from ring 3
bool pre_core_fault(u32 core); // its thread faulted in ring 3
bool pre_core_interrupt(u32 core, u32 vector);
bool pre_core_timer(u32 core);
bool pre_core_reschedule(u32 core);
bool pre_core_next(u32 core);
bool pre_core_run_guest(u32 core); // core_next has answered Next::guest

} // namespace horos::spec
