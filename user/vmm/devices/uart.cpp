#include "devices/uart.hpp"

namespace horos::vmm {
namespace {

// Interrupt enable register.
constexpr u8 ier_received = 0x01, ier_transmit = 0x02, ier_line = 0x04, ier_modem = 0x08;
// Interrupt identification, by falling priority.
constexpr u8 iir_line = 0x06, iir_received = 0x04, iir_timeout = 0x0c, iir_transmit = 0x02,
             iir_modem = 0x00, iir_none = 0x01;
// FIFO control.
constexpr u8 fcr_enable = 0x01, fcr_clear_receive = 0x02, fcr_clear_transmit = 0x04, fcr_64 = 0x20;
// Line status.
constexpr u8 lsr_data_ready = 0x01, lsr_overrun = 0x02, lsr_thr_empty = 0x20,
             lsr_transmitter_empty = 0x40;
// Modem control and status.
constexpr u8 mcr_dtr = 0x01, mcr_rts = 0x02, mcr_out1 = 0x04, mcr_out2 = 0x08;
constexpr u8 msr_cts = 0x10, msr_dsr = 0x20, msr_ri = 0x40, msr_dcd = 0x80;

} // namespace

u32 Uart::receive_capacity() const {
    if (!(fifo_control_ & fcr_enable))
        return 1;
    return (fifo_control_ & fcr_64) ? 64 : 16;
}

u32 Uart::receive_trigger() const {
    if (!(fifo_control_ & fcr_enable))
        return 1;
    constexpr u8 small[] = {1, 4, 8, 14};
    constexpr u8 large[] = {1, 16, 32, 56};
    return ((fifo_control_ & fcr_64) ? large : small)[fifo_control_ >> 6];
}

u8 Uart::line_status() const {
    u8 status = 0;
    if (!receive_.empty())
        status |= lsr_data_ready;
    if (overrun_)
        status |= lsr_overrun;
    if (transmit_.empty())
        status |= lsr_thr_empty | lsr_transmitter_empty;
    return status;
}

// With loopback the four outputs come back as inputs; otherwise the other side is always there.
u8 Uart::modem_status_lines() const {
    if (!loopback())
        return msr_cts | msr_dsr | msr_dcd;
    u8 lines = 0;
    if (modem_control_ & mcr_rts)
        lines |= msr_cts;
    if (modem_control_ & mcr_dtr)
        lines |= msr_dsr;
    if (modem_control_ & mcr_out1)
        lines |= msr_ri;
    if (modem_control_ & mcr_out2)
        lines |= msr_dcd;
    return lines;
}

u8 Uart::interrupt_id() const {
    u8 id = iir_none;
    if ((interrupt_enable_ & ier_line) && overrun_)
        id = iir_line;
    else if ((interrupt_enable_ & ier_received) && receive_.size() >= receive_trigger())
        id = iir_received;
    else if ((interrupt_enable_ & ier_received) && !receive_.empty())
        // Fewer bytes than the trigger: the line is infinitely fast, so its time-out is now.
        id = iir_timeout;
    else if ((interrupt_enable_ & ier_transmit) && transmit_empty_pending_)
        id = iir_transmit;
    else if ((interrupt_enable_ & ier_modem) && modem_delta_ != 0)
        id = iir_modem;
    if (fifo_control_ & fcr_enable)
        id |= 0xc0 | (fifo_control_ & fcr_64);
    return id;
}

void Uart::update() {
    const bool pending = (interrupt_id() & iir_none) == 0;
    // On a PC the OUT2 pin connects the interrupt to the bus; loopback holds the pin inactive.
    irq_ = pending && (modem_control_ & mcr_out2) && !loopback();
}

u8 Uart::read(Register reg) {
    u8 value = 0;
    switch (reg) {
    case Register::data:
        if (dlab())
            return static_cast<u8>(divisor_);
        if (!receive_.empty())
            value = receive_.pop();
        break;
    case Register::interrupt_enable:
        return dlab() ? static_cast<u8>(divisor_ >> 8) : interrupt_enable_;
    case Register::interrupt_id:
        value = interrupt_id();
        if ((value & 0x0f) == iir_transmit)
            transmit_empty_pending_ = false;
        break;
    case Register::line_control:
        return line_control_;
    case Register::modem_control:
        return modem_control_;
    case Register::line_status:
        value = line_status();
        overrun_ = false;
        break;
    case Register::modem_status:
        value = modem_status_lines() | modem_delta_;
        modem_delta_ = 0;
        break;
    case Register::scratch:
        return scratch_;
    }
    update();
    return value;
}

void Uart::write(Register reg, u8 value) {
    switch (reg) {
    case Register::data:
        if (dlab())
            divisor_ = static_cast<u16>((divisor_ & 0xff00) | value);
        else
            write_data(value);
        break;
    case Register::interrupt_enable:
        if (dlab()) {
            divisor_ = static_cast<u16>((divisor_ & 0x00ff) | (value << 8));
            break;
        }
        // Enabling the transmit interrupt while the holding register is empty raises it at once.
        if ((value & ier_transmit) && !(interrupt_enable_ & ier_transmit) && transmit_.empty())
            transmit_empty_pending_ = true;
        interrupt_enable_ = value & 0x0f;
        break;
    case Register::interrupt_id:
        write_fifo_control(value);
        break;
    case Register::line_control:
        line_control_ = value;
        break;
    case Register::modem_control:
        write_modem_control(value);
        break;
    case Register::line_status:
    case Register::modem_status:
        break; // read-only
    case Register::scratch:
        scratch_ = value;
        break;
    }
    update();
}

void Uart::write_fifo_control(u8 value) {
    const bool toggled = ((value ^ fifo_control_) & fcr_enable) != 0;
    if (toggled || (value & fcr_clear_receive))
        receive_.clear();
    if (toggled || (value & fcr_clear_transmit))
        transmit_.clear();
    // The 64-byte mode can only be changed while DLAB is set (16C750 data sheet, FCR5).
    const u8 wide = dlab() ? (value & fcr_64) : (fifo_control_ & fcr_64);
    if (value & fcr_enable)
        fifo_control_ = static_cast<u8>((value & 0xc1) | wide);
    else
        fifo_control_ = wide;
    if (transmit_.empty() && (toggled || (value & fcr_clear_transmit)))
        transmit_empty_pending_ = true;
}

void Uart::write_modem_control(u8 value) {
    const u8 before = modem_status_lines();
    modem_control_ = value & 0x1f;
    const u8 after = modem_status_lines();
    const u8 changed = before ^ after;
    modem_delta_ |= (changed & (msr_cts | msr_dsr | msr_dcd)) >> 4;
    if ((before & msr_ri) && !(after & msr_ri)) // the ring indicator counts its trailing edge
        modem_delta_ |= msr_ri >> 4;
}

void Uart::write_data(u8 value) {
    transmit_empty_pending_ = false;
    if (loopback()) {
        push_received(value);
        transmit_empty_pending_ = true;
        return;
    }
    // A guest that does not wait for THRE loses bytes, as on hardware.
    transmit_.push(value);
}

void Uart::push_received(u8 byte) {
    if (receive_.size() >= receive_capacity()) {
        overrun_ = true;
        return;
    }
    receive_.push(byte);
}

bool Uart::receive(u8 byte) {
    if (loopback() || receive_.size() >= receive_capacity())
        return false;
    receive_.push(byte);
    update();
    return true;
}

u8 Uart::take_output() {
    const u8 byte = transmit_.pop();
    if (transmit_.empty()) {
        transmit_empty_pending_ = true;
        update();
    }
    return byte;
}

} // namespace horos::vmm
