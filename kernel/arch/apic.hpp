// Local APIC of this CPU: xAPIC registers in memory, or x2APIC MSRs where present.
#pragma once
#include "types.hpp"

namespace horos::arch {

void apic_enable(); // this CPU
u32 apic_id();      // this CPU
void apic_end_of_interrupt();
void apic_send(u32 apic_id, u8 vector);
void apic_send_init(u32 apic_id);
void apic_send_startup(u32 apic_id, u8 page);
void apic_stop_others(); // NMI to all others; does nothing before apic_enable

// One-shot timer. Calibrated once, on the first processor.
u64 timer_calibrate(u32 pm_timer_port, bool pm_timer_32bit); // TSC ticks it was asleep
u64 tsc_khz();
void timer_enable();     // this CPU
void timer_set(u64 tsc); // this CPU; no_deadline = off

} // namespace horos::arch
