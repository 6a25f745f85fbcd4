#include "devices/rtc.hpp"

namespace horos::vmm {
namespace {

constexpr u8 reg_second = 0, reg_second_alarm = 1, reg_minute = 2, reg_minute_alarm = 3,
             reg_hour = 4, reg_hour_alarm = 5, reg_weekday = 6, reg_day = 7, reg_month = 8,
             reg_year = 9, reg_a = 10, reg_b = 11, reg_c = 12, reg_d = 13, reg_century = 0x32;
constexpr u8 b_set = 0x80, b_periodic = 0x40, b_alarm = 0x20, b_update = 0x10, b_binary = 0x04,
             b_24_hours = 0x02;
constexpr u8 c_irq = 0x80, c_periodic = 0x40, c_alarm = 0x20, c_update = 0x10;
constexpr u8 dont_care = 0xc0; // an alarm byte with both top bits set matches everything

// Civil date arithmetic on days since 1 March of the year 0, in eras of 400 years that begin on
// 1 March, so that the leap day is the last of its year. The clock counts from there and not from
// 1970, because a guest that sets the year before the century passes through years like 1932.
constexpr u64 days_to_1970 = 719468;
constexpr u64 seconds_to_1970 = days_to_1970 * 86400;
constexpr u64 days_from_civil(u64 year, u64 month, u64 day) {
    year -= month <= 2;
    const u64 era = year / 400;
    const u64 year_of_era = year % 400;
    const u64 day_of_year = (153 * (month + (month > 2 ? u64{0} - 3 : 9)) + 2) / 5 + day - 1;
    const u64 day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era;
}
static_assert(days_from_civil(1970, 1, 1) == days_to_1970);
static_assert(days_from_civil(2026, 11, 22) == days_to_1970 + 20779);

} // namespace

Rtc::Rtc(u64 tsc_hz, u64 unix_seconds, Ticks at)
    : tsc_hz_(tsc_hz), to_microseconds_(tsc_hz, 1'000'000),
      base_seconds_(unix_seconds + seconds_to_1970), base_ticks_(at) {
    memory_[reg_d] = 0x80; // the battery is good
}

void Rtc::set_memory_size(u64 below_4g, u64 above_4g) {
    const u64 extended_kib = below_4g > 0x100000 ? (below_4g - 0x100000) >> 10 : 0;
    const u64 capped = extended_kib > 0xffff ? 0xffff : extended_kib;
    const u64 above_16m = below_4g > 0x1000000 ? (below_4g - 0x1000000) >> 16 : 0;
    memory_[0x15] = 640 & 0xff;
    memory_[0x16] = 640 >> 8;
    memory_[0x17] = memory_[0x30] = static_cast<u8>(capped);
    memory_[0x18] = memory_[0x31] = static_cast<u8>(capped >> 8);
    memory_[0x34] = static_cast<u8>(above_16m);
    memory_[0x35] = static_cast<u8>(above_16m >> 8);
    memory_[0x5b] = static_cast<u8>(above_4g >> 16);
    memory_[0x5c] = static_cast<u8>(above_4g >> 24);
    memory_[0x5d] = static_cast<u8>(above_4g >> 32);
}

u64 Rtc::seconds_at(Ticks now) const {
    const u64 passed = now > base_ticks_ ? now - base_ticks_ : 0;
    return base_seconds_ + to_microseconds_(passed) / 1'000'000;
}

Rtc::Calendar Rtc::calendar(Ticks now) const {
    const u64 seconds = seconds_at(now);
    const u64 days = seconds / 86400;
    const u64 era = days / 146097;
    const u64 day_of_era = days % 146097;
    const u64 year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    const u64 day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    const u64 month_index = (5 * day_of_year + 2) / 153;
    const u64 month = month_index < 10 ? month_index + 3 : month_index - 9;
    const u64 in_day = seconds % 86400;
    return {.second = static_cast<u32>(in_day % 60),
            .minute = static_cast<u32>(in_day / 60 % 60),
            .hour = static_cast<u32>(in_day / 3600),
            .day = static_cast<u32>(day_of_year - (153 * month_index + 2) / 5 + 1),
            .month = static_cast<u32>(month),
            .year = static_cast<u32>(year_of_era + era * 400 + (month <= 2 ? 1 : 0)),
            .weekday = static_cast<u32>((days + 3) % 7 + 1)};
}

u8 Rtc::encode(u32 value) const {
    if (status_b_ & b_binary)
        return static_cast<u8>(value);
    return static_cast<u8>(value / 10 << 4 | value % 10);
}

u32 Rtc::decode(u8 value) const {
    if (status_b_ & b_binary)
        return value;
    return (value >> 4) * 10u + (value & 0xf);
}

u8 Rtc::encode_hour(u32 hour) const {
    if (status_b_ & b_24_hours)
        return encode(hour);
    const u32 twelve = hour % 12 == 0 ? 12 : hour % 12;
    return static_cast<u8>(encode(twelve) | (hour >= 12 ? 0x80 : 0));
}

u32 Rtc::decode_hour(u8 value) const {
    if (status_b_ & b_24_hours)
        return decode(value);
    return decode(value & 0x7f) % 12 + ((value & 0x80) ? 12 : 0);
}

u8 Rtc::time_register(u8 index, Ticks now) const {
    const Calendar time = calendar(now);
    switch (index) {
    case reg_second:
        return encode(time.second);
    case reg_minute:
        return encode(time.minute);
    case reg_hour:
        return encode_hour(time.hour);
    case reg_weekday:
        return encode(time.weekday);
    case reg_day:
        return encode(time.day);
    case reg_month:
        return encode(time.month);
    case reg_year:
        return encode(time.year % 100);
    default: // century
        return encode(time.year / 100);
    }
}

// Setting the clock moves the base; the other fields keep running.
void Rtc::set_time_register(u8 index, u8 value, Ticks now) {
    Calendar time = calendar(now);
    switch (index) {
    case reg_second:
        time.second = decode(value) % 60;
        break;
    case reg_minute:
        time.minute = decode(value) % 60;
        break;
    case reg_hour:
        time.hour = decode_hour(value) % 24;
        break;
    case reg_day:
        time.day = decode(value) == 0 || decode(value) > 31 ? 1 : decode(value);
        break;
    case reg_month:
        time.month = decode(value) == 0 || decode(value) > 12 ? 1 : decode(value);
        break;
    case reg_year:
        time.year = time.year / 100 * 100 + decode(value) % 100;
        break;
    case reg_century: {
        const u32 century = decode(value);
        time.year = (century < 19 || century > 99 ? 20 : century) * 100 + time.year % 100;
        break;
    }
    default:
        return; // the day of the week follows from the date
    }
    base_seconds_ = days_from_civil(time.year, time.month, time.day) * 86400 + time.hour * 3600 +
                    time.minute * 60 + time.second;
    base_ticks_ = now;
    last_second_ = base_seconds_;
}

u8 Rtc::read(u16 port, Ticks now) {
    if ((port & 1) == 0)
        return 0xff; // the index register is write-only on most boards
    switch (index_) {
    case reg_second:
    case reg_minute:
    case reg_hour:
    case reg_weekday:
    case reg_day:
    case reg_month:
    case reg_year:
    case reg_century:
        return time_register(index_, now);
    case reg_a: {
        // Update in progress for the last 244 us of each second.
        const u64 passed = now > base_ticks_ ? now - base_ticks_ : 0;
        const bool updating = to_microseconds_(passed) % 1'000'000 >= 999'756;
        return status_a_ | (updating && !(status_b_ & b_set) ? 0x80 : 0);
    }
    case reg_b:
        return status_b_;
    case reg_c: {
        advance(now);
        const u8 value = status_c_;
        status_c_ = 0;
        schedule(now);
        return value;
    }
    default:
        return memory_[index_];
    }
}

void Rtc::write(u16 port, u8 value, Ticks now) {
    if ((port & 1) == 0) {
        index_ = value & 0x7f;
        return;
    }
    switch (index_) {
    case reg_second:
    case reg_minute:
    case reg_hour:
    case reg_weekday:
    case reg_day:
    case reg_month:
    case reg_year:
    case reg_century:
        set_time_register(index_, value, now);
        break;
    case reg_a:
        status_a_ = value & 0x7f;
        break;
    case reg_b:
        status_b_ = value;
        last_second_ = seconds_at(now);
        raise(0);
        break;
    case reg_c:
    case reg_d:
        return; // read-only
    default:
        memory_[index_] = value;
        break;
    }
    schedule(now);
}

bool Rtc::alarm_matches(Ticks now) const {
    const Calendar time = calendar(now);
    const auto matches = [](u8 alarm, u8 current) {
        return (alarm & dont_care) == dont_care || alarm == current;
    };
    return matches(memory_[reg_second_alarm], encode(time.second)) &&
           matches(memory_[reg_minute_alarm], encode(time.minute)) &&
           matches(memory_[reg_hour_alarm], encode_hour(time.hour));
}

void Rtc::raise(u8 flags) {
    status_c_ |= flags;
    // Flags and enables share their bit positions.
    if (status_c_ & status_b_ & (c_periodic | c_alarm | c_update))
        status_c_ |= c_irq;
}

void Rtc::advance(Ticks now) {
    const u64 second = seconds_at(now);
    if (second != last_second_ && !(status_b_ & b_set)) {
        last_second_ = second;
        raise(alarm_matches(now) ? c_update | c_alarm : c_update);
    }
    if ((status_b_ & b_periodic) && (status_a_ & 0x0f) != 0) {
        const u64 hz = 65536u >> (status_a_ & 0x0f);
        const u64 period = tsc_hz_ / (hz == 0 ? 1 : hz);
        const u64 periods = period == 0 ? 0 : now / period;
        if (periods != last_period_) {
            last_period_ = periods;
            raise(c_periodic);
        }
    }
    schedule(now);
}

void Rtc::schedule(Ticks now) {
    next_event_ = never;
    if (status_b_ & (b_alarm | b_update)) {
        const u64 passed = now > base_ticks_ ? now - base_ticks_ : 0;
        next_event_ = base_ticks_ + (to_microseconds_(passed) / 1'000'000 + 1) * tsc_hz_;
    }
    if ((status_b_ & b_periodic) && (status_a_ & 0x0f) != 0) {
        const u64 period = tsc_hz_ / (65536u >> (status_a_ & 0x0f));
        const Ticks next = period == 0 ? never : (now / period + 1) * period;
        next_event_ = next < next_event_ ? next : next_event_;
    }
}

} // namespace horos::vmm
