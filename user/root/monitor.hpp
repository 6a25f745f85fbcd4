// The root task's life after the start: waits for reports and faults, logs them, and restarts or
// ends partitions as the description says.
#pragma once
#include "instance.hpp"

namespace horos::root {

[[noreturn]] void monitor();

} // namespace horos::root
