// Guest kernels and initramfs images: whether they are what they are said to be, are whole, and
// fit.
#pragma once
#include <cstdint>
#include <span>
#include <string>

#include "tools/pack/description/source.hpp"

namespace horos::tools::pack {

struct LinuxKernel {
    std::uint16_t protocol = 0;      // 0x20f = 2.15
    std::uint64_t memory_needed = 0; // contiguous, while it unpacks itself
    std::uint64_t preferred_address = 0;
    std::uint32_t command_line_size = 0; // longest it takes
};

// Linux's Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header". Throws Fatal with what is
// wrong, without the file's name.
LinuxKernel inspect_bzimage(std::span<const std::uint8_t> bytes);
// "gzip", "cpio", …; empty when the kernel would not take it.
std::string initramfs_format(std::span<const std::uint8_t> bytes);

void check_guest_files(const PartitionSource& partition, Diagnostics& out);

} // namespace horos::tools::pack
