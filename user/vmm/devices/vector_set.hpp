// A set of 256 interrupt vectors, searched from the highest.
#pragma once

#include <array>
#include <bit>

#include "base.hpp"

namespace horos::vmm {

class VectorSet {
public:
    static constexpr int none = -1;

    constexpr void insert(u8 vector) { words_[vector >> 6] |= bit(vector & 63); }
    constexpr void remove(u8 vector) { words_[vector >> 6] &= ~bit(vector & 63); }
    constexpr bool contains(u8 vector) const { return (words_[vector >> 6] >> (vector & 63)) & 1; }
    constexpr void clear() { words_ = {}; }
    constexpr void merge(u32 index, u64 bits) { words_[index] |= bits; }
    constexpr void subtract(u32 index, u64 bits) { words_[index] &= ~bits; }

    constexpr int highest() const {
        for (int index = 3; index >= 0; --index) {
            const u64 word = words_[static_cast<u32>(index)];
            if (word != 0)
                return index * 64 + 63 - std::countl_zero(word);
        }
        return none;
    }
    constexpr bool empty() const { return (words_[0] | words_[1] | words_[2] | words_[3]) == 0; }
    // Has it exactly one member?
    constexpr bool single() const {
        int count = 0;
        for (u64 word : words_)
            count += std::popcount(word);
        return count == 1;
    }

    // The 32 vectors from 32 * index, as the APIC's registers show them.
    constexpr u32 word32(u32 index) const {
        return static_cast<u32>(words_[index >> 1] >> ((index & 1) * 32));
    }
    constexpr void set_word32(u32 index, u32 bits) {
        const unsigned shift = (index & 1) * 32;
        words_[index >> 1] = (words_[index >> 1] & ~(u64{~u32{0}} << shift)) | u64{bits} << shift;
    }
    constexpr u64 word64(u32 index) const { return words_[index]; }

private:
    std::array<u64, 4> words_{};
};

} // namespace horos::vmm
