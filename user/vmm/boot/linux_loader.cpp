#include "boot/linux_loader.hpp"

#include "boot/layout.hpp"

namespace horos::vmm {
namespace {

// Offsets in the bzImage and in boot_params, which share them for the setup header.
namespace header {
constexpr u32 setup_sectors = 0x1f1, boot_flag = 0x1fe, jump = 0x200, magic = 0x202,
              version = 0x206, system_size = 0x1f4, loader_type = 0x210, load_flags = 0x211,
              initrd_address = 0x218, initrd_size = 0x21c, command_line = 0x228, initrd_max = 0x22c,
              alignment = 0x230, relocatable = 0x234, xload_flags = 0x236,
              command_line_size = 0x238, preferred_address = 0x258, init_size = 0x260;
constexpr u32 begin = 0x1f1;
} // namespace header

namespace params {
constexpr u32 rsdp = 0x070, e820_count = 0x1e8, e820_table = 0x2d0, bytes = 4096;
} // namespace params

constexpr u32 sector = 512;
constexpr u32 header_magic = 0x53726448; // "HdrS"
constexpr u16 minimum_version = 0x020c;  // XLF_* and 64-bit entry
constexpr u16 xlf_kernel_64 = 1, xlf_above_4g = 2;
constexpr u8 loaded_high = 1, can_use_heap = 0x80, keep_segments = 0x40;
constexpr u64 entry_offset = 0x200;
constexpr u64 page = 4096;

enum class E820 : u32 { ram = 1, reserved = 2, acpi = 3 };

template <class Word>
Word get(const u8* base, u32 offset) {
    Word value;
    __builtin_memcpy(&value, base + offset, sizeof value);
    return value;
}

template <class Word>
void put(u8* base, u32 offset, Word value) {
    __builtin_memcpy(base + offset, &value, sizeof value);
}

constexpr u64 align_up(u64 value, u64 to) { return (value + to - 1) & ~(to - 1); }

struct Header {
    const char* error = nullptr;
    u64 setup_bytes = 0;
    u64 payload_bytes = 0;
    u64 header_end = 0;
    u64 preferred = 0, init_size = 0, alignment = 0;
    u64 initrd_max = 0;
    u32 command_line_size = 0;
    bool relocatable = false, above_4g = false;
};

Header parse(std::span<const u8> kernel) {
    Header result;
    const auto fail = [&](const char* why) {
        result.error = why;
        return result;
    };
    if (kernel.size() < header::init_size + 4)
        return fail("kernel: the file is too short to be a bzImage");
    const u8* base = kernel.data();
    if (get<u16>(base, header::boot_flag) != 0xaa55)
        return fail("kernel: no boot sector signature (55 aa at 0x1fe): not a bzImage");
    if (get<u32>(base, header::magic) != header_magic)
        return fail("kernel: no setup header (HdrS at 0x202): not a Linux bzImage");
    if (get<u16>(base, header::version) < minimum_version)
        return fail("kernel: boot protocol older than 2.12 (no 64-bit entry)");
    if (!(get<u8>(base, header::load_flags) & loaded_high))
        return fail("kernel: a zImage, which loads low; a bzImage is needed");
    const u16 xload = get<u16>(base, header::xload_flags);
    if (!(xload & xlf_kernel_64))
        return fail("kernel: built without the 64-bit entry point (a 32-bit kernel?)");
    const u32 sectors = get<u8>(base, header::setup_sectors);
    result.setup_bytes = (u64{sectors == 0 ? 4 : sectors} + 1) * sector;
    result.payload_bytes = u64{get<u32>(base, header::system_size)} * 16;
    if (result.payload_bytes <= entry_offset)
        return fail("kernel: the header says that there is no kernel in the file");
    // system_size counts in units of 16 bytes, rounded up.
    if (kernel.size() + 15 < result.setup_bytes + result.payload_bytes)
        return fail("kernel: the file is cut short (shorter than its header says)");
    result.header_end = header::magic + get<u8>(base, header::jump + 1);
    if (result.header_end < header::init_size + 4 || result.header_end > kernel.size() ||
        result.header_end > params::e820_table)
        return fail("kernel: impossible length of the setup header");
    result.preferred = get<u64>(base, header::preferred_address);
    result.init_size = get<u32>(base, header::init_size);
    result.alignment = get<u32>(base, header::alignment);
    result.relocatable = get<u8>(base, header::relocatable) != 0;
    result.above_4g = (xload & xlf_above_4g) != 0;
    result.initrd_max = get<u32>(base, header::initrd_max);
    result.command_line_size = get<u32>(base, header::command_line_size);
    if (result.init_size < result.payload_bytes)
        result.init_size = result.payload_bytes;
    return result;
}

// Where the kernel goes, or 0.
u64 choose_address(const GuestMemory& memory, const Header& header) {
    const auto fits = [&](u64 address) {
        return address >= layout::firmware_end && address < memory.low_bytes() &&
               header.init_size <= memory.low_bytes() - address;
    };
    if ((header.preferred & (page - 1)) == 0 && fits(header.preferred))
        return header.preferred;
    const u64 alignment = header.alignment;
    const bool power_of_two = alignment != 0 && (alignment & (alignment - 1)) == 0;
    if (!header.relocatable || !power_of_two)
        return 0;
    const u64 lowest = align_up(layout::firmware_end, alignment);
    return fits(lowest) ? lowest : 0;
}

// As high as allowed in low memory, away from the kernel's room.
u64 choose_initramfs(const GuestMemory& memory, const Header& header, u64 kernel, u64 bytes) {
    u64 end = memory.low_bytes();
    if (!header.above_4g && header.initrd_max < end)
        end = header.initrd_max + 1;
    if (bytes >= end)
        return 0;
    const u64 address = (end - bytes) & ~(page - 1);
    return address >= kernel + header.init_size ? address : 0;
}

struct E820Writer {
    u8* zero_page;
    u8 count = 0;

