#include "devices/pit.hpp"

namespace horos::vmm {
namespace {

constexpr bool periodic(u8 mode) { return mode == 2 || mode == 3; }

constexpr u32 from_bcd(u32 value) {
    return (value & 0xf) + ((value >> 4) & 0xf) * 10 + ((value >> 8) & 0xf) * 100 +
           ((value >> 12) & 0xf) * 1000;
}

constexpr u16 to_bcd(u32 value) {
    return static_cast<u16>(value % 10 | (value / 10 % 10) << 4 | (value / 100 % 10) << 8 |
                            (value / 1000 % 10) << 12);
}

} // namespace

u64 Pit::elapsed(const Channel& channel, Ticks now) const {
    return now > channel.start ? to_pit_(now - channel.start) : 0;
}

u16 Pit::count(const Channel& channel, Ticks now) const {
    const u64 passed = elapsed(channel, now);
    u64 value = 0;
    if (!channel.loaded || (!channel.gate && channel.mode != 1 && channel.mode != 5))
        value = channel.reload;
    else if (channel.mode == 3)
        // Mode 3 counts down in twos and reloads in each half of the square wave.
        value = channel.reload - (passed * 2) % channel.reload;
    else if (channel.mode == 2)
        value = channel.reload - passed % channel.reload;
    else
        value = channel.reload - passed; // one-shot modes wrap and go on counting
    if (channel.bcd)
        return to_bcd(static_cast<u32>(value % 10000));
    return static_cast<u16>(value);
}

bool Pit::output(const Channel& channel, Ticks now) const {
    const u64 passed = elapsed(channel, now);
    switch (channel.mode) {
    case 0:
        return channel.loaded && channel.gate && passed >= channel.reload;
    case 1:
        return !channel.loaded || passed >= channel.reload;
    case 2:
        return !channel.gate || passed % channel.reload != channel.reload - 1;
    case 3:
        return !channel.gate || passed % channel.reload < (channel.reload + 1) / 2;
    default:
        return !channel.loaded || passed != channel.reload;
    }
}

void Pit::latch_count(Channel& channel, Ticks now) {
    if (channel.latched)
        return; // a second latch before the read is ignored
    channel.latch = count(channel, now);
    channel.latched = true;
}

u8 Pit::read(u16 port, Ticks now) {
    const u32 index = port & 3;
    if (index == 3)
        return 0xff; // the control word cannot be read
    Channel& channel = channels_[index];
    if (channel.status_latched) {
        channel.status_latched = false;
        return channel.status_latch;
    }
    const u16 value = channel.latched ? channel.latch : count(channel, now);
    const bool high =
        channel.access == Access::high || (channel.access == Access::low_high && channel.read_high);
    if (channel.access == Access::low_high)
        channel.read_high = !channel.read_high;
    if (channel.access != Access::low_high || high)
        channel.latched = false;
    return static_cast<u8>(high ? value >> 8 : value);
}

void Pit::write(u16 port, u8 value, Ticks now) {
    const u32 index = port & 3;
    if (index == 3) {
        write_control(value, now);
        return;
    }
    Channel& channel = channels_[index];
    switch (channel.access) {
    case Access::low:
        load(index, value, now);
        break;
    case Access::high:
        load(index, u32{value} << 8, now);
        break;
    default:
        if (channel.write_high)
            load(index, channel.write_low | u32{value} << 8, now);
        else
            channel.write_low = value;
        channel.write_high = !channel.write_high;
        break;
    }
}

void Pit::write_control(u8 value, Ticks now) {
    const u32 index = value >> 6;
    if (index == 3) {
        read_back(value, now);
        return;
    }
    Channel& channel = channels_[index];
    const auto access = static_cast<Access>((value >> 4) & 3);
    if (access == Access::latch) {
        latch_count(channel, now);
        return;
    }
    channel.access = access;
    channel.mode = (value >> 1) & 7;
    if (channel.mode > 5)
        channel.mode -= 4; // modes 6 and 7 are 2 and 3
    channel.bcd = (value & 1) != 0;
    channel.loaded = channel.latched = channel.status_latched = false;
    channel.read_high = channel.write_high = false;
    channel.start = now;
    if (index == 0)
        arm(now);
}

void Pit::read_back(u8 value, Ticks now) {
    for (u32 index = 0; index < 3; ++index) {
        if (!(value & (2u << index)))
            continue;
        Channel& channel = channels_[index];
        if (!(value & 0x20))
            latch_count(channel, now);
        if (!(value & 0x10) && !channel.status_latched) {
            channel.status_latch = static_cast<u8>(
                (output(channel, now) ? 0x80 : 0) | (channel.loaded ? 0 : 0x40) |
                static_cast<u8>(channel.access) << 4 | channel.mode << 1 | (channel.bcd ? 1 : 0));
            channel.status_latched = true;
        }
    }
}

void Pit::load(u32 index, u32 count, Ticks now) {
    Channel& channel = channels_[index];
    if (channel.bcd)
        channel.reload = count == 0 ? 10000 : from_bcd(count);
    else
        channel.reload = count == 0 ? 0x10000 : count;
    if (channel.reload == 0)
        channel.reload = 1; // malformed BCD such as 0xa0 digits adding to nothing
    channel.loaded = true;
    channel.start = now;
    if (index == 0)
        arm(now);
}

void Pit::arm(Ticks now) {
    const Channel& channel = channels_[0];
    next_edge_ = channel.loaded ? now + to_tsc_(channel.reload) + 1 : never;
}

bool Pit::take_edge(Ticks now) {
    if (now < next_edge_)
        return false;
    const Channel& channel = channels_[0];
    if (!periodic(channel.mode)) {
        next_edge_ = never;
        return true;
    }
    // The n-th edge is computed from the start, so that rounding does not add up; edges that
    // passed while the guest did not run are merged into one.
    const u64 periods = elapsed(channel, now) / channel.reload + 1;
    next_edge_ = channel.start + to_tsc_(periods * channel.reload) + 1;
    return true;
}

u8 Pit::read_port61(Ticks now) {
    const bool refresh = (to_pit_(now) >> 4) & 1; // toggles about every 13 us
    return static_cast<u8>((port61_ & 0x0f) | (refresh ? 0x10 : 0) |
                           (output(channels_[2], now) ? 0x20 : 0));
}

void Pit::write_port61(u8 value, Ticks now) {
    Channel& channel = channels_[2];
    const bool gate = (value & 1) != 0;
    if (gate && !channel.gate)
        channel.start = now; // a rising gate starts (or restarts) the count
    channel.gate = gate;
    port61_ = value & 0x0f;
}

} // namespace horos::vmm
