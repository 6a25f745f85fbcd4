// The ways a guest turns the machine off or resets it.
#pragma once

#include "base.hpp"

namespace horos::vmm {

enum class PowerRequest : u8 { none, reset, power_off };

// Ports of the hardware-reduced ACPI sleep registers and of the reset register (see the FADT).
namespace power_port {
inline constexpr u16 sleep_control = 0x600, sleep_status = 0x601;
inline constexpr u16 keyboard_status = 0x64, keyboard_data = 0x60;
inline constexpr u16 system_control = 0x92;
inline constexpr u16 reset_control = 0xcf9;
} // namespace power_port

inline constexpr u8 s5_sleep_type = 5;

class PowerControl {
public:
    u8 read(u16 port) const {
        if (port == power_port::reset_control)
            return reset_control_;
        if (port == power_port::system_control)
            return 0x02; // the A20 gate is open
        return 0;        // sleep status: no wake; keyboard controller: ready and empty
    }

    PowerRequest write(u16 port, u8 value) {
        switch (port) {
        case power_port::sleep_control: {
            // SLP_EN is bit 5, SLP_TYP bits 4:2 (ACPI 6.4 §4.8.3.7).
            const bool enable = (value & 0x20) != 0;
            return enable && ((value >> 2) & 7) == s5_sleep_type ? PowerRequest::power_off
                                                                 : PowerRequest::none;
        }
        case power_port::keyboard_status: // FEh pulses the CPU's reset line
            return value == 0xfe ? PowerRequest::reset : PowerRequest::none;
        case power_port::system_control:
            return (value & 1) ? PowerRequest::reset : PowerRequest::none;
        case power_port::reset_control: {
            // A rising RST_CPU (bit 2) resets; bit 1 says how hard.
            const bool rising = (value & 4) && !(reset_control_ & 4);
            reset_control_ = value & 0x0e;
            return rising ? PowerRequest::reset : PowerRequest::none;
        }
        default:
            return PowerRequest::none;
        }
    }

private:
    u8 reset_control_ = 0;
};

} // namespace horos::vmm
