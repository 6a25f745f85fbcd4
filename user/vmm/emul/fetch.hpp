// Instruction bytes and decoded instructions at a virtual CPU's RIP.
#pragma once

#include <array>

#include "emul/cpu_mode.hpp"
#include "emul/linear_memory.hpp"

namespace horos::vmm {

struct InstructionBytes {
    const u8* bytes = nullptr; // in guest memory or in `copy`
    unsigned count = 0;
    std::array<u8, 16> copy{};
};

// Finds the bytes: from the exit, where the processor stored them, else through the page tables.
// Bytes past the end of a page are added when the next page can be fetched.
Outcome fetch(const abi::VcpuState& cpu, const GuestMemory& memory, InstructionBytes& result);

// Remembers decoded instructions by linear address. An entry counts only when the bytes that are
// there now equal the bytes that were decoded, so a guest that rewrites itself is seen.
class DecodeCache {
public:
    // The instruction at RIP. Null: `outcome` says why there is none.
    const Instruction* find(const abi::VcpuState& cpu, const GuestMemory& memory, Outcome& outcome);
    u64 misses() const { return misses_; }

private:
    static constexpr u32 entries = 256;
    struct Entry {
        u64 address = ~u64{0};
        CodeSize size = CodeSize::bits_64;
        std::array<u8, 16> bytes{};
        Instruction instruction{};
    };
    const Instruction* decode_into(Entry& entry, u64 address, CodeSize size,
                                   const InstructionBytes& bytes, Outcome& outcome);
    std::array<Entry, entries> cache_{};
    u64 misses_ = 0;
};

} // namespace horos::vmm
