// Reads and writes at linear addresses, whether they end in RAM or in a device.
#pragma once

#include "emul/cpu_mode.hpp"
#include "emul/outcome.hpp"

namespace horos::vmm {

// The devices at guest-physical addresses. What no device answers reads as ones.
class MmioBus {
public:
    virtual u64 mmio_read(u64 address, unsigned bytes) = 0;
    virtual void mmio_write(u64 address, unsigned bytes, u64 value) = 0;

protected:
    ~MmioBus() = default;
};

class LinearMemory {
public:
    LinearMemory(const abi::VcpuState& cpu, const GuestMemory& memory, MmioBus& bus)
        : cpu_(cpu), memory_(memory), bus_(bus) {}

    // The access that the processor reported as `physical` needs no walk of its own: its rights
    // were checked before the nested fault.
    void set_known_physical(u64 physical) {
        known_ = physical;
        has_known_ = true;
    }

    // Segment and offset to a linear address, with the checks of the mode.
    Outcome linear(SegmentName name, u64 offset, unsigned bytes, bool write, u64& result) const;
    Outcome read(u64 linear, unsigned bytes, u64& value);
    Outcome write(u64 linear, unsigned bytes, u64 value);
    // Would a write succeed? For read-modify-write, whose read must not happen otherwise.
    Outcome check_write(u64 linear, unsigned bytes);

private:
    Outcome translate_part(u64 linear, unsigned bytes, Access access, u64& physical);
    u64 read_physical(u64 physical, unsigned bytes);
    void write_physical(u64 physical, unsigned bytes, u64 value);

    const abi::VcpuState& cpu_;
    const GuestMemory& memory_;
    MmioBus& bus_;
    u64 known_ = 0;
    bool has_known_ = false;
};

// A failed translation as the guest must see it.
Outcome translation_outcome(const Translation& translation, u64 linear);

} // namespace horos::vmm