    void add(u64 begin, u64 end, E820 type) {
        if (begin >= end)
            return;
        const u32 at = params::e820_table + u32{count} * 20;
        put<u64>(zero_page, at, begin);
        put<u64>(zero_page, at + 8, end - begin);
        put<u32>(zero_page, at + 16, static_cast<u32>(type));
        put<u8>(zero_page, params::e820_count, ++count);
    }
};

void write_memory_map(u8* zero_page, const GuestMemory& memory) {
    E820Writer map{.zero_page = zero_page};
    map.add(0, layout::conventional_end, E820::ram);
    map.add(layout::conventional_end, 0xa'0000, E820::reserved);
    map.add(layout::firmware_begin, layout::tables_end, E820::acpi);
    map.add(layout::tables_end, layout::firmware_end, E820::reserved);
    map.add(layout::firmware_end, memory.low_bytes(), E820::ram);
    map.add(GuestMemory::hole_end, GuestMemory::hole_end + memory.high_bytes(), E820::ram);
}

void fill_zero_page(u8* zero_page, const LinuxImage& image, const Header& header, u64 kernel,
                    u64 initramfs) {
    __builtin_memset(zero_page, 0, params::bytes);
    __builtin_memcpy(zero_page + header::begin, image.kernel.data() + header::begin,
                     header.header_end - header::begin);
    put<u8>(zero_page, header::loader_type, 0xff); // a loader without a number
    const u8 flags = get<u8>(zero_page, header::load_flags);
    put<u8>(zero_page, header::load_flags,
            static_cast<u8>(flags & ~(can_use_heap | keep_segments)));
    put<u32>(zero_page, 0x214, static_cast<u32>(kernel)); // code32_start
    put<u32>(zero_page, header::command_line, static_cast<u32>(layout::command_line));
    put<u32>(zero_page, header::initrd_address, static_cast<u32>(initramfs));
    put<u32>(zero_page, header::initrd_size, static_cast<u32>(image.initramfs.size()));
    put<u64>(zero_page, params::rsdp, image.rsdp);
}

} // namespace

LoadedKernel load_linux(const GuestMemory& memory, const LinuxImage& image) {
    const auto fail = [](const char* why) { return LoadedKernel{.error = why}; };
    const Header header = parse(image.kernel);
    if (header.error != nullptr)
        return fail(header.error);
    if (memory.low_bytes() <= layout::firmware_end)
        return fail("memory: less than 1 MiB for the virtual machine");
    const u64 kernel = choose_address(memory, header);
    if (kernel == 0)
        return fail("memory: too little for this kernel (see init_size in its header)");
    u64 initramfs = 0;
    if (!image.initramfs.empty()) {
        initramfs = choose_initramfs(memory, header, kernel, image.initramfs.size());
        if (initramfs == 0)
            return fail("memory: too little for the kernel and its initramfs");
    }
    if (image.command_line.size() > header.command_line_size || image.command_line.size() >= page)
        return fail("command line: longer than this kernel takes");

    const u64 in_file = image.kernel.size() - header.setup_bytes;
    const u64 payload = header.payload_bytes < in_file ? header.payload_bytes : in_file;
    u8* zero_page = memory.at(layout::boot_params, params::bytes);
    u8* command_line = memory.at(layout::command_line, page);
    u8* kernel_place = memory.at(kernel, payload);
    __builtin_memcpy(kernel_place, image.kernel.data() + header.setup_bytes, payload);
    if (initramfs != 0)
        __builtin_memcpy(memory.at(initramfs, image.initramfs.size()), image.initramfs.data(),
                         image.initramfs.size());
    __builtin_memcpy(command_line, image.command_line.data(), image.command_line.size());
    command_line[image.command_line.size()] = 0;
    fill_zero_page(zero_page, image, header, kernel, initramfs);
    write_memory_map(zero_page, memory);
    return {.error = nullptr, .entry = kernel + entry_offset, .boot_params = layout::boot_params};
}

} // namespace horos::vmm
