// Which local APICs a destination names (APM vol. 2 §16.6.1; SDM vol. 3A §10.12.10 for x2APIC).
#pragma once

#include "base.hpp"

namespace horos::vmm {

// The x2APIC logical ID follows from the ID: cluster of sixteen, and a bit in it.
constexpr u32 x2apic_logical_id(u32 id) { return (id >> 4) << 16 | bit32(id & 15); }

struct ApicAddress {
    u32 id = 0;
    bool enabled = true;
    bool x2apic = false;
    bool flat = true;
    u8 logical_byte = 0; // bits 31:24 of the xAPIC logical destination register

    constexpr bool matches(u32 destination, bool logical) const {
        if (!enabled)
            return false;
        return x2apic ? matches_x2apic(destination, logical) : matches_xapic(destination, logical);
    }

    // One word, so that an owner can publish it with a single atomic store.
    constexpr u64 pack() const {
        return u64{id} | u64{logical_byte} << 32 | u64{enabled} << 40 | u64{x2apic} << 41 |
               u64{flat} << 42;
    }
    static constexpr ApicAddress unpack(u64 word) {
        return {.id = static_cast<u32>(word),
                .enabled = (word & bit(40)) != 0,
                .x2apic = (word & bit(41)) != 0,
                .flat = (word & bit(42)) != 0,
                .logical_byte = static_cast<u8>(word >> 32)};
    }

private:
    constexpr bool matches_x2apic(u32 destination, bool logical) const {
        // An I/O APIC or MSI has eight destination bits: FFh is its broadcast.
        if (destination == ~u32{0} || destination == 0xff)
            return true;
        if (!logical)
            return destination == id;
        const u32 mine = x2apic_logical_id(id);
        return (destination >> 16) == (mine >> 16) && (destination & mine & 0xffff) != 0;
    }
    constexpr bool matches_xapic(u32 destination, bool logical) const {
        if ((destination & 0xff) == 0xff)
            return true;
        if (!logical)
            return destination == id;
        if (flat)
            return (destination & logical_byte) != 0;
        return (destination >> 4) == u32{logical_byte} >> 4 && (destination & logical_byte & 0xf);
    }
};

} // namespace horos::vmm
