// PCI configuration mechanism 1 with one bus and one function on it: the host bridge.
#pragma once

#include <array>

#include "base.hpp"

namespace horos::vmm {

class PciHost {
public:
    PciHost();
    // Ports CF8h-CFFh, any width that stays inside a register.
    u32 read(u16 port, unsigned bytes) const;
    void write(u16 port, unsigned bytes, u32 value);

private:
    bool selects_bridge() const { return (address_ & 0x80ff'ff00u) == 0x8000'0000u; }
    u32 address_ = 0;
    std::array<u8, 256> bridge_{};
};

} // namespace horos::vmm
