// 8254 programmable interval timer, and port 61h that gates and reads its channel 2.
//
// Pure state over time: every call says what time it is in host TSC ticks. Channel 0's output is
// an edge for IRQ 0; the owner asks next_edge() when to come back.
#pragma once

#include <array>

#include "ticks.hpp"

namespace horos::vmm {

class Pit {
public:
    static constexpr u64 frequency = 1193182;

    explicit Pit(u64 tsc_hz) : to_pit_(tsc_hz, frequency), to_tsc_(frequency, tsc_hz) {}

    u8 read(u16 port, Ticks now); // 40h-43h
    void write(u16 port, u8 value, Ticks now);
    u8 read_port61(Ticks now);
    void write_port61(u8 value, Ticks now);

    // Has channel 0 raised its output since the last call? Takes the edge.
    bool take_edge(Ticks now);
    Ticks next_edge() const { return next_edge_; }

private:
    enum class Access : u8 { latch = 0, low = 1, high = 2, low_high = 3 };
    struct Channel {
        u32 reload = 0x10000;
        Ticks start = 0;
        u16 latch = 0;
        u8 status_latch = 0;
        u8 mode = 3;
        Access access = Access::low_high;
        bool bcd = false;
        bool gate = true;
        bool loaded = false; // a full count was written since the mode was set
        bool latched = false, status_latched = false;
        bool read_high = false; // the next read is of the high byte
        bool write_high = false;
        u8 write_low = 0;
    };

    u64 elapsed(const Channel& channel, Ticks now) const;
    u16 count(const Channel& channel, Ticks now) const;
    bool output(const Channel& channel, Ticks now) const;
    void write_control(u8 value, Ticks now);
    void read_back(u8 value, Ticks now);
    void latch_count(Channel& channel, Ticks now);
    void load(u32 index, u32 count, Ticks now);
    void arm(Ticks now);

    std::array<Channel, 3> channels_{};
    TickScale to_pit_, to_tsc_;
    Ticks next_edge_ = never;
    u8 port61_ = 0;
};

} // namespace horos::vmm
