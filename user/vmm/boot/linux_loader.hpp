// The Linux/x86 64-bit boot protocol (Documentation/arch/x86/boot.rst): places a bzImage, its
// initramfs and command line in guest memory, and fills the zero page.
#pragma once

#include <span>
#include <string_view>

#include "emul/guest_memory.hpp"

namespace horos::vmm {

struct LinuxImage {
    std::span<const u8> kernel;
    std::span<const u8> initramfs;
    std::string_view command_line;
    u64 rsdp = 0; // guest-physical address of the ACPI root pointer, 0 = none
};

struct LoadedKernel {
    const char* error = nullptr; // says what is wrong; the other fields count only without one
    u64 entry = 0;               // 64-bit entry point
    u64 boot_params = 0;
};

LoadedKernel load_linux(const GuestMemory& memory, const LinuxImage& image);

} // namespace horos::vmm
