// The smallest files that pass for a bzImage and an initramfs.
#pragma once
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace horos::tools::pack {

template <class T>
void put_at(std::vector<std::uint8_t>& bytes, std::size_t offset, T value) {
    std::memcpy(bytes.data() + offset, &value, sizeof value);
}

inline std::vector<std::uint8_t> sample_kernel() {
    std::vector<std::uint8_t> bytes(1024 + 4096);
    put_at<std::uint8_t>(bytes, 0x1f1, 1);           // setup_sects
    put_at<std::uint32_t>(bytes, 0x1f4, 4096 / 16);  // syssize
    put_at<std::uint16_t>(bytes, 0x1fe, 0xaa55);     // boot_flag
    put_at<std::uint32_t>(bytes, 0x202, 0x53726448); // "HdrS"
    put_at<std::uint16_t>(bytes, 0x206, 0x20f);      // protocol 2.15
    put_at<std::uint8_t>(bytes, 0x211, 1);           // loadflags: loaded high
    put_at<std::uint16_t>(bytes, 0x236, 1);          // xloadflags: 64-bit entry
    put_at<std::uint32_t>(bytes, 0x238, 2047);       // cmdline_size
    put_at<std::uint64_t>(bytes, 0x258, 0x1000000);  // pref_address
    put_at<std::uint32_t>(bytes, 0x260, 64u << 20);  // init_size
    return bytes;
}

inline std::vector<std::uint8_t> sample_initramfs() {
    const std::string text = "070701 the rest does not matter";
    return {text.begin(), text.end()};
}

} // namespace horos::tools::pack
