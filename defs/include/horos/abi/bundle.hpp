// The boot bundle: one file with everything beside the kernel. Made by horos-pack, its first entry
// loaded by the kernel, the others by the root task. All numbers little-endian.
#pragma once
#include <horos/abi/types.hpp>

namespace horos::abi {

inline constexpr u64 bundle_magic = 0x31'4c'44'4e'42'53'52'48; // "HRSBNDL1"
inline constexpr u32 bundle_version = 1;
inline constexpr u32 max_bundle_entries = 32;
inline constexpr u32 max_program_segments = 8;

enum class BundleType : u32 {
    none = 0,
    program = 1, // flat ring-3 program: a ProgramHeader page, then its segments
    system = 2,  // compiled system description (abi/system.hpp)
    guest_kernel = 3,
    initramfs = 4,
    data = 5
};

struct BundleEntry {
    char name[32]; // zero-terminated
    BundleType type;
    u32 crc32c; // of the contents (size bytes)
    u64 offset; // from the start of the bundle, a multiple of 4096
    u64 size;   // bytes; the space up to the next page is zero
    u64 reserved;
};
static_assert(sizeof(BundleEntry) == 64);

struct BundleHeader {
    u64 magic;
    u32 version;
    u32 entry_count;   // 1..max_bundle_entries; entry 0 is the root task
    u64 total_size;    // of the whole bundle in bytes
    u32 header_crc32c; // of this header and all max_bundle_entries entries, this field taken as 0
    u32 reserved;
    BundleEntry entries[max_bundle_entries];
};
static_assert(sizeof(BundleHeader) <= 4096);

namespace segment_right {
inline constexpr u32 read = 1, write = 2, exec = 4; // never write and exec together
} // namespace segment_right

struct ProgramSegment {
    u64 address;     // user virtual, page-aligned
    u64 offset;      // from the start of the program entry, page-aligned
    u64 file_size;   // bytes to copy
    u64 memory_size; // bytes of address space, page-aligned, >= file_size; the rest is zero
    u32 rights;      // segment_right
    u32 reserved;
};

inline constexpr u64 program_magic = 0x31'47'4f'52'50'53'52'48; // "HRSPROG1"

// First page of a program entry.
struct ProgramHeader {
    u64 magic;
    u64 entry;         // user virtual address
    u32 segment_count; // 1..max_program_segments
    u32 reserved;
    ProgramSegment segments[max_program_segments];
};
static_assert(sizeof(ProgramHeader) <= 4096);

} // namespace horos::abi
