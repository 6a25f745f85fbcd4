// Interrupt lines, messages, port ranges and device memory as capabilities.
#pragma once
#include "kernel/core/caller.hpp"

namespace horos::core {

inline constexpr u8 first_line_vector = 0x30;    // GSI n arrives at 0x30 + n
inline constexpr u8 first_message_vector = 0xb0; // message n at 0xb0 + n

// Takes an interrupt object out of service, before its frame is unmade.
void retire_interrupt(Frame interrupt);

Error irq_create(const Caller&, const IrqCreateArgs&);
Error msi_create(const Caller&, const MsiCreateArgs&, Values&);
Error irq_bind(const Caller&, const IrqBindArgs&);
Error irq_ack(const Caller&, const IrqAckArgs&);
Error ports_create(const Caller&, const PortsCreateArgs&);
Error port_in(const Caller&, const PortInArgs&, Values&);
Error port_out(const Caller&, const PortOutArgs&);
Error mmio_create(const Caller&, const MmioCreateArgs&);
Error platform_control(const Caller&, const PlatformControlArgs&);
Error log(const Caller&, const LogArgs&);

} // namespace horos::core
