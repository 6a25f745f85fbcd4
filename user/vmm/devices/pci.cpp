#include "devices/pci.hpp"

namespace horos::vmm {
namespace {

// The bridge shows itself as the generic host bridge that QEMU uses (1b36:0008): guests know it
// and have no quirks for it.
constexpr u16 vendor = 0x1b36, device = 0x0008;
constexpr u16 port_address = 0xcf8, port_data = 0xcfc;

} // namespace

PciHost::PciHost() {
    bridge_[0] = vendor & 0xff;
    bridge_[1] = vendor >> 8;
    bridge_[2] = device & 0xff;
    bridge_[3] = device >> 8;
    bridge_[0x0b] = 0x06; // class: bridge, subclass 0: host
}

u32 PciHost::read(u16 port, unsigned bytes) const {
    if (port == port_address && bytes == 4)
        return address_;
    const u32 ones = static_cast<u32>(byte_mask(bytes));
    if (port < port_data || !selects_bridge())
        return ones;
    const u32 first = (address_ & 0xfc) + (port - port_data);
    u32 value = 0;
    for (unsigned i = 0; i < bytes && first + i < bridge_.size(); ++i)
        value |= u32{bridge_[first + i]} << (8 * i);
    return value;
}

void PciHost::write(u16 port, unsigned bytes, u32 value) {
    if (port == port_address && bytes == 4) {
        address_ = value & 0x80ff'fffcu;
        return;
    }
    if (port < port_data || !selects_bridge())
        return;
    const u32 first = (address_ & 0xfc) + (port - port_data);
    for (unsigned i = 0; i < bytes; ++i) {
        // Of the header only the interrupt line byte is writable; the bridge has no BARs.
        if (first + i == 0x3c)
            bridge_[0x3c] = static_cast<u8>(value >> (8 * i));
    }
}

} // namespace horos::vmm
