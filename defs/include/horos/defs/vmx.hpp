// Intel VMX: every plain definition, by concept. Sections are of the Intel SDM vol. 3C, order
// number 325384-077US (April 2022).
#pragma once

#include "horos/defs/vmx/capability.hpp"
#include "horos/defs/vmx/controls.hpp"
#include "horos/defs/vmx/ept.hpp"
#include "horos/defs/vmx/exits.hpp"
#include "horos/defs/vmx/fields.hpp"
