// From the system description to instances: checks what the description says against this machine
// and this bundle, and sets aside memory.
#pragma once
#include "instance.hpp"

namespace horos::root {

using PlanMessage = rt::Text<192>;

// False: `message` says what is wrong, and with which partition.
bool find_system(PlanMessage& message);
bool plan_instances(PlanMessage& message);
Outcome set_windows();

} // namespace horos::root
