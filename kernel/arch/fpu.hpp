// FPU state: switched when somebody other than its owner uses it.
#pragma once
#include "types.hpp"

namespace horos::arch {

u64 fpu_init();           // this CPU; returns the XCR0 in force (0 without XSAVE)
void fpu_allow(bool may); // CR0.TS, written only when it changes

} // namespace horos::arch
