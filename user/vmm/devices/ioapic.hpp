// I/O APIC with 24 pins (82093AA register model).
//
// Pure state: set_line() moves a pin, next_message() hands out what is to be delivered,
// end_of_interrupt() takes the local APICs' EOI broadcast.
#pragma once

#include <array>
#include <optional>

#include "devices/interrupt_message.hpp"

namespace horos::vmm {

class Ioapic {
public:
    static constexpr u64 default_base = 0xfec00000;
    static constexpr u64 window_bytes = 0x1000;
    static constexpr u32 pins = 24;

    explicit Ioapic(u8 id = 0) : id_(id) {}

    // Accesses within the 4 KiB window; only aligned 32-bit ones reach a register.
    u32 read(u32 offset) const;
    void write(u32 offset, u32 value);

    void set_line(u32 pin, bool high);
    void end_of_interrupt(u8 vector);
    std::optional<InterruptMessage> next_message();
    bool has_message() const { return pending_ != 0; }

    // True when an unmasked pin would deliver an ExtINT: the PIC's interrupt through pin 0.
    u64 entry(u32 pin) const { return redirection_[pin]; }

private:
    u32 read_register(u32 index) const;
    void write_register(u32 index, u32 value);
    void write_entry(u32 pin, bool high_half, u32 value);
    void evaluate_level(u32 pin);

    std::array<u64, pins> redirection_ = masked_entries();
    u32 lines_ = 0;   // present level of each pin
    u32 pending_ = 0; // pins with a message to hand out
    u32 select_ = 0;
    u8 id_;

    static constexpr std::array<u64, pins> masked_entries() {
        std::array<u64, pins> all{};
        for (u64& entry : all)
            entry = bit(16);
        return all;
    }
};

} // namespace horos::vmm
