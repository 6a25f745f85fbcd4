// Register states in which virtual CPUs start.
#pragma once

#include "emul/guest_memory.hpp"
#include "horos/abi/vcpu_state.hpp"

namespace horos::vmm {

// The boot processor at Linux' 64-bit entry: long mode, identity-mapped tables, flat segments,
// boot_params in RSI. Also writes the tables and the GDT to guest memory.
void set_linux_entry(abi::VcpuState& cpu, const GuestMemory& memory, u64 entry, u64 boot_params,
                     u64 xcr0);

// The one piece of firmware: code at the reset vector that resets the machine. Linux jumps there to
// reboot when ACPI is hardware-reduced and there is no EFI.
void write_reset_vector(const GuestMemory& memory);

// Another processor after INIT and a start-up interrupt: real mode at page << 12.
void set_startup_entry(abi::VcpuState& cpu, u8 page, u64 xcr0);

// XCR0 starts with all that the guest may set, not with 1 as after a reset: where a processor does
// not intercept XSETBV (QEMU 7.2) the VMM would not learn of a change, and CPUID would lie.

} // namespace horos::vmm
