// Interrupt lines: the IOAPICs, and the legacy controllers switched off.
#pragma once
#include "acpi.hpp"

namespace horos::arch {

void ioapic_init(const AcpiInfo& acpi); // masks all lines; registers must be mapped
bool line_exists(u32 gsi);
// ISA interrupt `gsi` below 16 follows the MADT's overrides when flags are 0.
void line_route(u32 gsi, u8 vector, u32 apic_id, bool level, bool active_low);
void line_mask(u32 gsi, bool masked);

} // namespace horos::arch
