#include "tools/pack/description/guest_files.hpp"

#include <cstring>

#include "tools/common/files.hpp"
#include "tools/common/text.hpp"

namespace horos::tools::pack {
namespace {

// Offsets in the first sectors of a bzImage.
constexpr std::size_t setup_sects = 0x1f1, syssize = 0x1f4, boot_flag = 0x1fe, magic = 0x202,
                      version = 0x206, loadflags = 0x211, xloadflags = 0x236, cmdline_size = 0x238,
                      pref_address = 0x258, init_size = 0x260, header_end = 0x268;
constexpr std::uint16_t least_protocol = 0x20c; // xloadflags came with 2.12

// Memory of the boot page tables, ACPI tables, command line and real-mode area.
constexpr std::uint64_t margin = std::uint64_t{4} << 20;

template <class T>
T get(std::span<const std::uint8_t> bytes, std::size_t offset) {
    T out;
    std::memcpy(&out, bytes.data() + offset, sizeof out);
    return out;
}

} // namespace

LinuxKernel inspect_bzimage(std::span<const std::uint8_t> bytes) {
    if (bytes.size() < header_end || get<std::uint32_t>(bytes, magic) != 0x5372'6448 ||
        get<std::uint16_t>(bytes, boot_flag) != 0xaa55) {
        throw Fatal("is not a Linux bzImage");
    }
    LinuxKernel kernel;
    kernel.protocol = get<std::uint16_t>(bytes, version);
    if (kernel.protocol < least_protocol) {
        throw Fatal("has boot protocol " + hex(kernel.protocol) +
                    "; 0x20c (Linux 3.8) or later is "
                    "needed");
    }
    if ((get<std::uint8_t>(bytes, loadflags) & 1) == 0) {
        throw Fatal("is a zImage; only bzImages can be loaded");
    }
    if ((get<std::uint16_t>(bytes, xloadflags) & 1) == 0) {
        throw Fatal("has no 64-bit entry point; only 64-bit kernels can be guests");
    }
    const std::uint8_t sectors = get<std::uint8_t>(bytes, setup_sects);
    const std::uint64_t setup = (std::uint64_t{sectors == 0 ? 4u : sectors} + 1) * 512;
    const std::uint64_t whole = setup + std::uint64_t{get<std::uint32_t>(bytes, syssize)} * 16;
    // syssize counts whole 16-byte units; the file may end within the last.
    if (bytes.size() + 15 < whole) {
        throw Fatal("is cut short: " + std::to_string(bytes.size()) + " bytes of " +
                    std::to_string(whole));
    }
    kernel.memory_needed = get<std::uint32_t>(bytes, init_size);
    kernel.preferred_address = get<std::uint64_t>(bytes, pref_address);
    kernel.command_line_size = get<std::uint32_t>(bytes, cmdline_size);
    return kernel;
}

std::string initramfs_format(std::span<const std::uint8_t> bytes) {
    struct Format {
        std::string_view start;
        const char* name;
    };
    constexpr Format formats[] = {{"070701", "cpio"},
                                  {"070702", "cpio"},
                                  {"\x1f\x8b", "gzip"},
                                  {"\xfd"
                                   "7zXZ",
                                   "xz"},
                                  {"\x28\xb5\x2f\xfd", "zstd"},
                                  {"\x02\x21\x4c\x18", "lz4"},
                                  {"\x89LZO", "lzo"},
                                  {"BZh", "bzip2"},
                                  {std::string_view("\x5d\0\0", 3), "lzma"}};
    for (const Format& format : formats) {
        if (bytes.size() >= format.start.size() &&
            std::memcmp(bytes.data(), format.start.data(), format.start.size()) == 0) {
            return format.name;
        }
    }
    return "";
}

void check_guest_files(const PartitionSource& partition, Diagnostics& out) {
    const auto error = [&](const char* key, const std::string& message) {
        out.error(partition.place.where(key), partition.place.path + key, message);
    };
    std::uint64_t initramfs_size = 0;
    if (partition.initramfs) {
        const auto bytes = read_bytes(*partition.initramfs);
        initramfs_size = bytes.size();
        if (initramfs_format(bytes).empty()) {
            error("initramfs",
                  *partition.initramfs +
                      " is not an initramfs; allowed: a cpio "
                      "archive, plain or packed with gzip, xz, zstd, lz4, lzo, bzip2 or "
                      "lzma");
        }
    }
    if (partition.kernel.empty()) {
        return;
    }
    try {
        const LinuxKernel kernel = inspect_bzimage(read_bytes(partition.kernel));
        if (partition.command_line.size() > kernel.command_line_size) {
            error("command_line", "has " + std::to_string(partition.command_line.size()) +
                                      " characters; this kernel takes " +
                                      std::to_string(kernel.command_line_size));
        }
        const std::uint64_t needed =
            kernel.preferred_address + kernel.memory_needed + initramfs_size + margin;
        if (partition.memory != 0 && partition.memory < needed) {
            error("memory", std::to_string(partition.memory >> 20) + " MiB is too little: this " +
                                "kernel and initramfs need at least " +
                                std::to_string((needed >> 20) + 1) + " MiB");
        }
    } catch (const Fatal& fatal) {
        error("kernel", partition.kernel + " " + fatal.what());
    }
}

} // namespace horos::tools::pack
