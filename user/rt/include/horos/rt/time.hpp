// Time is counted in ticks of the time-stamp counter.
#pragma once
#include <horos/abi/types.hpp>

namespace horos::rt {

inline abi::u64 now() {
    abi::u32 low, high;
    asm volatile("rdtsc" : "=a"(low), "=d"(high));
    return abi::u64{high} << 32 | low;
}

// tsc_khz is below 2^27 (134 GHz): the products below cannot overflow for a day's worth of time.
constexpr abi::u64 ticks_of_ms(abi::u64 ms, abi::u64 tsc_khz) { return ms * tsc_khz; }
constexpr abi::u64 ticks_of_ns(abi::u64 ns, abi::u64 tsc_khz) {
    return ns / 1'000'000 * tsc_khz + ns % 1'000'000 * tsc_khz / 1'000'000;
}
constexpr abi::u64 ms_of_ticks(abi::u64 ticks, abi::u64 tsc_khz) {
    return tsc_khz == 0 ? 0 : ticks / tsc_khz;
}

} // namespace horos::rt
