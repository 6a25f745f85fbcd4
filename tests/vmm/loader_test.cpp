// The boot protocol loader with good, bad and hostile kernels.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cstring>
#include <fstream>

#include "boot/entry_state.hpp"
#include "boot/layout.hpp"
#include "boot/linux_loader.hpp"
#include "emul/page_walk.hpp"
#include "horos/defs/x86.hpp"

namespace horos::vmm {
namespace {

constexpr u64 mib = 1 << 20;

template <class Word>
void put(std::vector<u8>& bytes, u32 offset, Word value) {
    std::memcpy(bytes.data() + offset, &value, sizeof value);
}
template <class Word>
Word get(const u8* bytes, u32 offset) {
    Word value;
    std::memcpy(&value, bytes + offset, sizeof value);
    return value;
}

// A small but complete bzImage.
std::vector<u8> good_kernel() {
    std::vector<u8> image(2 * 512 + 64 * 1024);
    put<u8>(image, 0x1f1, 1); // setup sectors
    put<u32>(image, 0x1f4, 64 * 1024 / 16);
    put<u16>(image, 0x1fe, 0xaa55);
    put<u16>(image, 0x200, 0x6aeb);
    put<u32>(image, 0x202, 0x53726448);
    put<u16>(image, 0x206, 0x020f);
    put<u8>(image, 0x211, 1);
    put<u32>(image, 0x22c, 0x7fff'ffff);
    put<u32>(image, 0x230, 0x20'0000);
    put<u8>(image, 0x234, 1);
    put<u16>(image, 0x236, 3);
    put<u32>(image, 0x238, 2047);
    put<u64>(image, 0x258, 16 * mib);
    put<u32>(image, 0x260, 2 * mib);
    for (u32 i = 1024; i < image.size(); ++i)
        image[i] = static_cast<u8>(i * 13);
    return image;
}

struct LoaderTest : testing::Test {
    std::vector<u8> ram = std::vector<u8>(64 * mib);
    GuestMemory memory{ram.data(), ram.size()};
    std::vector<u8> kernel = good_kernel();
    std::vector<u8> initramfs = std::vector<u8>(100'000, 0x77);
    LoadedKernel load(std::string_view command_line = "console=ttyS0") {
        return load_linux(memory, {.kernel = kernel,
                                   .initramfs = initramfs,
                                   .command_line = command_line,
                                   .rsdp = 0xe0000});
    }
    void refuse(const char* part) {
        const auto result = load();
        ASSERT_NE(result.error, nullptr) << "should have been refused: " << part;
        EXPECT_NE(std::string(result.error).find(part), std::string::npos) << result.error;
    }
};

TEST_F(LoaderTest, PlacesEverything) {
    const auto result = load();
    ASSERT_EQ(result.error, nullptr) << result.error;
    EXPECT_EQ(result.entry, 16 * mib + 0x200);
    EXPECT_EQ(std::memcmp(ram.data() + 16 * mib, kernel.data() + 1024, 64 * 1024), 0);
    const u8* zero_page = ram.data() + result.boot_params;
    EXPECT_EQ(get<u8>(zero_page, 0x210), 0xff);
    EXPECT_EQ(get<u64>(zero_page, 0x070), 0xe0000u);
    const u32 initrd = get<u32>(zero_page, 0x218);
    EXPECT_EQ(get<u32>(zero_page, 0x21c), initramfs.size());
    EXPECT_EQ(initrd % 4096, 0u);
    EXPECT_EQ(std::memcmp(ram.data() + initrd, initramfs.data(), initramfs.size()), 0);
    EXPECT_STREQ(reinterpret_cast<char*>(ram.data() + get<u32>(zero_page, 0x228)), "console=ttyS0");
    const u8 entries = get<u8>(zero_page, 0x1e8);
    u64 usable = 0, last = 0;
    for (u8 i = 0; i < entries; ++i) {
        const u64 begin = get<u64>(zero_page, 0x2d0 + i * 20u);
        const u64 bytes = get<u64>(zero_page, 0x2d8 + i * 20u);
        EXPECT_GE(begin, last) << "ordered and disjoint";
        last = begin + bytes;
        if (get<u32>(zero_page, 0x2e0 + i * 20u) == 1)
            usable += bytes;
    }
    EXPECT_EQ(last, 64 * mib);
    EXPECT_EQ(usable, 63 * mib + 0x9fc00);
}

TEST_F(LoaderTest, RelocatesWhenItsPlaceIsTooHigh) {
    put<u64>(kernel, 0x258, 4096 * mib);
    const auto result = load();
    ASSERT_EQ(result.error, nullptr);
    EXPECT_EQ(result.entry, 2 * mib + 0x200);
    put<u8>(kernel, 0x234, 0);
    refuse("too little");
}

TEST_F(LoaderTest, RefusalsSayWhy) {
    kernel.resize(100);
    refuse("too short");
    kernel = good_kernel();
    kernel[0x1fe] = 0;
    refuse("boot sector");
    kernel = good_kernel();
    kernel[0x202] = 'h';
    refuse("HdrS");
    kernel = good_kernel();
    put<u16>(kernel, 0x206, 0x020b);
    refuse("2.12");
    kernel = good_kernel();
    put<u8>(kernel, 0x211, 0);
    refuse("zImage");
    kernel = good_kernel();
    put<u16>(kernel, 0x236, 0);
    refuse("64-bit");
    kernel = good_kernel();
    kernel.resize(kernel.size() - 16);
    refuse("cut short");
    kernel = good_kernel();
    put<u32>(kernel, 0x1f4, 0);
    refuse("no kernel");
    kernel = good_kernel();
    put<u32>(kernel, 0x260, 63 * mib);
    refuse("too little");
    kernel = good_kernel();
    initramfs.resize(62 * mib);
    refuse("initramfs");
    initramfs.clear();
    EXPECT_NE(load(std::string(2048, 'x')).error, nullptr);
}

TEST_F(LoaderTest, MemoryMayBeTiny) {
    for (const u64 bytes : {u64{0}, u64{4096}, mib, 2 * mib}) {
        std::vector<u8> small(bytes);
        const auto result = load_linux(GuestMemory(small.data(), bytes),
                                       {.kernel = kernel, .initramfs = {}, .command_line = {}});
        EXPECT_NE(result.error, nullptr) << bytes;
    }
}

// A header of any content is refused or loaded within memory; ASan watches the edges.
RC_GTEST_PROP(LoaderProperty, HostileHeaders, ()) {
    static std::vector<u8> ram(40 * mib);
    std::vector<u8> kernel = good_kernel();
    const auto edits = *rc::gen::container<std::vector<std::pair<u16, u64>>>(
        rc::gen::pair(rc::gen::inRange<u16>(0x1f1, 0x268),
                      rc::gen::oneOf(rc::gen::arbitrary<u64>(),
                                     rc::gen::element<u64>(0, 1, 0xff, ~u64{0}, u64{1} << 31))));
    for (const auto& [offset, value] : edits) {
        if (*rc::gen::arbitrary<bool>())
            put<u64>(kernel, offset, value);
        else
            put<u8>(kernel, offset, static_cast<u8>(value));
    }
    // The checks of magic numbers would hide what lies behind them.
    put<u16>(kernel, 0x1fe, 0xaa55);
    put<u32>(kernel, 0x202, 0x53726448);
    put<u16>(kernel, 0x206, 0x020f);
    kernel[0x211] |= 1;
    kernel[0x236] |= 1;
    kernel.resize(*rc::gen::inRange<std::size_t>(0, kernel.size() + 1));
    const std::vector<u8> initramfs(*rc::gen::inRange<std::size_t>(0, 300'000));
    const GuestMemory memory(ram.data(), ram.size());
    const auto result =
        load_linux(memory, {.kernel = kernel, .initramfs = initramfs, .command_line = {}});
    if (result.error == nullptr) {
        RC_ASSERT(memory.is_ram(result.entry));
        RC_ASSERT(result.entry >= mib);
    }
}

TEST(EntryState, IdentityMapsWhatTheKernelNeeds) {
    std::vector<u8> ram(4 * mib);
    const GuestMemory memory(ram.data(), ram.size());
    abi::VcpuState cpu{};
    set_linux_entry(cpu, memory, 0x100'0200, 0x7000, 7);
    const PagingState paging{.cr0 = cpu.cr0, .cr3 = cpu.cr3, .cr4 = cpu.cr4, .efer = cpu.efer};
    for (const u64 address : {u64{0}, u64{0x7000}, u64{0x100'0200}, u64{0xfee0'0000}}) {
        const auto found = translate(memory, paging, address, Access::write);
        EXPECT_EQ(found.status, Translation::Status::ok);
        EXPECT_EQ(found.address, address);
    }
    EXPECT_EQ(cpu.rip, 0x100'0200u);
    EXPECT_EQ(ram[layout::reset_vector], 0xb0) << "code that resets";
    EXPECT_EQ(cpu.gpr[6], 0x7000u);
    EXPECT_FALSE(cpu.rflags & x86::rflags::IF);
    u64 descriptor = 0;
    memory.load(cpu.gdtr.base + cpu.cs.selector, descriptor);
    EXPECT_EQ(descriptor >> 32 & 0x20'9b00, 0x20'9b00u) << "a present 64-bit code segment";
}

TEST(EntryState, StartUpIsRealMode) {
    abi::VcpuState cpu{};
    set_startup_entry(cpu, 0x9a, 1);
    EXPECT_EQ(cpu.cs.base, 0x9a000u);
    EXPECT_EQ(cpu.cs.selector, 0x9a00);
    EXPECT_EQ(cpu.rip, 0u);
    EXPECT_EQ(cpu.cr0 & 0x8000'0001u, 0u);
    EXPECT_EQ(cpu.dirty, abi::group::all);
}

} // namespace
} // namespace horos::vmm
