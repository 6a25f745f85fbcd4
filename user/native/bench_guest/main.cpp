// Measures, from inside a guest of the real virtual machine monitor, what exits cost: ticks of the
// time-stamp counter, under QEMU's `-icount shift=0` instructions of the whole machine. One line
// for each on the serial port: `bench <name> <value>`. Then it powers the virtual machine off.
#include <cstdint>

extern "C" {
void interrupt_entry();
void undefined_entry();
void protection_entry();
extern volatile std::uint64_t interrupt_time;
extern volatile std::uint64_t undefined_count;
[[noreturn]] void guest_main();
void* memset(void* to, int value, std::size_t size) {
    auto* bytes = static_cast<volatile unsigned char*>(to);
    for (std::size_t i = 0; i < size; ++i) {
        bytes[i] = static_cast<unsigned char>(value);
    }
    return to;
}
}

namespace {

using u8 = std::uint8_t;
using u16 = std::uint16_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;

constexpr u16 serial = 0x3f8, serial_status = 0x3fd, serial_scratch = 0x3ff;
constexpr u16 sleep_control = 0x600; // see user/vmm/devices/power.hpp
constexpr u8 sleep_now = 0x20 | 5 << 2;
constexpr u64 local_apic = 0xfee0'0000, unassigned = 0xd000'0000;
constexpr u32 apic_id = 0x20, apic_task_priority = 0x80, apic_spurious = 0xf0, apic_command = 0x300;
constexpr u32 rounds = 200;
constexpr u32 interrupt_vector = 0x40;

u64 now() {
    u32 low, high;
    asm volatile("rdtsc" : "=a"(low), "=d"(high));
    return u64{high} << 32 | low;
}
void out(u16 port, u8 value) { asm volatile("outb %0, %1" : : "a"(value), "Nd"(port)); }
u8 in(u16 port) {
    u8 value;
    asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}
u32 mmio_read(u64 address) {
    u32 value;
    asm volatile("movl (%1), %0" : "=r"(value) : "r"(address) : "memory");
    return value;
}
void mmio_write(u64 address, u32 value) {
    asm volatile("movl %0, (%1)" : : "r"(value), "r"(address) : "memory");
}
void cpuid() {
    u32 a = 0, c = 0;
    asm volatile("cpuid" : "+a"(a), "+c"(c) : : "rbx", "rdx");
}
u64 read_msr(u32 number) {
    u32 low, high;
    asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(number));
    return u64{high} << 32 | low;
}
void write_msr(u32 number, u64 value) {
    asm volatile("wrmsr"
                 :
                 : "c"(number), "a"(static_cast<u32>(value)), "d"(static_cast<u32>(value >> 32)));
}
void vmmcall() {
    u64 rax = 0xffff'fff0; // a call that no monitor knows
    asm volatile("vmmcall" : "+a"(rax) : : "rbx", "rcx", "rdx", "memory");
}

void write_text(const char* text) {
    for (; *text != 0; ++text) {
        while ((in(serial_status) & 0x20) == 0) {
        }
        out(serial, static_cast<u8>(*text));
    }
}

void show(const char* name, u64 value) {
    char digits[24];
    u32 at = sizeof digits;
    digits[--at] = 0;
    digits[--at] = '\n';
    digits[--at] = '\r';
    do {
        digits[--at] = static_cast<char>('0' + value % 10);
        value /= 10;
    } while (value != 0);
    write_text("bench ");
    write_text(name);
    write_text(" ");
    write_text(digits + at);
}

// Cost of one round, the loop itself taken off.
template <class Round>
void measure(const char* name, const Round& round) {
    round();
    const u64 empty_start = now();
    for (u32 i = 0; i < rounds; ++i) {
        asm volatile("");
    }
    const u64 empty = now() - empty_start;
    const u64 start = now();
    for (u32 i = 0; i < rounds; ++i) {
        round();
    }
    show(name, (now() - start - empty + rounds / 2) / rounds);
}

struct Gate {
    u16 offset_low, selector;
    u8 stack, type;
    u16 offset_middle;
    u32 offset_high, reserved;
};

Gate gates[interrupt_vector + 1];

void set_gate(u32 vector, void (*entry)()) {
    const u64 address = reinterpret_cast<u64>(entry);
    u16 selector;
    asm("movw %%cs, %0" : "=r"(selector));
    gates[vector] = {
        static_cast<u16>(address),       selector, 0, 0x8e, static_cast<u16>(address >> 16),
        static_cast<u32>(address >> 32), 0};
}

void load_interrupt_table() {
    set_gate(6, undefined_entry);
    set_gate(13, protection_entry);
    set_gate(interrupt_vector, interrupt_entry);
    struct [[gnu::packed]] {
        u16 limit;
        u64 base;
    } table = {sizeof gates - 1, reinterpret_cast<u64>(gates)};
    asm volatile("lidt %0" : : "m"(table));
}

// From just before the write that sends it to the handler's first instructions.
void measure_interrupt() {
    mmio_write(local_apic + apic_spurious, 0x1ff);
    asm volatile("sti");
    u64 best = ~u64{0};
    for (u32 i = 0; i < 20; ++i) {
        interrupt_time = 0;
        const u64 start = now();
        mmio_write(local_apic + apic_command, 1u << 18 | interrupt_vector); // to itself
        for (u32 wait = 0; wait < 1'000'000 && interrupt_time == 0; ++wait) {
        }
        if (interrupt_time == 0) {
            write_text("bench: the interrupt does not arrive\r\n");
            return;
        }
        best = interrupt_time - start < best ? interrupt_time - start : best;
    }
    asm volatile("cli");
    show("guest-interrupt-to-handler", best);
}

} // namespace

void guest_main() {
    load_interrupt_table();
    measure("guest-cpuid", cpuid);
    measure("guest-port-in", [] { (void)in(serial_scratch); });
    measure("guest-port-out", [] { out(serial_scratch, 0); });
    measure("guest-port-out-unassigned", [] { out(0x80, 0); });
    measure("guest-mmio-read", [] { (void)mmio_read(local_apic + apic_id); });
    measure("guest-mmio-write", [] { mmio_write(local_apic + apic_task_priority, 0); });
    measure("guest-msr-read", [] { (void)read_msr(0x1b); });
    measure("guest-msr-write", [] { write_msr(0x1b, 0xfee0'0900); });
    measure("guest-vmmcall", vmmcall);
    measure("guest-nested-fault", [] { (void)mmio_read(unassigned); });
    measure_interrupt();
    write_text("bench: guest done\r\n");
    while ((in(serial_status) & 0x40) == 0) {
    }
    out(sleep_control, sleep_now);
    for (;;) {
        asm volatile("hlt");
    }
}
