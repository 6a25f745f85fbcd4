// How other threads reach a virtual CPU's local APIC: they post here and signal the CPU's thread,
// which empties the mailbox before its next entry. So the local APIC itself needs no lock.
#pragma once

#include <array>
#include <atomic>

#include "devices/lapic.hpp"

namespace horos::vmm {

class ApicMailbox {
public:
    static constexpr u32 event_nmi = 1, event_init = 2, event_startup = 4, event_vectors = 8,
                         event_external = 16;

    // Each says whether the box was empty: who found it so wakes the owner.
    bool post(u8 vector, bool level) {
        const u32 index = vector >> 6;
        const u64 one = bit(vector & 63);
        // The trigger mode first: who sees the vector must see how it was triggered.
        if (level)
            level_[index].fetch_or(one, std::memory_order_relaxed);
        else
            level_[index].fetch_and(~one, std::memory_order_relaxed);
        vectors_[index].fetch_or(one, std::memory_order_relaxed);
        return set(event_vectors);
    }
    bool post_nmi() { return set(event_nmi); }
    // The PIC asks for an interrupt: which one, the owner asks itself.
    bool post_external() { return set(event_external); }
    bool post_init() { return set(event_init); }
    bool post_startup(u8 page) {
        startup_page_.store(page, std::memory_order_relaxed);
        return set(event_startup);
    }

    bool empty() const { return events_.load(std::memory_order_relaxed) == 0; }

    // Takes everything: vectors go to the APIC, the rest is returned as event bits.
    u32 collect(Lapic& apic) {
        const u32 events = events_.exchange(0, std::memory_order_acquire);
        if (events & event_vectors)
            for (u32 index = 0; index < vectors_.size(); ++index)
                if (const u64 bits = vectors_[index].exchange(0, std::memory_order_relaxed))
                    apic.accept_from(index, bits, level_[index].load(std::memory_order_relaxed));
        return events & ~(event_vectors | event_external);
    }
    // The owner publishes under which destinations it can be found.
    void publish(const ApicAddress& address) {
        address_.store(address.pack(), std::memory_order_relaxed);
    }
    ApicAddress address() const {
        return ApicAddress::unpack(address_.load(std::memory_order_relaxed));
    }

    u8 startup_page() const { return startup_page_.load(std::memory_order_relaxed); }

private:
    bool set(u32 event) { return events_.fetch_or(event, std::memory_order_release) == 0; }

    std::atomic<u32> events_ = 0;
    std::atomic<u64> address_ = 0;
    std::atomic<u8> startup_page_ = 0;
    std::array<std::atomic<u64>, 4> vectors_{};
    std::array<std::atomic<u64>, 4> level_{};
};

} // namespace horos::vmm
