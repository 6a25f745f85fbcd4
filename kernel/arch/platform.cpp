#include "platform.hpp"
#include "apic.hpp"
#include "io.hpp"
#include "panic.hpp"

namespace horos::arch {
namespace {

u16 pm1a = 0, pm1b = 0, reset_port = 0;
u8 reset_value = 0;

// PM1 control (ACPI 6.5, section 4.8.3.2): SLP_TYP 12:10, SLP_EN 13.
void enter_sleep(u16 port, u8 sleep_type) {
    const u32 kept = in16(port) & ~0x3c00u;
    out16(port, static_cast<u16>(kept | (sleep_type & 7u) << 10 | 1u << 13));
}

void settle() {
    for (u32 i = 0; i < 100'000; ++i)
        pause();
}

} // namespace

void platform_init(const AcpiInfo& acpi) {
    pm1a = static_cast<u16>(acpi.pm1a_control);
    pm1b = static_cast<u16>(acpi.pm1b_control);
    if (acpi.reset.present) {
        reset_port = static_cast<u16>(acpi.reset.address);
        reset_value = acpi.reset_value;
    }
}

bool platform_off_supported() { return pm1a != 0; }

void platform_off(u8 sleep_type) {
    asm volatile("cli");
    apic_stop_others();
    if (pm1a)
        enter_sleep(pm1a, sleep_type);
    if (pm1b)
        enter_sleep(pm1b, sleep_type);
    settle();
    fatal("the machine did not power off");
}

void platform_reset() {
    asm volatile("cli");
    if (reset_port) {
        out8(reset_port, reset_value);
        settle();
    }
    out8(0xcf9, 2); // PCI chip sets: full reset
    out8(0xcf9, 6);
    settle();
    out8(0x64, 0xfe); // keyboard controller
    settle();
    const struct [[gnu::packed]] {
        u16 limit = 0;
        u64 base = 0;
    } no_idt;
    asm volatile("lidt %0; ud2" ::"m"(no_idt)); // triple fault
    __builtin_unreachable();
}

} // namespace horos::arch
