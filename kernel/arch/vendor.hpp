// The processor vendor's backend as the boot and shutdown code sees it.
#pragma once
#include "types.hpp"
#include <horos/abi/boot_page.hpp>

namespace horos::arch {

Complaint vendor_choose();        // finds the backend; names what it lacks
void vendor_init();               // once, before the first core is enabled
void vendor_enable_cpu(u32 core); // on each core as it comes up
abi::Vendor vendor_name();        // as user space is told
void vendor_disable_cpu();        // before the machine is switched off or reset

} // namespace horos::arch
