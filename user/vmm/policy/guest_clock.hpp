// The paravirtual clock that Linux knows as kvmclock: pages that turn TSC values into nanoseconds.
// With the stable bit and an invariant TSC Linux reads the frequency here and then uses the TSC.
#pragma once

#include "emul/guest_memory.hpp"

namespace horos::vmm {

struct ClockScale {
    u32 multiplier = 0; // nanoseconds = (ticks << shift or >> -shift) * multiplier >> 32
    i8 shift = 0;
    static ClockScale from_khz(u64 tsc_khz);
};

class GuestClock {
public:
    GuestClock() = default;
    GuestClock(u64 tsc_khz, u64 boot_unix_seconds, Ticks boot)
        : scale_(ClockScale::from_khz(tsc_khz)), boot_seconds_(boot_unix_seconds), boot_(boot) {}

    // Fills the page at that guest-physical address; false if it is not in RAM. `tsc_offset` is
    // what the guest's TSC is ahead of the host's.
    bool write_system_time(const GuestMemory& memory, u64 address, u64 tsc_offset) const;
    bool write_wall_clock(const GuestMemory& memory, u64 address) const;

private:
    ClockScale scale_{};
    u64 boot_seconds_ = 0;
    Ticks boot_ = 0;
};

} // namespace horos::vmm
