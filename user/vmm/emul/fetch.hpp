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

// The guest's code page, without walking to it each time: the walk is remembered with every entry
// it read, and holds as long as those entries and the registers that steer it are the same. Rights
// are not asked again: the processor has just fetched the instruction there.
class CodeWindow {
public:
    // At least max_instruction_bytes bytes at RIP in 64-bit mode, if the walk is remembered.
    const u8* known(const abi::VcpuState& cpu) const {
        const Page& page = pages_[(cpu.rip >> 12) % pages];
        const u64 offset = cpu.rip - page.linear;
        if (offset > page_bytes - max_instruction_bytes || page.cr3 != cpu.cr3 ||
            page.cr4 != cpu.cr4 || page.efer != cpu.efer ||
            !(cpu.cs.attributes & segment_attribute::long_code) || !page.trace.unchanged())
            return nullptr;
        return page.bytes + offset;
    }
    // The same, with a walk if need be. Null: fetch() has to look.
    const u8* find(const abi::VcpuState& cpu, const GuestMemory& memory) {
        const u8* bytes = known(cpu);
        return bytes != nullptr ? bytes : walk(cpu, memory);
    }

private:
    static constexpr u32 pages = 16;
    static constexpr u64 page_bytes = 4096;
    struct Page {
        u64 linear = nowhere;
        u64 cr3 = 0, cr4 = 0, efer = 0; // EFER.LMA is set in all that are remembered
        const u8* bytes = nullptr;
        WalkTrace trace{};
    };
    static constexpr u64 nowhere = u64{1} << 63; // not canonical: no instruction lies there
    const u8* walk(const abi::VcpuState& cpu, const GuestMemory& memory);
    std::array<Page, pages> pages_{};
};

// Remembers decoded instructions by linear address. An entry counts only when the bytes that are
// there now equal the bytes that were decoded, so a guest that rewrites itself is seen.
class DecodeCache {
public:
    // The instruction at RIP. Null: `outcome` says why there is none.
    const Instruction* find(const abi::VcpuState& cpu, const GuestMemory& memory, Outcome& outcome);
    // The bytes at RIP when they are all in one page and easily had, else null.
    const u8* peek(const abi::VcpuState& cpu, const GuestMemory& memory) {
        return cpu.instruction_count == 0 ? window_.find(cpu, memory) : nullptr;
    }
    const u8* known_bytes(const abi::VcpuState& cpu) const { return window_.known(cpu); }
    u64 misses() const { return misses_; }

private:
    static constexpr u32 entries = 256;
    static constexpr u32 slot(u64 address) {
        return static_cast<u32>(address ^ address >> 12) % entries;
    }
    struct Entry {
        u64 address = ~u64{0};
        CodeSize size = CodeSize::bits_64;
        std::array<u8, 16> bytes{};
        Instruction instruction{};
    };
    const Instruction* decode_into(Entry& entry, u64 address, CodeSize size,
                                   const InstructionBytes& bytes, Outcome& outcome);
    const Instruction* find_slowly(const abi::VcpuState& cpu, const GuestMemory& memory,
                                   Outcome& outcome);
    CodeWindow window_;
    std::array<Entry, entries> cache_{};
    u64 misses_ = 0;
};

} // namespace horos::vmm
