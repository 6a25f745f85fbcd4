// A byte queue of fixed capacity.
#pragma once

#include <array>

#include "base.hpp"

namespace horos::vmm {

template <u32 Capacity>
class ByteRing {
    static_assert((Capacity & (Capacity - 1)) == 0, "capacity is a power of two");

public:
    constexpr bool empty() const { return head_ == tail_; }
    constexpr bool full() const { return size() == Capacity; }
    constexpr u32 size() const { return tail_ - head_; }
    constexpr void clear() { head_ = tail_; }
    constexpr bool push(u8 byte) {
        if (full())
            return false;
        bytes_[tail_++ % Capacity] = byte;
        return true;
    }
    constexpr u8 front() const { return bytes_[head_ % Capacity]; }
    constexpr u8 pop() { return bytes_[head_++ % Capacity]; }

private:
    std::array<u8, Capacity> bytes_{};
    u32 head_ = 0; // the two indices run freely; their difference is the fill
    u32 tail_ = 0;
};

} // namespace horos::vmm
