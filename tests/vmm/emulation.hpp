// A virtual CPU with memory around it, for tests of the emulator.
#pragma once

#include <cstring>
#include <vector>

#include "emul/emulator.hpp"

namespace horos::vmm {

// Device memory that is a plain buffer at a guest-physical address, and records accesses.
struct BufferBus final : MmioBus {
    u64 base = 0;
    std::vector<u8> bytes;
    u32 reads = 0, writes = 0;

    u64 mmio_read(u64 address, unsigned count) override {
        ++reads;
        u64 value = 0;
        std::memcpy(&value, bytes.data() + at(address, count), count);
        return value;
    }
    void mmio_write(u64 address, unsigned count, u64 value) override {
        ++writes;
        std::memcpy(bytes.data() + at(address, count), &value, count);
    }
    u64 at(u64 address, unsigned count) const {
        if (address < base || address - base + count > bytes.size())
            throw std::out_of_range("device access outside the buffer");
        return address - base;
    }
};

struct RecordingPorts final : PortBus {
    std::vector<std::pair<u16, u32>> out;
    std::vector<u32> in; // values to be read, last first
    u32 port_read(u16, unsigned) override {
        const u32 value = in.back();
        in.pop_back();
        return value;
    }
    void port_write(u16 port, unsigned, u32 value) override { out.emplace_back(port, value); }
};

inline void set_64_bit(abi::VcpuState& cpu) {
    cpu = {};
    cpu.efer = x86::efer::LMA | x86::efer::LME;
    cpu.cr0 = x86::cr0::PE; // paging off keeps linear addresses physical
    cpu.cs.attributes = 0xa9b;
    cpu.rflags = x86::rflags::ONE;
}

inline u64& reg(abi::VcpuState& cpu, abi::Gpr gpr) { return cpu.gpr[static_cast<u32>(gpr)]; }

} // namespace horos::vmm
