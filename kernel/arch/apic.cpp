// Local APIC (APM vol. 2 chapter 16).
#include "apic.hpp"
#include "cpu.hpp"
#include "io.hpp"
#include "layout.hpp"
#include <horos/defs/x86.hpp>

namespace horos::arch {
namespace {

enum Register : u32 { // offset in memory; MSR number is 0x800 + offset / 16
    id = 0x20,
    task_priority = 0x80,
    end_of_interrupt = 0xb0,
    spurious = 0xf0,
    command = 0x300,
    command_high = 0x310,
    lvt_timer = 0x320,
    lvt_lint0 = 0x350,
    lvt_lint1 = 0x360,
    lvt_error = 0x370,
};
constexpr u32 masked = 1u << 16, delivery_nmi = 4u << 8, delivery_init = 5u << 8,
              delivery_startup = 6u << 8, assert_level = 1u << 14, all_but_self = 3u << 18,
              busy = 1u << 12;
constexpr u64 base_enable = 1u << 11, base_x2apic = 1u << 10;

bool ready = false;

void write(u32 offset, u32 value) {
    if (features.x2apic)
        write_msr(x86::msr::X2APIC_BASE + offset / 16, value);
    else
        *reinterpret_cast<volatile u32*>(layout::lapic + offset) = value;
}

u32 read(u32 offset) {
    if (features.x2apic)
        return static_cast<u32>(read_msr(x86::msr::X2APIC_BASE + offset / 16));
    return *reinterpret_cast<volatile u32*>(layout::lapic + offset);
}

void send(u32 destination, u32 low) {
    if (features.x2apic) {
        asm volatile("mfence; lfence" ::: "memory"); // x2APIC writes do not order earlier stores
        write_msr(x86::msr::X2APIC_BASE + command / 16, u64{destination} << 32 | low);
        return;
    }
    while (read(command) & busy)
        pause();
    write(command_high, destination << 24);
    write(command, low);
}

} // namespace

void apic_enable() {
    const u64 base = read_msr(x86::msr::APIC_BASE) | base_enable;
    write_msr(x86::msr::APIC_BASE, base);
    if (features.x2apic)
        write_msr(x86::msr::APIC_BASE, base | base_x2apic);
    write(task_priority, 0);
    write(lvt_timer, masked);
    write(lvt_lint0, masked);
    write(lvt_lint1, delivery_nmi);
    write(lvt_error, masked);
    write(spurious, 0x100u | vector::spurious);
    ready = true;
}

u32 apic_id() {
    const u32 value = read(id);
    return features.x2apic ? value : value >> 24;
}

void apic_end_of_interrupt() { write(end_of_interrupt, 0); }

void apic_send(u32 destination, u8 number) { send(destination, assert_level | number); }
void apic_send_init(u32 destination) { send(destination, assert_level | delivery_init); }
void apic_send_startup(u32 destination, u8 page) {
    send(destination, assert_level | delivery_startup | page);
}

void apic_stop_others() {
    if (ready)
        send(0, all_but_self | assert_level | delivery_nmi);
}

} // namespace horos::arch
