// ACPI tables for the guest: RSDP, XSDT, FADT, MADT and the DSDT that iasl makes of dsdt.asl.
//
// The FADT says hardware-reduced: power-off and reset work through two registers, and Linux
// touches no PIC, PIT or PM timer at boot, each access of which would be an exit.
#pragma once

#include "emul/guest_memory.hpp"

namespace horos::vmm {

struct AcpiInputs {
    u32 vcpus = 1;
    bool ioapic = true;
};

// Writes the tables to layout::firmware_begin. Returns the RSDP's address, or 0 when they do not
// fit.
u64 write_acpi_tables(const GuestMemory& memory, const AcpiInputs& inputs);

} // namespace horos::vmm
