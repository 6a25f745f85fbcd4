// A virtual machine of a few pages, for tests: 32-bit protected mode without paging, flat
// segments, no interrupt table. Its monitor is whoever calls run().
#pragma once
#include <horos/abi/vcpu_state.hpp>

#include "native/support/own_memory.hpp"

namespace horos::native {

class SmallGuest {
public:
    static constexpr u64 code_address = 0x1000; // guest-physical
    static constexpr u64 data_address = 0x2000;
    static constexpr u64 read_only_address = 0x4000;
    static constexpr u64 end_address = 0x5000; // nothing is there from here on

    // Uses two selectors from `slot` on, and pages from `window` on in the program's space.
    void create(OwnMemory& memory, u32 slot, u64 window);
    void load(const u8* begin, const u8* end);
    void reset();

    struct Exit {
        Error error;
        abi::ExitReason reason; // with error guard: the rule's number
    };
    // Runs until an exit or for `ms`, whichever is first.
    Exit run(u64 ms);

    abi::VcpuState& state() { return page_->state; }
    u32& apic(u32 offset) { return page_->apic[offset / 4]; } // a register of its virtual APIC
    u32 space() const { return slot_; }
    u32 vcpu() const { return slot_ + 1; }
    u8* memory() { return memory_; }

private:
    abi::VcpuPage* page_ = nullptr;
    u8* memory_ = nullptr;
    u32 slot_ = 0;
};

} // namespace horos::native
