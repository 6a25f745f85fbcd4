// Ways to boot, and what is wrong with a machine or a bundle: each a clear message, never a hang.
#include "tools/machine/bundles.hpp"
#include "tools/machine/machine.hpp"
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <future>
#include <gtest/gtest.h>

namespace horos::test {
namespace {

using machine::Machine;
using machine::MachineOptions;
using machine::pack;
using machine::run;

using std::chrono::seconds;
namespace fs = std::filesystem;

void boot_image(const std::string& name, const std::string& firmware) {
    Machine m({.cdrom = machine::make_image("linux1.toml"),
               .firmware = firmware,
               .name = name,
               .cores = 2});
    ASSERT_TRUE(m.expect("/root# ", seconds(240))) << m.tails();
    bool ok = false;
    EXPECT_NE(m.shell("uname -a", seconds(60), ok).find("Debian"), std::string::npos);
    EXPECT_TRUE(ok);
    m.type("poweroff");
    EXPECT_EQ(m.wait_exit(seconds(180)), 0) << m.tails();
    EXPECT_TRUE(m.powered_off()) << m.tails();
    EXPECT_NE(m.log().find("Multiboot2"), std::string::npos) << m.tails();
}

TEST(Boot, IsoOnBios) { boot_image("iso-bios", ""); }

TEST(Boot, IsoOnUefi) {
    const std::string firmware = "/usr/share/ovmf/OVMF.fd";
    ASSERT_TRUE(fs::exists(firmware)) << "package ovmf";
    boot_image("iso-uefi", firmware);
}

// Two that make the same image at once do not take each other's files away.
TEST(Boot, TheSameImageIsMadeTwiceAtOnce) {
    const auto make = [] { return machine::make_image("ticker.toml", "no"); };
    auto first = std::async(std::launch::async, make);
    auto second = std::async(std::launch::async, make);
    EXPECT_NO_THROW(EXPECT_TRUE(fs::file_size(first.get()) > 0));
    EXPECT_NO_THROW(EXPECT_TRUE(fs::file_size(second.get()) > 0));
}

// The machine stops with a message that holds `words`, and nothing else ran.
void expect_fatal(const MachineOptions& options, const std::vector<std::string>& words) {
    MachineOptions with = options;
    with.append = "onfatal=reset"; // with -no-reboot QEMU ends
    Machine m(with);
    ASSERT_NE(m.wait_exit(seconds(180)), -1) << "it hangs\n" << m.tails();
    const std::string log = m.log();
    EXPECT_NE(log.find("horos: fatal: "), std::string::npos) << m.tails();
    for (const std::string& word : words)
        EXPECT_NE(log.find(word), std::string::npos) << word << "\n" << m.tails();
}

std::string changed_copy(const std::string& name, void (*change)(std::string&)) {
    std::ifstream in(pack("linux1.toml"), std::ios::binary);
    std::string data((std::istreambuf_iterator<char>(in)), {});
    change(data);
    const std::string path = std::string(HOROS_TEST_LOGS) + "/" + name + ".bundle";
    std::ofstream(path, std::ios::binary) << data;
    return path;
}

TEST(BadInput, NoBundle) {
    expect_fatal({.name = "no-bundle", .more = {"-kernel", HOROS_KERNEL_IMAGE}}, {"bundle"});
}

TEST(BadInput, BundleCutShort) {
    const std::string bundle =
        changed_copy("cut", [](std::string& data) { data.resize(data.size() / 2); });
    expect_fatal({.bundle = bundle, .name = "cut"}, {"bundle"});
}

TEST(BadInput, BundleCutToNothing) {
    const std::string bundle =
        changed_copy("cut-head", [](std::string& data) { data.resize(100); });
    expect_fatal({.bundle = bundle, .name = "cut-head"}, {"bundle"});
}

TEST(BadInput, HeaderBitFlipped) {
    const std::string bundle =
        changed_copy("flip-header", [](std::string& data) { data[70] ^= 4; });
    expect_fatal({.bundle = bundle, .name = "flip-header"}, {"bundle"});
}

TEST(BadInput, RootTaskBitFlipped) {
    const std::string bundle =
        changed_copy("flip-root", [](std::string& data) { data[4096 + 4096 + 777] ^= 1; });
    expect_fatal({.bundle = bundle, .name = "flip-root"}, {"root task", "checksum"});
}

TEST(BadInput, GuestKernelBitFlipped) {
    const std::string bundle =
        changed_copy("flip-kernel", [](std::string& data) { data[data.size() / 2] ^= 1; });
    expect_fatal({.bundle = bundle, .name = "flip-kernel"}, {"bundle", "checksum"});
}

TEST(BadInput, TooLittleMemory) {
    expect_fatal({.bundle = pack("linux1.toml"), .name = "small", .memory_mib = 256}, {"memory"});
}

TEST(BadInput, MuchTooLittleMemory) {
    expect_fatal({.bundle = pack("ticker.toml"), .name = "tiny", .memory_mib = 4}, {"memory"});
}

TEST(BadInput, TooFewCores) {
    expect_fatal({.bundle = pack("linux2.toml"), .name = "cores", .cores = 1}, {"core"});
}

TEST(BadInput, ProcessorWithoutSvm) {
    expect_fatal({.bundle = pack("ticker.toml"), .name = "no-svm", .more = {"-cpu", "max,-svm"}},
                 {"SVM"});
}

TEST(BadInput, ProcessorWithoutNestedPaging) {
    expect_fatal(
        {.bundle = pack("ticker.toml"), .name = "no-npt", .more = {"-cpu", "max,+svm,-npt"}},
        {"nested paging"});
}

// What horos-pack refuses, as ./horos run shows it: the file is named, and so is what is wrong.
void expect_refused(const std::string& name, const std::string& text,
                    const std::vector<std::string>& words) {
    const std::string path = std::string(HOROS_TEST_LOGS) + "/" + name + ".toml";
    fs::create_directories(HOROS_TEST_LOGS);
    std::ofstream(path) << text;
    try {
        pack(path);
        FAIL() << "not refused";
    } catch (const std::exception& e) {
        for (const std::string& word : words)
            EXPECT_NE(std::string(e.what()).find(word), std::string::npos) << e.what();
    }
}

TEST(BadInput, DescriptionErrorNamesFileLineAndKey) {
    expect_refused("unknown-key", "name = \"x\"\ncores = 1\nwings = 2\n",
                   {"unknown-key.toml:3", "wings"});
}

TEST(BadInput, GuestKernelMissingOrCut) {
    const std::string head = "name = \"x\"\ncores = 1\n[[partition]]\nname = \"a\"\nkind = "
                             "\"linux\"\nmemory = \"64 MiB\"\ncores = [0]\nkernel = ";
    expect_refused("missing-kernel", head + "\"nowhere\"\n", {"missing-kernel.toml:8", "nowhere"});
    const std::string cut = std::string(HOROS_TEST_LOGS) + "/cut.bzimage";
    std::string output;
    run("head -c 100000 " + std::string(HOROS_GUEST_FILES) + "/vmlinuz >" + cut, output);
    expect_refused("cut-kernel", head + "\"" + cut + "\"\n", {"cut-kernel.toml:8", "kernel"});
}

TEST(BadInput, UnknownCommandAndOption) {
    std::string output;
    EXPECT_NE(run(std::string(HOROS_SOURCE) + "/horos fly", output), 0);
    EXPECT_NE(output.find("fly"), std::string::npos);
    output.clear();
    EXPECT_NE(run(std::string(HOROS_SOURCE) + "/horos run --fly", output), 0);
    EXPECT_NE(output.find("--fly"), std::string::npos);
    output.clear();
    EXPECT_NE(run(std::string(HOROS_SOURCE) + "/horos run --description /nowhere", output), 0);
    EXPECT_NE(output.find("/nowhere"), std::string::npos);
}

} // namespace
} // namespace horos::test
