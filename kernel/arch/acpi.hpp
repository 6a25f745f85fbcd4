// What the kernel takes from the ACPI tables: processors, interrupt controllers, and the registers
// for power-off and reset. The tables are firmware's, so lengths and checksums are verified.
#pragma once
#include "types.hpp"

namespace horos::arch {

struct IoApicEntry {
    u64 address;
    u32 gsi_base;
};

struct IsaOverride { // ISA interrupt wired to another line or polarity
    u32 gsi;
    u8 source;
    bool active_low;
    bool level;
};

struct Register { // generic address, reduced to what we use
    bool present;
    bool io_port;
    u64 address;
};

struct AcpiInfo {
    static constexpr u32 max_ioapics = 8;
    static constexpr u32 max_overrides = 16;

    u32 apic_ids[abi::max_cores];
    u32 cpu_count;
    u32 cpus_left_out; // beyond max_cores, or with an ID that needs x2APIC
    IoApicEntry ioapics[max_ioapics];
    u32 ioapic_count;
    IsaOverride overrides[max_overrides];
    u32 override_count;
    u64 lapic_address;
    u32 pm1a_control; // I/O ports, 0 = none
    u32 pm1b_control;
    u32 pm_timer;
    bool pm_timer_32bit;
    Register reset;
    u8 reset_value;
    u64 dsdt;
};

// Finds the RSDP in the BIOS areas (ACPI 6.5, section 5.2.5.1); 0 = none.
u64 find_rsdp(const PhysMemory& memory);

Complaint parse_acpi(const PhysMemory& memory, u64 rsdp, AcpiInfo& out);

} // namespace horos::arch
