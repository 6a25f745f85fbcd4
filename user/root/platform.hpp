// The machine as a whole: its clock, and its end.
#pragma once
#include "instance.hpp"

namespace horos::root {

// Writes "horos: fatal: ..." and powers the machine off.
[[noreturn]] void fatal(std::string_view why);
[[noreturn]] void fatal(std::string_view what, const Outcome& outcome);

[[noreturn]] void power_off();

// Reads the CMOS clock.
void read_wall_clock();

} // namespace horos::root
