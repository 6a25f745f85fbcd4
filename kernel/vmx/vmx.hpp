// The VMX backend: everything that knows the VMCS. Sections are of the Intel SDM vol. 3C, order
// number 325384-077US (April 2022).
#pragma once
#include "kernel/core/vendor.hpp"
#include <horos/defs/vmx.hpp>
#include <horos/defs/vmx_rules.hpp>
#include <horos/defs/x86.hpp>

namespace horos::core {

// What a processor with VMX lacks of what Horos needs; null: nothing.
const char* vmx_missing();
// Once at boot: limits, default permission maps.
void vmx_init();
// On each core as it comes up: VMXON.
void vmx_enable_cpu(u32 core);
// VMXOFF.
void vmx_disable_cpu();

} // namespace horos::core
