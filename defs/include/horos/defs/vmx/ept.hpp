// Intel VMX: extended page tables, permission bitmaps and the other structures in memory
// (SDM vol. 3C 325384-077US §§24.6, 24.7.2, 28.3, 29).
#pragma once

#include <cstddef>
#include <cstdint>

namespace horos::vmx {

// EPT pointer (table 24-9).
namespace eptp {
inline constexpr uint64_t MEMORY_TYPE = 7;
inline constexpr uint64_t TYPE_UC = 0;
inline constexpr uint64_t TYPE_WB = 6;
inline constexpr unsigned WALK_SHIFT = 3; // page-walk length minus one
inline constexpr uint64_t WALK = 7ull << WALK_SHIFT;
inline constexpr uint64_t WALK_4 = 3ull << WALK_SHIFT;
inline constexpr uint64_t ACCESSED_DIRTY = 1ull << 6;
inline constexpr uint64_t SUPERVISOR_SHADOW_STACK = 1ull << 7;
inline constexpr uint64_t RESERVED_LOW = 0xf00; // 11:8
} // namespace eptp

// EPT paging-structure entries (tables 28-1 to 28-6).
namespace ept {
inline constexpr uint64_t R = 1ull << 0;
inline constexpr uint64_t W = 1ull << 1;
inline constexpr uint64_t X = 1ull << 2;
inline constexpr uint64_t RWX = R | W | X;
inline constexpr unsigned TYPE_SHIFT = 3; // leaf: memory type, 5:3
inline constexpr uint64_t TYPE = 7ull << TYPE_SHIFT;
inline constexpr uint64_t IGNORE_PAT = 1ull << 6; // leaf
inline constexpr uint64_t LARGE = 1ull << 7;      // in a PDE or PDPTE
inline constexpr uint64_t A = 1ull << 8;
inline constexpr uint64_t D = 1ull << 9; // leaf
inline constexpr uint64_t XU = 1ull << 10;
inline constexpr uint64_t SUPPRESS_VE = 1ull << 63;
inline constexpr uint64_t ADDR = 0x000ffffffffff000ull;
inline constexpr uint64_t ADDR_2M = 0x000fffffffe00000ull;
inline constexpr uint64_t ADDR_1G = 0x000fffffc0000000ull;
} // namespace ept

// MSR bitmaps (§24.6.9): four of 1 KiB: read low, read high, write low, write high.
inline constexpr size_t MSR_BITMAP_BYTES = 4096;
inline constexpr uint32_t MSR_BITMAP_RANGE = 0x2000;
inline constexpr uint32_t MSR_BITMAP_HIGH_FIRST = 0xc0000000u;
inline constexpr uint32_t MSR_BITMAP_NO_BIT = 0xffffffffu;
inline constexpr uint32_t MSR_BITMAP_WRITE = 2048 * 8; // added for the write bit
// The number of the MSR's read bit, or MSR_BITMAP_NO_BIT for one whose access always exits.
constexpr uint32_t msr_bitmap_bit(uint32_t number) {
    if (number < MSR_BITMAP_RANGE) {
        return number;
    }
    if (number - MSR_BITMAP_HIGH_FIRST < MSR_BITMAP_RANGE) {
        return 1024 * 8 + (number - MSR_BITMAP_HIGH_FIRST);
    }
    return MSR_BITMAP_NO_BIT;
}

// I/O bitmaps (§24.6.4): A has ports 0000-7FFF, B has 8000-FFFF.
inline constexpr size_t IO_BITMAP_BYTES = 4096;
inline constexpr uint32_t IO_BITMAP_PORTS = 0x8000;

// An entry of the MSR load and store areas (table 24-12).
struct MsrEntry {
    uint32_t index;
    uint32_t reserved;
    uint64_t value;
};
static_assert(sizeof(MsrEntry) == 16);

// The head of a VMCS region (table 24-1); bit 31 of the first word makes it a shadow VMCS.
struct VmcsHeader {
    uint32_t revision;
    uint32_t abort;
};
inline constexpr uint32_t REVISION_SHADOW = 1u << 31;
inline constexpr size_t VMCS_BYTES = 4096; // at most

// INVEPT and INVVPID descriptors (§30.3).
struct InveptDescriptor {
    uint64_t eptp;
    uint64_t reserved;
};
struct InvvpidDescriptor {
    uint16_t vpid;
    uint16_t reserved[3];
    uint64_t linear_address;
};
static_assert(sizeof(InveptDescriptor) == 16 && sizeof(InvvpidDescriptor) == 16);

// Posted-interrupt descriptor (table 29-1).
struct PostedInterruptDescriptor {
    uint32_t requests[8];
    uint32_t outstanding; // bit 0: ON
    uint32_t available[7];
};
static_assert(sizeof(PostedInterruptDescriptor) == 64);

inline constexpr unsigned PML_ENTRIES = 512;
inline constexpr uint64_t NO_LINK_POINTER = ~0ull;

} // namespace horos::vmx
