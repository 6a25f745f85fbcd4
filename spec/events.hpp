// What the core must do when something other than a hypercall enters it, and how it decides who
// runs. As for hypercalls: these run on the state, and everything they do not write stays as it
// was.
#pragma once
#include "kernel/core/entry.hpp"
#include "spec/answer.hpp"

namespace horos::spec {

extern "C" {
// A device interrupt arrived on this vector.
void spec_core_interrupt(u32 core, u8 vector);
// The timer fired; another core asked this one to look: it decides again.
void spec_core_timer(u32 core);
void spec_core_reschedule(u32 core);
// The thread in ring 3 took an exception.
void spec_core_fault(u32 core, u64 vector, u64 error, u64 address);
// Who runs now; the timer is set for when that must be looked at again.
Next spec_core_next(u32 core);
// The core's thread goes on in its guest: up to the entry (result_enters_guest), or what ends the
// run before it.
u64 spec_core_run_guest(u32 core);
}

// ---- vcpus.cpp
Answer run_guest(u32 core);

} // namespace horos::spec
