// Power-off and reset through the registers that the FADT names.
#pragma once
#include "acpi.hpp"

namespace horos::arch {

void platform_init(const AcpiInfo& acpi);
bool platform_off_supported();
[[noreturn]] void platform_off(u8 sleep_type); // SLP_TYP of \_S5 (DSDT), which the caller knows
[[noreturn]] void platform_reset();

} // namespace horos::arch
