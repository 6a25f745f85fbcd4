// A 16550A-compatible UART of the TI 16C750 kind: a 64-byte FIFO besides the 16-byte one,
// so that a guest's console output costs fewer status reads and interrupts.
//
// Pure state: bytes the guest sent wait in output(), bytes for the guest go in by receive(),
// irq() is the level of the interrupt pin (already gated by OUT2, as on a PC).
#pragma once

#include "devices/ring.hpp"

namespace horos::vmm {

class Uart {
public:
    enum class Register : u8 {
        data = 0,
        interrupt_enable = 1,
        interrupt_id = 2, // read; FIFO control on write
        line_control = 3,
        modem_control = 4,
        line_status = 5,
        modem_status = 6,
        scratch = 7,
    };

    u8 read(Register reg);
    void write(Register reg, u8 value);
    bool irq() const { return irq_; }

    // Takes one byte from the outside; false when the FIFO has no room, so that the caller keeps
    // it (a real line would overrun).
    bool receive(u8 byte);
    bool can_receive() const { return !loopback() && receive_.size() < receive_capacity(); }
    // A break or an overrun is not modelled: the console channel has neither.

    // Bytes on their way out. The transmitter is empty as soon as the owner has taken them all.
    bool has_output() const { return !transmit_.empty(); }
    u8 peek_output() const { return transmit_.front(); }
    u8 take_output();

private:
    static constexpr u32 fifo_bytes = 64;

    bool dlab() const { return (line_control_ & 0x80) != 0; }
    bool loopback() const { return (modem_control_ & 0x10) != 0; }
    u32 receive_capacity() const;
    u32 receive_trigger() const;
    u8 line_status() const;
    u8 modem_status_lines() const;
    u8 interrupt_id() const;
    void write_fifo_control(u8 value);
    void write_modem_control(u8 value);
    void write_data(u8 value);
    void push_received(u8 byte);
    void update();

    ByteRing<fifo_bytes> receive_;
    ByteRing<fifo_bytes> transmit_;
    u16 divisor_ = 12;
    u8 interrupt_enable_ = 0;
    u8 fifo_control_ = 0;
    u8 line_control_ = 0;
    u8 modem_control_ = 0;
    u8 modem_delta_ = 0;
    u8 scratch_ = 0;
    bool overrun_ = false;
    bool transmit_empty_pending_ = false;
    bool irq_ = false;
};

} // namespace horos::vmm
