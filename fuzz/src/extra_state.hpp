// The part of the state that VMLOAD loads and VMSAVE stores.
#pragma once

#include "horos/defs/svm.hpp"

#include <cstddef>
#include <cstring>

namespace horos::fuzz {

inline constexpr size_t EXTRA_FIRST =
    offsetof(horos::svm::Vmcb, save) + offsetof(horos::svm::SaveArea, star);
inline constexpr size_t EXTRA_BYTES = 64; // STAR to SYSENTER_EIP
struct ExtraRange {
    size_t offset, bytes;
};
// What VMLOAD loads and VMSAVE stores.
inline constexpr ExtraRange EXTRA_RANGES[] = {
    {0x440, 32}, {0x470, 16}, {0x490, 16}, {EXTRA_FIRST, EXTRA_BYTES}};

inline void copyExtra(horos::svm::Vmcb& to, const horos::svm::Vmcb& from) {
    for (ExtraRange range : EXTRA_RANGES)
        std::memcpy(reinterpret_cast<uint8_t*>(&to) + range.offset,
                    reinterpret_cast<const uint8_t*>(&from) + range.offset, range.bytes);
}

inline bool extraDiffers(const horos::svm::Vmcb& a, const horos::svm::Vmcb& b) {
    for (ExtraRange range : EXTRA_RANGES)
        if (std::memcmp(reinterpret_cast<const uint8_t*>(&a) + range.offset,
                        reinterpret_cast<const uint8_t*>(&b) + range.offset, range.bytes) != 0)
            return true;
    return false;
}

} // namespace horos::fuzz
