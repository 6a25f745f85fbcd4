// Verifies the boot bundle as far as the kernel needs it: header, and the root task in entry 0.
#pragma once
#include "types.hpp"
#include <horos/abi/bundle.hpp>

namespace horos::arch {

struct RootProgram {
    abi::ProgramHeader header;
    const u8* contents; // the program entry's bytes
    u64 pages;          // memory of all segments
};

Complaint check_bundle(const u8* bundle, u64 size, RootProgram& out);

u32 crc32c(u32 crc, const u8* data, u64 size); // start with 0

} // namespace horos::arch
