// The 16550 UART at COM1, by port capability and interrupt.
#pragma once
#include <horos/rt/calls.hpp>

namespace horos::console {

using rt::u32;
using rt::u64;
using rt::u8;

class SerialPort {
public:
    // False: there is no such port. `interrupt_bits` are raised in `notification` when bytes have
    // come, or when there is room after want_room().
    bool open(u32 ports, u32 irq, u32 notification, u64 interrupt_bits);
    bool is_open() const { return open_; }

    // How many bytes can be written at once now: 0 or the FIFO's size.
    u32 room() const;
    // At most room() bytes.
    void write(const u8* bytes, u32 count) const;
    void want_room();
    // False: nothing has come.
    bool read(u8& byte) const;
    // The interrupt line is an edge: every cause must be taken away before it can rise again.
    void clear_interrupt();

private:
    enum class Register : u8 {
        data = 0,
        interrupt_enable,
        interrupt_id,
        line_control,
        modem_control,
        line_status
    };
    static constexpr u32 fifo_size = 16;

    u8 in(Register reg) const;
    void out(Register reg, u8 value) const;

    u32 ports_ = 0;
    bool open_ = false;
    bool wants_room_ = false;
};

} // namespace horos::console
