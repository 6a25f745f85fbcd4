// Segment descriptors in the GDT and LDT (APM vol. 2 rev. 3.42 §4.7, §4.8).
#pragma once

#include "guest/cpu.hpp"
#include "tables.hpp"

namespace horos::model::svm::guest {

struct Descriptor : SegmentDescriptor {
    Descriptor(uint64_t value) : SegmentDescriptor{value} {}
    uint16_t attributes() const {
        return static_cast<uint16_t>(((low >> 40) & 0xff) | ((low >> 44) & 0xf00));
    }
    bool code() const {
        return (attributes() & (x86::seg::S | x86::seg::CODE)) == (x86::seg::S | x86::seg::CODE);
    }
    bool writable_data() const {
        constexpr uint16_t MASK = x86::seg::S | x86::seg::CODE | x86::seg::WRITABLE;
        return (attributes() & MASK) == (x86::seg::S | x86::seg::WRITABLE);
    }
    bool accessed() const { return (attributes() & 1) != 0; }
    bool conforming() const { return (attributes() & x86::seg::CONFORMING) != 0; }
    Segment expand(uint16_t selector) const {
        Segment s{};
        s.selector = selector;
        s.attributes = attributes();
        s.base = base();
        s.limit = limit();
        return s;
    }
};

// Where the descriptor lies that `selector` names; beyond the table that faults with `on_error`.
// System descriptors have 16 bytes in long mode.
inline uint64_t descriptor_address(Cpu& cpu, uint16_t selector, x86::Vector on_error,
                                   uint32_t error, unsigned bytes = 8) {
    const Segment& table = (selector & 4) != 0 ? cpu.ldtr : cpu.gdtr;
    if (cpu.long_mode() && !cpu.canonical(table.base)) {
        throw Open{"a descriptor from a table whose base is not canonical"};
    }
    const bool usable = (selector & 4) == 0 || (cpu.ldtr.attributes & x86::seg::P) != 0;
    const uint32_t first = selector & 0xfff8u;
    if (!usable || first + bytes - 1 > table.limit) {
        throw fault(on_error, error);
    }
    return cpu.table_linear(table.base + first);
}

inline Descriptor read_descriptor(Cpu& cpu, uint16_t selector, x86::Vector on_error,
                                  uint32_t error) {
    return {cpu.read_linear(descriptor_address(cpu, selector, on_error, error), 8, true)};
}

} // namespace horos::model::svm::guest
