#include "log.hpp"
#include "boot_data.hpp"
#include "io.hpp"

namespace horos::arch {
namespace {

constexpr u16 com1 = 0x3f8, com2 = 0x2f8, e9 = 0xe9;
constexpr u16 line_control = 3, modem_control = 4, line_status = 5, scratch = 7;
constexpr u8 transmitter_empty = 0x20;
constexpr u32 fifo_size = 16;
constexpr u32 wait_limit = 1'000'000; // a port that never empties must not hang the kernel

LogPort port = LogPort::none;
u32 fifo_room = 0;

// A 16550 keeps what is written to its scratch register.
bool present(u16 base) {
    out8(base + scratch, 0x5a);
    return in8(base + scratch) == 0x5a;
}

void set_up(u16 base) {
    out8(base + 1, 0);               // no interrupts
    out8(base + line_control, 0x80); // divisor latch
    out8(base + 0, 1);               // 115200 baud
    out8(base + 1, 0);
    out8(base + line_control, 3); // 8 data bits, no parity
    out8(base + 2, 7);            // FIFOs on and empty
    out8(base + modem_control, 3);
}

void put_serial(u16 base, char c) {
    if (fifo_room == 0) {
        for (u32 i = 0; i < wait_limit && !(in8(base + line_status) & transmitter_empty); ++i)
            pause();
        fifo_room = fifo_size;
    }
    --fifo_room;
    out8(base, static_cast<u8>(c));
}

void put_byte(char c) {
    switch (port) {
    case LogPort::com1:
        put_serial(com1, c);
        break;
    case LogPort::com2:
        put_serial(com2, c);
        break;
    case LogPort::e9:
        out8(e9, static_cast<u8>(c));
        break;
    case LogPort::none:
        break;
    }
}

void use(LogPort wanted) {
    port = wanted;
    fifo_room = 0;
    if (wanted == LogPort::com1)
        set_up(com1);
    if (wanted == LogPort::com2)
        set_up(com2);
}

} // namespace

void log_init() {
    use(present(com2) ? LogPort::com2 : present(com1) ? LogPort::com1 : LogPort::none);
}

bool log_select(const char* line) {
    if (!has_option(line, "log"))
        return true;
    if (option_is(line, "log", "com1"))
        use(LogPort::com1);
    else if (option_is(line, "log", "com2"))
        use(LogPort::com2);
    else if (option_is(line, "log", "e9"))
        use(LogPort::e9);
    else if (option_is(line, "log", "none"))
        use(LogPort::none);
    else
        return false;
    return true;
}

void log_write(const char* text, u64 size) {
    for (u64 i = 0; i < size; ++i) {
        if (text[i] == '\n')
            put_byte('\r');
        put_byte(text[i]);
    }
}

namespace detail {

void put(const char* text) { log_write(text, __builtin_strlen(text)); }

void put(u64 value) {
    char digits[20];
    u64 at = sizeof digits;
    do {
        digits[--at] = static_cast<char>('0' + value % 10);
        value /= 10;
    } while (value);
    log_write(digits + at, sizeof digits - at);
}

void put(Hex number) {
    char digits[18];
    u64 at = sizeof digits;
    do {
        digits[--at] = "0123456789abcdef"[number.value & 15];
        number.value >>= 4;
    } while (number.value);
    digits[--at] = 'x';
    digits[--at] = '0';
    log_write(digits + at, sizeof digits - at);
}

} // namespace detail
} // namespace horos::arch
