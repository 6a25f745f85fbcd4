// Output of the harness when it has something to say: COM1 and port 0xe9 (Bochs), and the two
// ways to end a run: QEMU's isa-debug-exit device and Bochs's shutdown port.
#pragma once

#include "cpu.hpp"

namespace horos::harness {

inline void put(char c) {
    outb(0xe9, uint8_t(c));
    for (int i = 0; i < 10000 && !(inb(0x3fd) & 0x20); ++i) {
    }
    outb(0x3f8, uint8_t(c));
}
inline void print(const char* text) {
    while (*text)
        put(*text++);
}
inline void print_hex(uint64_t value) {
    print("0x");
    bool started = false;
    for (int shift = 60; shift >= 0; shift -= 4) {
        unsigned digit = unsigned(value >> shift) & 15;
        if (digit || started || shift == 0) {
            put("0123456789abcdef"[digit]);
            started = true;
        }
    }
}
[[noreturn]] inline void end_run(bool good) {
    outl(0xf4, good ? 0x10 : 0x11); // exit status 33 or 35
    for (const char* p = "Shutdown"; *p; ++p)
        outb(0x8900, uint8_t(*p));
    for (;;)
        asm volatile("cli; hlt");
}

} // namespace horos::harness
