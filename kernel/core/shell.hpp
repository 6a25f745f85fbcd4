// What the core asks of the architecture shell (kernel/arch). The host tests and the prover have
// their own versions.
#pragma once
#include "kernel/core/state.hpp"

namespace horos::core {

u32 shell_core();                     // number of the executing core
u64 shell_now();                      // TSC
void shell_set_timer(u64 tsc);        // one-shot interrupt on this core; no_deadline = off
void shell_send_reschedule(u32 core); // interrupt another core so that it looks at its Core
// Flushes the whole non-global TLB of each core in the mask, this one included, and returns when
// all have done so.
void shell_flush_tlb(u64 core_mask);
void shell_route_line(u32 gsi, u8 vector, u32 core, u32 flags); // sets up the line, masked
void shell_mask_line(u32 gsi, bool masked);
bool shell_line_exists(u32 gsi);
u64 shell_message_address(u32 core); // of an MSI
void shell_fpu_switch(u32 owner);    // makes a thread's or virtual CPU's FPU state the live one
void shell_take_interrupt();         // lets a pending host interrupt in and handles it
u32 shell_port_in(u16 port, u8 size);
void shell_port_out(u16 port, u8 size, u32 value);
bool shell_power_off_supported();
void shell_request_power(PlatformOp op, u8 sleep_type); // stops the cores, does not come back
void shell_log(const char* text, u32 length);
[[noreturn]] void shell_stop(const char* check); // fail closed: names the check, stops

} // namespace horos::core
