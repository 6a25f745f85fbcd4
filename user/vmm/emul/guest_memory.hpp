// The guest's RAM as the VMM sees it: guest-physical addresses from 0, with the hole for devices
// below 4 GiB, on one contiguous mapping in the VMM's own space.
#pragma once

#include "base.hpp"

namespace horos::vmm {

class GuestMemory {
public:
    static constexpr u64 hole_begin = 0xc000'0000; // 3 GiB
    static constexpr u64 hole_end = 0x1'0000'0000;

    constexpr GuestMemory() = default;
    constexpr GuestMemory(u8* base, u64 bytes)
        : base_(base), low_(bytes < hole_begin ? bytes : hole_begin), high_(bytes - low_) {}

    u64 low_bytes() const { return low_; }   // from 0
    u64 high_bytes() const { return high_; } // from hole_end
    u64 bytes() const { return low_ + high_; }

    // The bytes at a guest-physical address, or null when not all of them are RAM.
    u8* at(u64 address, u64 count) const {
        if (address < low_ && count <= low_ - address)
            return base_ + address;
        if (address >= hole_end && address - hole_end < high_ &&
            count <= high_ - (address - hole_end))
            return base_ + low_ + (address - hole_end);
        return nullptr;
    }
    bool is_ram(u64 address) const { return at(address, 1) != nullptr; }

    // An aligned word, read once: the guest may be changing it on another processor.
    template <class Word>
    bool load(u64 address, Word& value) const {
        const u8* place = at(address, sizeof(Word));
        if (place == nullptr || (address & (sizeof(Word) - 1)) != 0)
            return false;
        value = __atomic_load_n(reinterpret_cast<const Word*>(place), __ATOMIC_RELAXED);
        return true;
    }
    template <class Word>
    bool store(u64 address, Word value) const {
        u8* place = at(address, sizeof(Word));
        if (place == nullptr || (address & (sizeof(Word) - 1)) != 0)
            return false;
        __atomic_store_n(reinterpret_cast<Word*>(place), value, __ATOMIC_RELAXED);
        return true;
    }

private:
    u8* base_ = nullptr;
    u64 low_ = 0;
    u64 high_ = 0;
};

} // namespace horos::vmm
