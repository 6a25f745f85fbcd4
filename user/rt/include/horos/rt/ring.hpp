// One side of a byte ring in a shared page. Our own index is kept here, out of the other side's
// reach; the other side's index is read once and believed only within the capacity.
#pragma once
#include <horos/abi/console_page.hpp>

namespace horos::rt {

using abi::u32;
using abi::u8;

namespace detail {
inline u32 load(const u32& shared) { return __atomic_load_n(&shared, __ATOMIC_ACQUIRE); }
inline void store(u32& shared, u32 value) { __atomic_store_n(&shared, value, __ATOMIC_RELEASE); }
// The waiting flag and the index must be seen in one order by both sides, or a wake-up is lost.
inline void fence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
} // namespace detail

class RingProducer {
public:
    void attach(abi::RingIndices* indices, u8* bytes, u32 capacity) {
        indices_ = indices;
        bytes_ = bytes;
        capacity_ = capacity;
        produced_ = detail::load(indices->produced);
    }
    u32 room() {
        const u32 consumed = detail::load(indices_->consumed);
        if (produced_ - consumed > capacity_) { // the other side was restarted, or lies
            produced_ = consumed;
        }
        return capacity_ - (produced_ - consumed);
    }
    // Takes as many bytes as there is room for.
    u32 push(const u8* bytes, u32 count) {
        const u32 free = room();
        count = count < free ? count : free;
        for (u32 i = 0; i < count; ++i) {
            bytes_[(produced_ + i) % capacity_] = bytes[i];
        }
        produced_ += count;
        detail::store(indices_->produced, produced_);
        return count;
    }
    // Whether the consumer sleeps and must be woken; asks once for each sleep.
    bool must_wake() {
        detail::fence();
        if (detail::load(indices_->consumer_waits) == 0) {
            return false;
        }
        detail::store(indices_->consumer_waits, 0);
        return true;
    }
    // Says that we want to be woken when there is room; look at room() again after it.
    void want_room() {
        detail::store(indices_->producer_waits, 1);
        detail::fence();
    }

private:
    abi::RingIndices* indices_ = nullptr;
    u8* bytes_ = nullptr;
    u32 capacity_ = 1;
    u32 produced_ = 0;
};

class RingConsumer {
public:
    void attach(abi::RingIndices* indices, const u8* bytes, u32 capacity) {
        indices_ = indices;
        bytes_ = bytes;
        capacity_ = capacity;
        consumed_ = detail::load(indices->consumed);
    }
    u32 fill() {
        const u32 produced = detail::load(indices_->produced);
        if (produced - consumed_ > capacity_) { // the other side was restarted, or lies
            consumed_ = produced;
        }
        return produced - consumed_;
    }
    u32 pop(u8* bytes, u32 count) {
        const u32 there = fill();
        count = count < there ? count : there;
        for (u32 i = 0; i < count; ++i) {
            bytes[i] = bytes_[(consumed_ + i) % capacity_];
        }
        consumed_ += count;
        detail::store(indices_->consumed, consumed_);
        return count;
    }
    bool must_wake() {
        detail::fence();
        if (detail::load(indices_->producer_waits) == 0) {
            return false;
        }
        detail::store(indices_->producer_waits, 0);
        return true;
    }
    // Says that we want to be woken when there are bytes; look at fill() again after it.
    void want_bytes() {
        detail::store(indices_->consumer_waits, 1);
        detail::fence();
    }

private:
    abi::RingIndices* indices_ = nullptr;
    const u8* bytes_ = nullptr;
    u32 capacity_ = 1;
    u32 consumed_ = 0;
};

} // namespace horos::rt
