#include "tools/pack/description/guest_files.hpp"

#include <gmock/gmock.h>

#include "tools/common/diagnostics.hpp"
#include "tools/tests/guest_samples.hpp"

namespace horos::tools::pack {
namespace {

using testing::HasSubstr;

std::string error_of(const std::vector<std::uint8_t>& bytes) {
    try {
        inspect_bzimage(bytes);
    } catch (const Fatal& error) {
        return error.what();
    }
    return "no error";
}

template <class T>
std::string error_with(std::size_t offset, T value) {
    auto bytes = sample_kernel();
    put_at(bytes, offset, value);
    return error_of(bytes);
}

TEST(BzImage, GoodOneIsUnderstood) {
    const LinuxKernel kernel = inspect_bzimage(sample_kernel());
    EXPECT_EQ(kernel.protocol, 0x20f);
    EXPECT_EQ(kernel.memory_needed, 64u << 20);
    EXPECT_EQ(kernel.command_line_size, 2047u);
}

TEST(BzImage, OthersAreRefused) {
    EXPECT_THAT(error_of({}), HasSubstr("is not a Linux bzImage"));
    EXPECT_THAT(error_with<std::uint16_t>(0x1fe, 0), HasSubstr("is not a Linux bzImage"));
    EXPECT_THAT(error_with<std::uint32_t>(0x202, 0), HasSubstr("is not a Linux bzImage"));
    EXPECT_THAT(error_with<std::uint16_t>(0x206, 0x20b), HasSubstr("has boot protocol 0x20b"));
    EXPECT_THAT(error_with<std::uint8_t>(0x211, 0), HasSubstr("is a zImage"));
    EXPECT_THAT(error_with<std::uint16_t>(0x236, 0), HasSubstr("has no 64-bit entry point"));
}

TEST(BzImage, CutOnesAreRefused) {
    const auto whole = sample_kernel();
    for (std::size_t size = 0; size + 16 <= whole.size(); size += 16) {
        EXPECT_NE(error_of({whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)}),
                  "no error")
            << size;
    }
    EXPECT_EQ(error_of(whole), "no error");
}

TEST(Initramfs, FormatsAreKnownByTheirFirstBytes) {
    EXPECT_EQ(initramfs_format(sample_initramfs()), "cpio");
    EXPECT_EQ(initramfs_format(std::vector<std::uint8_t>{0x1f, 0x8b, 8}), "gzip");
    EXPECT_EQ(initramfs_format(std::vector<std::uint8_t>{0x28, 0xb5, 0x2f, 0xfd}), "zstd");
    EXPECT_EQ(initramfs_format({}), "");
    EXPECT_EQ(initramfs_format(std::vector<std::uint8_t>(100)), "");
}

} // namespace
} // namespace horos::tools::pack
