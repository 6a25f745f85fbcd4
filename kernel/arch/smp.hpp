// The other processors: starting them, and making them flush their TLBs.
#pragma once
#include "acpi.hpp"
#include "cpu.hpp"

namespace horos::arch {

extern "C" u64 kernel_cr3;

void smp_start(const AcpiInfo& acpi, u8 trampoline_page); // sends the start-up IPIs
void smp_wait(const AcpiInfo& acpi);                      // until all run; fatal if one does not
void flush_if_asked();
void flush_cores(u64 mask);
void handle_interrupt(u8 number);
void cpu_online(u32 core); // this CPU, on its own stack

} // namespace horos::arch
