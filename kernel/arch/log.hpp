// The kernel's log: lines on one serial port.
#pragma once
#include "types.hpp"

namespace horos::arch {

enum class LogPort : u8 { none, com1, com2, e9 };

// Before the command line is known: COM2 if there is one, else COM1.
void log_init();
// `log=com1|com2|e9|none`; false if the word has another value.
bool log_select(const char* command_line);
void log_write(const char* text, u64 size);

struct Hex {
    u64 value;
};
inline Hex hex(u64 value) { return {value}; }

namespace detail {
void put(const char* text);
void put(u64 value);
void put(Hex value);
inline void put(u32 value) { put(u64{value}); }
} // namespace detail

// One line made of text, decimal numbers and hex() numbers.
template <class... Parts>
void log(Parts... parts) {
    detail::put("horos: ");
    (detail::put(parts), ...);
    detail::put("\n");
}

} // namespace horos::arch
