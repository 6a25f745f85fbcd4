// What the VMM needs of the system it runs on. host_horos.cpp makes it of hypercalls and the
// runtime; the host tests make it of a scripted processor.
#pragma once

#include "base.hpp"
#include "horos/abi/start_page.hpp"
#include "horos/abi/vcpu_state.hpp"

namespace horos::vmm::host {

Ticks now();

struct RunResult {
    bool ok = false;
    abi::ExitReason reason = abi::ExitReason::none;
    u64 detail = 0; // without ok: what the kernel answered
};
// Runs virtual CPU `index`, on its own thread, until an exit.
RunResult run(u32 index);

// Waits until somebody wakes the calling thread or the moment comes; returns the wake bits.
u64 wait(Ticks deadline);
void wake(u32 vcpu);
inline constexpr u64 wake_own = u64{1} << 32; // set by wake()

// The page through which the processor serves APICs in memory is in the guest's space, or not.
void show_apic_page(bool shown);

u32 console_write(const u8* bytes, u32 count); // returns how many were taken
u32 console_read(u8* bytes, u32 count);

void heartbeat(); // the guest makes progress
void relax();     // inside a spinning loop

// The end of the virtual machine.
struct Report {
    abi::ReportKind kind = abi::ReportKind::internal;
    u32 vcpu = 0;
    u64 rip = 0;
    const char* text = "";
    u64 info[4] = {};
    const u8* bytes = nullptr; // instruction bytes at rip
    u32 byte_count = 0;
};
[[noreturn]] void stop(const Report& report);

} // namespace horos::vmm::host
