// Integer names of the kernel's outer shell, and the view of physical memory its parsers read.
#pragma once
#include <horos/abi/types.hpp>

namespace horos::arch {

using abi::u16;
using abi::u32;
using abi::u64;
using abi::u8;

constexpr u64 align_down(u64 value, u64 alignment) { return value & ~(alignment - 1); }
constexpr u64 align_up(u64 value, u64 alignment) {
    return align_down(value + alignment - 1, alignment);
}

// Physical memory as the boot parsers see it: bytes [0, limit) at base. What firmware and loader
// left there is untrusted, so every access goes through at() or read(), which check the range.
struct PhysMemory {
    const u8* base;
    u64 limit;

    const u8* at(u64 address, u64 size) const {
        if (address > limit || size > limit - address)
            return nullptr;
        return base + address;
    }

    template <class T>
    bool read(u64 address, T& out) const {
        const u8* bytes = at(address, sizeof(T));
        if (!bytes)
            return false;
        __builtin_memcpy(&out, bytes, sizeof(T));
        return true;
    }
};

// Result of a parser: null when all is well, else what is wrong with the data.
using Complaint = const char*;

} // namespace horos::arch
