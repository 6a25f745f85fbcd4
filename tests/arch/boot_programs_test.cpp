// Boots the kernel with a program of ring3/ in the root task's place.
#include "tools/machine/machine.hpp"
#include "tools/pack/bundle.hpp"
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>

namespace horos::test {
namespace {

using machine::Machine;
using machine::MachineOptions;

std::string bundle_of(const std::string& program) {
    std::ifstream in(std::string(HOROS_PROGRAMS) + "/" + program + ".prog", std::ios::binary);
    EXPECT_TRUE(in) << program;
    tools::pack::BundleItem item;
    item.name = "root";
    item.type = abi::BundleType::program;
    item.bytes.assign(std::istreambuf_iterator<char>(in), {});
    const std::vector<std::uint8_t> bundle = tools::pack::encode_bundle({item});
    const std::string path = std::string(HOROS_TEST_LOGS) + "/" + program + ".bundle";
    std::filesystem::create_directories(HOROS_TEST_LOGS);
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(bundle.data()),
               static_cast<std::streamsize>(bundle.size()));
    return path;
}

void run(const std::string& program, unsigned cores, unsigned memory_mib,
         std::vector<std::string> more = {}) {
    MachineOptions options;
    options.bundle = bundle_of(program);
    options.append = "onfatal=reset";
    options.name = program + "-" + std::to_string(cores) + "-" + std::to_string(memory_mib);
    options.cores = cores;
    options.memory_mib = memory_mib;
    options.more = std::move(more);
    Machine booted(options);
    EXPECT_EQ(booted.wait_exit(std::chrono::seconds(240)), 0) << booted.tails();
    EXPECT_NE(booted.log().find("\nall is well"), std::string::npos) << booted.tails();
    EXPECT_EQ(booted.log().find("fatal"), std::string::npos) << booted.tails();
}

TEST(Ring3, FaultsStayWithTheThread) { run("arch-faults", 1, 64); }
TEST(Ring3, OneCoreSleeps) { run("arch-cores", 1, 16); }
TEST(Ring3, TwoCores) { run("arch-cores", 2, 64); }
TEST(Ring3, FourCores) { run("arch-cores", 4, 64); }
TEST(Ring3, EightCores) { run("arch-cores", 8, 64); }
TEST(Ring3, MemoryAboveFourGigabytes) { run("arch-cores", 1, 6000); }

// Processors with fewer features: what the kernel switches on only where it is there.
TEST(Ring3, OldProcessors) {
    run("arch-cores", 2, 65, {"-cpu", "phenom,+svm"});
    run("arch-cores", 2, 66, {"-cpu", "Opteron_G5,+svm"});
    run("arch-cores", 2, 67, {"-cpu", "max,+svm,-xsave,-smep,-smap,-umip,-pge"});
}

} // namespace
} // namespace horos::test
