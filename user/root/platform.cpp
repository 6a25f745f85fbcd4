#include "platform.hpp"

#include <horos/rt/time.hpp>

#include "log.hpp"
#include "sleep_type.hpp"

namespace horos::root {
namespace {

constexpr u64 table_header_size = 36; // ACPI 6.4 §5.2.6: length at offset 4
constexpr u64 max_table_pages = 256;

// Maps `size` bytes of firmware memory read-only at address::tables.
const u8* map_firmware(u64 physical, u64 size) {
    const u64 first = physical >> abi::frame_bits;
    const u64 last = (physical + size - 1) >> abi::frame_bits;
    for (u64 page = first; page <= last; ++page) {
        const u64 at = address::tables + ((page - first) << abi::frame_bits);
        (void)user::unmap(abi::root_selector::space, at, 1);
        if (!root_space()
                 .map_device(at, abi::root_selector::mmio, static_cast<u32>(page), read_only)
                 .ok()) {
            return nullptr;
        }
    }
    return reinterpret_cast<const u8*>(address::tables + physical % abi::frame_size);
}

std::optional<u8> sleep_type() {
    const u64 physical = machine().boot->dsdt;
    if (physical == 0) {
        return std::nullopt;
    }
    const u8* table = map_firmware(physical, table_header_size);
    if (table == nullptr) {
        return std::nullopt;
    }
    u32 length;
    __builtin_memcpy(&length, table + 4, sizeof length);
    if (length < table_header_size || length > max_table_pages * abi::frame_size) {
        return std::nullopt;
    }
    table = map_firmware(physical, length);
    return table == nullptr ? std::nullopt : find_sleep_type(table, length);
}

bool consoles_are_empty() {
    for (u32 i = 0; i < max_instances; ++i) {
        if (machine().console_frames[i] == 0) {
            continue;
        }
        const abi::RingIndices& output = console_page(i).output;
        // The server says that it sleeps when it has also written what it took.
        if (__atomic_load_n(&output.produced, __ATOMIC_ACQUIRE) !=
                __atomic_load_n(&output.consumed, __ATOMIC_ACQUIRE) ||
            __atomic_load_n(&output.consumer_waits, __ATOMIC_ACQUIRE) == 0) {
            return false;
        }
    }
    return true;
}

// What partitions have written is to be seen, even if the end comes right after it.
void drain_consoles() {
    constexpr u32 patience_ms = 1000;
    if (machine().instances[console_index].state != InstanceState::running) {
        return;
    }
    for (u32 i = 0; i < patience_ms && !consoles_are_empty(); ++i) {
        sleep_ms(1);
    }
}

u8 cmos(u8 index) {
    (void)user::port_out(abi::root_selector::ports, 0x70, 1, index);
    return static_cast<u8>(user::port_in(abi::root_selector::ports, 0x71, 1).value);
}

struct Date {
    u32 second, minute, hour, day, month, year;
    bool operator==(const Date&) const = default;
};

Date read_date() {
    const bool binary = (cmos(0x0b) & 4) != 0;
    const auto field = [binary](u8 index) -> u32 {
        const u32 value = cmos(index);
        return binary ? value : (value >> 4) * 10 + (value & 15);
    };
    return {field(0), field(2), field(4) & 0x7f, field(7), field(8), field(9) + 2000};
}

// Days since 1970-01-01 in the Gregorian calendar, years counted from March.
u64 days_since_epoch(const Date& date) {
    const u32 year = date.month > 2 ? date.year : date.year - 1;
    const u32 month = (date.month + 9) % 12;
    const u64 leap_days = year / 4 - year / 100 + year / 400;
    return u64{365} * year + leap_days + (month * 306 + 5) / 10 + date.day - 1 - 719'468;
}

} // namespace

void sleep_ms(u64 ms) {
    (void)user::wait(selector::sleep_notification,
                     rt::now() + rt::ticks_of_ms(ms, machine().tsc_khz()));
}

void power_off() {
    drain_consoles();
    log_directly();
    const std::optional<u8> type = sleep_type();
    if (!type) {
        log("the ACPI tables do not say how to power off (\\_S5 not found): trying sleep type 0");
    }
    const auto result =
        user::platform_control(abi::root_selector::platform,
                               static_cast<u32>(abi::PlatformOp::power_off), type.value_or(0));
    log("fatal: this machine cannot be powered off: {}", abi::name_of(result.error));
    for (;;) {
        (void)user::thread_exit(1);
    }
}

void fatal(std::string_view why) {
    drain_consoles();
    log_directly();
    log("fatal: {}", why);
    power_off();
}

void fatal(std::string_view what, const Outcome& outcome) {
    rt::Text<192> line;
    line.format("{}: cannot {}", what, outcome.step());
    if (outcome.reason()[0] != 0) {
        line.format(" ({})", outcome.reason());
    }
    fatal(line.view());
}

void read_wall_clock() {
    // Two equal readings: no update went on between them.
    for (u32 tries = 0; tries < 8; ++tries) {
        const Date first = read_date();
        const u64 tsc = rt::now();
        const Date second = read_date();
        const bool possible = first.month >= 1 && first.month <= 12 && first.day >= 1 &&
                              first.day <= 31 && first.hour < 24 && first.minute < 60 &&
                              first.second < 60;
        if (first == second && possible) {
            machine().wall_clock_seconds = days_since_epoch(first) * 86'400 + first.hour * 3600 +
                                           first.minute * 60 + first.second;
            machine().wall_clock_tsc = tsc;
            return;
        }
    }
}

} // namespace horos::root
