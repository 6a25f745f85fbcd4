#include "serial_port.hpp"

namespace horos::console {
namespace {

constexpr rt::u16 base = 0x3f8;
constexpr u8 data_ready = 1, transmitter_empty = 0x20; // line status
constexpr u8 on_data = 1, on_room = 2;                 // interrupt enable
constexpr u8 no_interrupt = 1;                         // interrupt identification

} // namespace

u8 SerialPort::in(Register reg) const {
    const auto result = user::port_in(ports_, base + static_cast<u8>(reg), 1);
    return result.ok() ? static_cast<u8>(result.value) : 0xff;
}

void SerialPort::out(Register reg, u8 value) const {
    (void)user::port_out(ports_, base + static_cast<u8>(reg), 1, value);
}

bool SerialPort::open(u32 ports, u32 irq, u32 notification, u64 interrupt_bits) {
    ports_ = ports;
    if (in(Register::line_status) == 0xff) { // denied, or an empty bus
        return false;
    }
    out(Register::interrupt_enable, 0);
    out(Register::line_control, 0x80); // 115200 baud
    out(Register::data, 1);
    out(Register::interrupt_enable, 0);
    out(Register::line_control, 3);    // 8 bits, no parity
    out(Register::interrupt_id, 7);    // FIFOs on and empty, interrupt at the first byte
    out(Register::modem_control, 0xb); // DTR, RTS, and OUT2, which lets the interrupt through
    if (!user::irq_bind(irq, notification, interrupt_bits).ok()) {
        return false;
    }
    open_ = true;
    out(Register::interrupt_enable, on_data);
    clear_interrupt();
    return true;
}

u32 SerialPort::room() const {
    return (in(Register::line_status)&transmitter_empty) != 0 ? fifo_size : 0;
}

void SerialPort::write(const u8* bytes, u32 count) const {
    for (u32 i = 0; i < count; ++i) {
        out(Register::data, bytes[i]);
    }
}

void SerialPort::want_room() {
    if (!wants_room_) {
        wants_room_ = true;
        out(Register::interrupt_enable, on_data | on_room);
    }
}

bool SerialPort::read(u8& byte) const {
    if ((in(Register::line_status)&data_ready) == 0) {
        return false;
    }
    byte = in(Register::data);
    return true;
}

void SerialPort::clear_interrupt() {
    if (wants_room_) {
        wants_room_ = false;
        out(Register::interrupt_enable, on_data);
    }
    // Reading the identification takes away "room"; "data" stays until the bytes were read.
    for (u32 i = 0; i < 4 && (in(Register::interrupt_id)&no_interrupt) == 0; ++i) {
    }
}

} // namespace horos::console
