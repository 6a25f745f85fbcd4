// Conversion between clocks of different frequency without 128-bit division,
// which a freestanding program has no library routine for.
#pragma once

#include "base.hpp"

namespace horos::vmm {

// Scales a tick count of one clock to another: value * to_hz / from_hz.
// The factor is kept as a 64-bit multiplier and a shift, so that one multiplication is enough.
class TickScale {
public:
    constexpr TickScale() = default;
    constexpr TickScale(u64 from_hz, u64 to_hz) {
        if (from_hz == 0 || to_hz == 0)
            return;
        // Keep as many fraction bits as 64 bits hold, so that the error stays below one
        // tick in a day even for the slowest clocks.
        shift_ = 0;
        u64 whole = to_hz / from_hz;
        u64 rest = to_hz % from_hz;
        multiplier_ = whole;
        while (shift_ < 63 && (multiplier_ >> 62) == 0 && (rest >> 63) == 0) {
            rest <<= 1;
            multiplier_ <<= 1;
            if (rest >= from_hz) {
                rest -= from_hz;
                multiplier_ |= 1;
            }
            ++shift_;
        }
    }

    constexpr u64 operator()(u64 value) const {
        return static_cast<u64>((static_cast<u128>(value) * multiplier_) >> shift_);
    }

private:
    u64 multiplier_ = 0;
    unsigned shift_ = 0;
};

} // namespace horos::vmm
