#include "policy/guest_clock.hpp"

namespace horos::vmm {
namespace {

// Layouts of Linux' Documentation/virt/kvm/x86/msr.rst.
struct SystemTime {
    u32 version;
    u32 padding;
    u64 tsc_timestamp;
    u64 system_time;
    u32 tsc_to_system_mul;
    i8 tsc_shift;
    u8 flags;
    u8 reserved[2];
};
static_assert(sizeof(SystemTime) == 32);

struct WallClock {
    u32 version;
    u32 seconds;
    u32 nanoseconds;
};

constexpr u8 flag_stable = 1;

} // namespace

ClockScale ClockScale::from_khz(u64 tsc_khz) {
    if (tsc_khz == 0)
        return {};
    // Bring 10^6 * 2^32 / (khz * 2^shift) into 32 bits with its top bit set.
    u64 khz = tsc_khz;
    i8 shift = 0;
    while (khz > 2'000'000) { // multiplier below 2^31: ticks are too short
        khz >>= 1;
        --shift;
    }
    while (khz <= 1'000'000) { // multiplier would not fit
        khz <<= 1;
        ++shift;
    }
    // Recompute exactly: the loop's shifted value has lost bits.
    const u64 numerator = u64{1'000'000} << 32;
    const u64 multiplier =
        shift >= 0 ? numerator / (tsc_khz << shift)
                   : (numerator / tsc_khz << -shift) + ((numerator % tsc_khz) << -shift) / tsc_khz;
    return {static_cast<u32>(multiplier), shift};
}

bool GuestClock::write_system_time(const GuestMemory& memory, u64 address, u64 tsc_offset) const {
    u8* place = memory.at(address, sizeof(SystemTime));
    if (place == nullptr || (address & 3) != 0)
        return false;
    auto* page = reinterpret_cast<SystemTime*>(place);
    // An odd version tells readers on other virtual CPUs that the fields are being changed.
    u32 version = 0;
    __builtin_memcpy(&version, place, sizeof version);
    version = (version | 1);
    __atomic_store_n(&page->version, version, __ATOMIC_RELEASE);
    const SystemTime content{.version = version,
                             .padding = 0,
                             .tsc_timestamp = boot_ + tsc_offset,
                             .system_time = 0,
                             .tsc_to_system_mul = scale_.multiplier,
                             .tsc_shift = scale_.shift,
                             .flags = flag_stable,
                             .reserved = {}};
    __builtin_memcpy(place + sizeof(u32), reinterpret_cast<const u8*>(&content) + sizeof(u32),
                     sizeof(content) - sizeof(u32));
    __atomic_store_n(&page->version, version + 1, __ATOMIC_RELEASE);
    return true;
}

bool GuestClock::write_wall_clock(const GuestMemory& memory, u64 address) const {
    u8* place = memory.at(address, sizeof(WallClock));
    if (place == nullptr || (address & 3) != 0)
        return false;
    const WallClock content{
        .version = 2, .seconds = static_cast<u32>(boot_seconds_), .nanoseconds = 0};
    __builtin_memcpy(place, &content, sizeof content);
    return true;
}

} // namespace horos::vmm
