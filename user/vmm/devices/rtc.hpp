// MC146818 real-time clock and its CMOS memory. Time of day runs from a moment given at boot.
#pragma once

#include <array>

#include "ticks.hpp"

namespace horos::vmm {

class Rtc {
public:
    // `unix_seconds` is the time of day (UTC) at TSC value `at`.
    Rtc(u64 tsc_hz, u64 unix_seconds, Ticks at);

    u8 read(u16 port, Ticks now);
    void write(u16 port, u8 value, Ticks now);
    bool irq() const { return (status_c_ & 0x80) != 0; } // IRQ 8
    // Brings interrupt flags up to date and says when to call again.
    void advance(Ticks now);
    Ticks next_event() const { return next_event_; }

    // What firmware leaves for operating systems: memory sizes in CMOS.
    void set_memory_size(u64 below_4g, u64 above_4g);

private:
    struct Calendar {
        u32 second, minute, hour, day, month, year, weekday;
    };
    u64 seconds_at(Ticks now) const;
    Calendar calendar(Ticks now) const;
    u8 encode(u32 value) const;
    u32 decode(u8 value) const;
    u8 encode_hour(u32 hour) const;
    u32 decode_hour(u8 value) const;
    u8 time_register(u8 index, Ticks now) const;
    void set_time_register(u8 index, u8 value, Ticks now);
    bool alarm_matches(Ticks now) const;
    void raise(u8 flags);
    void schedule(Ticks now);

    std::array<u8, 128> memory_{};
    u64 tsc_hz_;
    TickScale to_microseconds_;
    u64 base_seconds_;
    Ticks base_ticks_;
    Ticks next_event_ = never;
    u64 last_second_ = 0;
    u64 last_period_ = 0;
    u8 index_ = 0;
    u8 status_a_ = 0x26, status_b_ = 0x02, status_c_ = 0;
};

} // namespace horos::vmm
