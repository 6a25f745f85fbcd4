// The one-shot timer, and its calibration: the APIC timer wakes us while the ACPI PM timer (or,
// without one, counter 2 of the PIT) says how long that was. Halting costs no instructions.
#include "apic.hpp"
#include "cpu.hpp"
#include "io.hpp"
#include "layout.hpp"
#include "panic.hpp"
#include <horos/defs/x86.hpp>

namespace horos::arch {
extern "C" u64 idle_wait();
namespace {

constexpr u32 lvt_timer = 0x320, initial_count = 0x380, current_count = 0x390, divide = 0x3e0;
constexpr u32 masked = 1u << 16, deadline_mode = 2u << 17, divide_by_1 = 0xb;
constexpr u64 pm_hz = 3'579'545, pit_hz = 1'193'182;
constexpr u64 ratio_us = 200, measure_us = 2000;

u64 khz = 0;
u64 apic_per_tsc = 0; // 32.32 fixed point

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

// A counter of known frequency, read as one that counts up.
struct Reference {
    u16 port; // PM timer, 0 = PIT
    u64 hz;
    u32 mask;

    u32 now() const {
        if (port)
            return in32(port) & mask;
        out8(0x43, 0x80); // latch counter 2
        const u32 low = in8(0x42);
        return ~(low | u32{in8(0x42)} << 8) & mask;
    }
    u32 since(u32 start) const { return (now() - start) & mask; }
};

Reference pit() {
    out8(0x61, static_cast<u8>((in8(0x61) & ~2u) | 1u)); // gate on, speaker off
    out8(0x43, 0xb0);                                    // counter 2, mode 0
    out8(0x42, 0xff);
    out8(0x42, 0xff);
    return {0, pit_hz, 0xffff};
}

// Reads a counter between two reads of the TSC; of several tries the one that took least time.
struct Sample {
    u64 tsc;
    u32 value;
};
template <class Read>
Sample sample(Read read_counter) {
    Sample best{};
    u64 shortest = ~u64{0};
    for (u32 i = 0; i < 5; ++i) {
        const u64 before = read_tsc();
        const u32 value = read_counter();
        const u64 took = read_tsc() - before;
        if (took >= shortest)
            continue;
        shortest = took;
        best = {before + took / 2, value};
    }
    return best;
}

// APIC timer ticks per TSC tick, over a time so short that spinning is cheap.
u64 measure_apic(const Reference& reference) {
    const auto count = [] { return read(current_count); };
    write(initial_count, ~0u);
    const Sample start = sample(count);
    const u32 begin = reference.now();
    for (u32 i = 0; reference.since(begin) < reference.hz * ratio_us / 1'000'000; ++i)
        if (i == 10'000'000)
            fatal("the reference timer does not count");
    const Sample end = sample(count);
    return (u64{start.value - end.value} << 32) / (end.tsc - start.tsc);
}

} // namespace

u64 timer_calibrate(u32 pm_timer_port, bool pm_timer_32bit) {
    const Reference reference = pm_timer_port ? Reference{static_cast<u16>(pm_timer_port), pm_hz,
                                                          pm_timer_32bit ? ~0u : 0xffffffu}
                                              : pit();
    const auto clock = [&] { return reference.now(); };
    write(divide, divide_by_1);
    write(lvt_timer, masked | vector::timer);
    const Sample start = sample(clock);
    apic_per_tsc = measure_apic(reference);
    const u64 spent = read_tsc() - start.tsc; // about ratio_us: sleep until measure_us
    const u64 sleep = spent * (measure_us / ratio_us - 1);
    write(lvt_timer, vector::timer);
    write(initial_count, static_cast<u32>(sleep * apic_per_tsc >> 32) + 1);
    const u64 asleep = read_tsc();
    while (idle_wait() != vector::timer)
        apic_end_of_interrupt();
    const u64 slept = read_tsc() - asleep;
    apic_end_of_interrupt();
    const Sample end = sample(clock);
    const u64 elapsed = (end.value - start.value) & reference.mask;
    if (elapsed == 0 || apic_per_tsc == 0)
        fatal("the timers could not be calibrated");
    khz = (end.tsc - start.tsc) * reference.hz / elapsed / 1000;
    return slept;
}

u64 tsc_khz() { return khz; }

void timer_enable() {
    this_cpu().timer = abi::no_deadline;
    write(divide, divide_by_1);
    write(lvt_timer, vector::timer | (features.tsc_deadline ? deadline_mode : 0));
}

void timer_set(u64 tsc) {
    this_cpu().timer = tsc;
    if (features.tsc_deadline) {
        asm volatile("mfence; lfence" ::: "memory"); // orders the mode write of timer_enable
        write_msr(x86::msr::TSC_DEADLINE, tsc == abi::no_deadline ? 0 : tsc);
        return;
    }
    u32 count = 0;
    if (tsc != abi::no_deadline) {
        const u64 now = read_tsc();
        const u64 ticks = static_cast<u64>(
            (static_cast<unsigned __int128>(tsc > now ? tsc - now : 0) * apic_per_tsc) >> 32);
        count = ticks >= 0xffff'ffff ? 0xffff'ffff : static_cast<u32>(ticks) + 1;
    }
    write(initial_count, count);
}

} // namespace horos::arch
