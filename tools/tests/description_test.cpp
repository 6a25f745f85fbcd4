// One mistake at a time in a description that is good: each is refused with file, line, key and
// what would have been allowed.
#include <gmock/gmock.h>

#include <cstring>
#include <filesystem>
#include <unistd.h>

#include "tools/common/files.hpp"
#include "tools/pack/description/compile.hpp"
#include "tools/tests/guest_samples.hpp"

namespace horos::tools::pack {
namespace {

using testing::HasSubstr;

constexpr const char* good = R"(name = "test"
cores = 2
[[core]]
id = 0
major = "10 ms"
windows = [
    { length = "6 ms", partitions = ["linux"] },
    { length = "4 ms", partitions = ["native"] },
]
[[partition]]
name = "linux"
kind = "linux"
memory = "256 MiB"
cores = [0, 1]
console = "terminal"
kernel = "vmlinuz"
initramfs = "initramfs"
command_line = "console=ttyS0"
policy = "policy.toml"
devices = ["uart", "pci"]
ports = [{ first = 0x300, last = 0x30f }]
irqs = [{ gsi = 17, level = true, active_low = true }]
mmio = [{ address = 0xfeb00000, size = "64 KiB" }]
on_end = "power-off"
budget_unused = 0
[[partition]]
name = "native"
kind = "native"
program = "prober"
memory = "4 MiB"
cores = [0]
console = "log"
budget = "3 ms"
restart = "on-fault"
restart_limit = 3
watchdog_ms = 500
grants = ["ports", "platform"]
[[channel]]
name = "pipe"
between = ["linux", "native"]
size = "64 KiB"
addresses = [0xf0000000, 0x20000000]
)";

constexpr const char* policy = R"([[cpuid]]
leaf = 7
subleaf = 0
keep = { ebx = 0xffff }
[[msr]]
number = 0x1b
action = "fixed"
value = 5
)";

class DescriptionTest : public testing::Test {
protected:
    void SetUp() override {
        char name[] = "/tmp/horos-description-XXXXXX";
        directory_ = mkdtemp(name);
        put("vmlinuz", sample_kernel());
        put("initramfs", sample_initramfs());
        put_text("policy.toml", policy);
        std::string text = good;
        text.erase(text.find("budget_unused = 0\n"), std::strlen("budget_unused = 0\n"));
        good_ = text;
    }
    void TearDown() override { std::filesystem::remove_all(directory_); }

    void put(const std::string& name, const std::vector<std::uint8_t>& bytes) const {
        write_file(directory_ + "/" + name, bytes);
    }
    void put_text(const std::string& name, const std::string& text) const {
        put(name, {text.begin(), text.end()});
    }
    std::string changed(const std::string& from, const std::string& to) const {
        std::string text = good_;
        const auto at = text.find(from);
        EXPECT_NE(at, std::string::npos) << from;
        return text.replace(at, from.size(), to);
    }
    std::optional<CompiledSystem> compile(const std::string& text, std::string& errors) const {
        put_text("system.toml", text);
        Diagnostics diagnostics;
        CompileOptions options;
        options.file = directory_ + "/system.toml";
        auto compiled = compile_description(options, diagnostics);
        EXPECT_EQ(compiled.has_value(), diagnostics.ok());
        errors = diagnostics.text();
        return compiled;
    }

    std::string directory_;
    std::string good_;
};

TEST_F(DescriptionTest, GoodOneCompiles) {
    std::string errors;
    const auto compiled = compile(good_, errors);
    ASSERT_TRUE(compiled) << errors;
    const abi::System& system = compiled->system;
    EXPECT_STREQ(system.name, "test");
    ASSERT_EQ(system.partition_count, 2u);
    const abi::Partition& guest = system.partitions[0];
    EXPECT_EQ(guest.memory, 256u << 20);
    EXPECT_EQ(guest.placement_count, 2u);
    EXPECT_EQ(guest.placements[1].core, 1u);
    EXPECT_EQ(guest.devices, abi::device::uart | abi::device::pci);
    EXPECT_EQ(guest.end, abi::EndPolicy::power_off_machine);
    EXPECT_EQ(guest.ports[0].last, 0x30f);
    EXPECT_EQ(guest.irqs[0].flags, 3u);
    EXPECT_EQ(guest.cpuid[0].keep[1], 0xffffu);
    EXPECT_EQ(guest.cpuid[0].keep[0], 0xffffffffu);
    EXPECT_EQ(guest.msrs[0].value, 5u);
    const abi::Partition& native = system.partitions[1];
    EXPECT_EQ(native.restart_limit, 3u);
    EXPECT_EQ(native.watchdog_ms, 500u);
    EXPECT_EQ(native.grants, abi::system_grant::ports | abi::system_grant::platform);
    EXPECT_EQ(native.placements[0].budget_ns, 3'000'000u);
    EXPECT_EQ(system.channels[0].address[1], 0x20000000u);
}

TEST_F(DescriptionTest, WindowsNameTheSlotsOfTheirPartitionsAndTheSystem) {
    std::string errors;
    const auto compiled = compile(good_, errors);
    ASSERT_TRUE(compiled) << errors;
    const abi::CoreSchedule& schedule = compiled->system.schedules[0];
    EXPECT_EQ(schedule.windows[0].slots, 0b001111u); // system 0, 1; linux 2, 3
    EXPECT_EQ(schedule.windows[1].slots, 0b110011u); // system 0, 1; native 4, 5
    EXPECT_EQ(schedule.windows[1].length_ns, 4'000'000u);
}

TEST_F(DescriptionTest, BundleBeginsWithRootSystemConsole) {
    std::string errors;
    const auto compiled = compile(good_, errors);
    ASSERT_TRUE(compiled) << errors;
    std::vector<std::string> names;
    for (const BundleFile& file : compiled->files) {
        names.push_back(file.name);
    }
    EXPECT_THAT(names, testing::ElementsAre("root", "system", "console", "vmm", "kernel-0",
                                            "initramfs-0", "prober"));
    EXPECT_EQ(compiled->system.partitions[0].kernel, 4u);
}

struct Mistake {
    const char* from;
    const char* to;
    const char* key;
    const char* message;
};

class MistakeTest : public DescriptionTest, public testing::WithParamInterface<Mistake> {};

TEST_P(MistakeTest, IsRefusedWithFileLineAndKey) {
    std::string errors;
    EXPECT_FALSE(compile(changed(GetParam().from, GetParam().to), errors));
    EXPECT_THAT(errors, testing::ContainsRegex("\\.toml:[0-9]+:[0-9]+: error: "));
    EXPECT_THAT(errors, HasSubstr(std::string(GetParam().key) + ": "));
    EXPECT_THAT(errors, HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    System, MistakeTest,
    testing::Values(
        Mistake{"name = \"test\"", "", "name", "is missing"},
        Mistake{"name = \"test\"", "name = 3", "name", "must be a string, not an integer"},
        Mistake{"cores = 2", "cores = 65", "cores", "65 is out of range; allowed: 1 to 64"},
        Mistake{"cores = 2", "kores = 2", "kores",
                "is not a known key here; allowed: name, cores, core, partition, channel"},
        Mistake{"cores = 2", "cores = 1", "partition[0].cores",
                "core 1 is out of range; this system has cores 0 to 0"},
        Mistake{"[[partition]]", "[[partition", "error", ""},
        Mistake{"id = 0", "id = 5", "core[0].id", "core 5 is out of range"},
        Mistake{"id = 0", "id = 64", "core[0].id", "allowed: 0 to 63"},
        Mistake{"id = 0\n",
                "id = 0\nmajor = \"10 ms\"\nwindows = [{ length = \"10 ms\", "
                "partitions = [\"linux\", \"native\"] }]\n[[core]]\nid = 0\n",
                "core[1].id", "core 0 has a schedule already"},
        Mistake{"\"10 ms\"", "\"10 s\"", "core[0].major", "must be a time from 100 us"},
        Mistake{"\"6 ms\"", "\"50 us\"", "core[0].windows[0].length", "must be a time from 100 us"},
        Mistake{"\"6 ms\"", "\"7 ms\"", "core[0].windows[1].length",
                "goes on to 11 ms, beyond the major frame of 10 ms"},
        Mistake{"\"6 ms\"", "\"5 ms\"", "core[0].windows",
                "cover 9 ms of the major frame of 10 ms"},
        Mistake{"[\"linux\"] }", "[\"linus\"] }", "core[0].windows[0].partitions",
                "there is no partition 'linus'"},
        Mistake{"[\"linux\"] }", "[\"linux\", \"linux\"] }", "core[0].windows[0].partitions",
                "names 'linux' twice"},
        Mistake{"[\"linux\"] }", "[] }", "core[0].windows",
                "partition 'linux' runs on core 0 but is in none of its windows"},
        Mistake{"cores = [0]", "cores = [1]", "core[0].windows[1].partitions",
                "partition 'native' has no virtual CPU on core 0"}));

INSTANTIATE_TEST_SUITE_P(
    Partition, MistakeTest,
    testing::Values(
        Mistake{"name = \"linux\"", "name = \"a b\"", "partition[0].name", "must have 1 to 31"},
        Mistake{"name = \"native\"", "name = \"linux\"", "partition[1].name",
                "there is a partition 'linux' already, in line 11"},
        Mistake{"kind = \"linux\"", "kind = \"windows\"", "partition[0].kind",
                "'windows' is not known; allowed: linux, native"},
        Mistake{"kind = \"linux\"", "", "partition[0].kind", "is missing"},
        Mistake{"memory = \"256 MiB\"", "", "partition[0].memory", "is missing"},
        Mistake{"memory = \"256 MiB\"", "memory = \"257 MiB\"", "partition[0].memory",
                "in steps of 2 MiB"},
        Mistake{"memory = \"256 MiB\"", "memory = \"64 GiB\"", "partition[0].memory",
                "allowed: 64 MiB to 32768 MiB"},
        Mistake{"memory = \"256 MiB\"", "memory = \"lots\"", "partition[0].memory",
                "must be a size in bytes, as in"},
        Mistake{"memory = \"256 MiB\"", "memory = \"64 MiB\"", "partition[0].memory",
                "64 MiB is too little: this kernel and initramfs need at least"},
        Mistake{"memory = \"4 MiB\"", "memory = \"66 MiB\"", "partition[1].memory",
                "allowed: 0 MiB to 64 MiB"},
        Mistake{"cores = [0, 1]", "", "partition[0].cores", "must name the core of each"},
        Mistake{"cores = [0, 1]", "cores = [0, 64]", "partition[0].cores",
                "64 is out of range; allowed: 0 to 63"},
        Mistake{"cores = [0, 1]", "cores = [0, \"1\"]", "partition[0].cores",
                "each element must be an integer, not a string"},
        Mistake{"cores = [0, 1]", "cores = [0, 1]\nvcpus = 3", "partition[0].cores",
                "names 2 cores for 3 virtual CPUs"},
        Mistake{"cores = [0, 1]", "cores = [0]\nvcpus = 9", "partition[0].vcpus",
                "9 is out of range; allowed: 1 to 8"},
        Mistake{"cores = [0, 1]", "cores = [0]\nvcpus = 8", "cores",
                "has more virtual CPUs and programs than 6"},
        Mistake{"cores = [0]", "cores = [0, 1]", "partition[1].cores", "one thread"},
        Mistake{"console = \"log\"", "console = \"terminal\"", "partition[1].console",
                "the terminal is that of 'linux' already; allowed for a second partition: log"},
        Mistake{"console = \"log\"", "console = \"vga\"", "partition[1].console",
                "'vga' is not known; allowed: none, terminal, log"},
        Mistake{"kernel = \"vmlinuz\"", "", "partition[0].kernel", "is missing"},
        Mistake{"kernel = \"vmlinuz\"", "kernel = \"bzImage\"", "partition[0].kernel",
                "there is no file 'bzImage'; looked in "},
        Mistake{"kernel = \"vmlinuz\"", "kernel = \"initramfs\"", "partition[0].kernel",
                "is not a Linux bzImage"},
        Mistake{"initramfs = \"initramfs\"", "initramfs = \"gone\"", "partition[0].initramfs",
                "there is no file 'gone'"},
        Mistake{"initramfs = \"initramfs\"", "initramfs = \"vmlinuz\"", "partition[0].initramfs",
                "is not an initramfs; allowed: a cpio archive"},
        Mistake{"policy = \"policy.toml\"", "policy = \"gone.toml\"", "partition[0].policy",
                "there is no file 'gone.toml'"},
        Mistake{"[\"uart\", \"pci\"]", "[\"uart\", \"usb\"]", "partition[0].devices",
                "'usb' is not known; allowed: uart, rtc"},
        Mistake{"on_end = \"power-off\"", "on_end = \"explode\"", "partition[0].on_end",
                "allowed: stop, power-off"},
        Mistake{"on_end = \"power-off\"", "grants = [\"ports\"]", "partition[0].grants",
                "is not for partitions of kind 'linux'"},
        Mistake{"program = \"prober\"", "", "partition[1].program", "is missing"},
        Mistake{"program = \"prober\"", "program = \"prober\"\nkernel = \"vmlinuz\"",
                "partition[1].kernel", "is not for partitions of kind 'native'"},
        Mistake{"[\"ports\", \"platform\"]", "[\"everything\"]", "partition[1].grants",
                "allowed: cores, irq_control, ports, mmio, platform"},
        Mistake{"budget = \"3 ms\"", "budget = \"5 ms\"", "partition[1].budget",
                "5 ms is more than its windows on core 0 give, 4 ms"},
        Mistake{"budget = \"3 ms\"", "budget = \"3\"", "partition[1].budget", "must be a time"},
        Mistake{"cores = [0, 1]", "cores = [0, 1]\nbudget = \"1 ms\"", "partition[0].budget",
                "means nothing on core 1"},
        Mistake{"restart = \"on-fault\"", "", "partition[1].restart_limit",
                "means nothing without"},
        Mistake{"restart = \"on-fault\"", "restart = \"maybe\"", "partition[1].restart",
                "allowed: never, on-fault"},
        Mistake{"watchdog_ms = 500", "watchdog_ms = -1", "partition[1].watchdog_ms",
                "-1 is out of range"}));

INSTANTIATE_TEST_SUITE_P(
    Resource, MistakeTest,
    testing::Values(
        Mistake{"first = 0x300, last", "first = 0x310, last", "partition[0].ports[0].last",
                "0x30f is below 'first', 0x310"},
        Mistake{"last = 0x30f", "last = 0x10000", "partition[0].ports[0].last",
                "65536 is out of range"},
        Mistake{"first = 0x300", "first = 0x2f0", "partition[0].ports",
                "overlaps 0x2f8 to 0x2ff of Horos's log (COM2)"},
        Mistake{"first = 0x300, last = 0x30f", "first = 0x3f8, last = 0x3f8", "partition[0].ports",
                "of the terminal (COM1)"},
        Mistake{"budget = \"3 ms\"", "ports = [{ first = 0x30f, last = 0x310 }]",
                "partition[1].ports", "overlaps 0x300 to 0x30f of partition 'linux'"},
        Mistake{"gsi = 17", "gsi = 120", "partition[0].irqs[0].gsi", "allowed: 0 to 119"},
        Mistake{"budget = \"3 ms\"", "irqs = [{ gsi = 17 }]", "partition[1].irqs",
                "GSI 17 is that of partition 'linux' already"},
        Mistake{"0xfeb00000", "0xfeb00001", "partition[0].mmio[0].address",
                "must be a multiple of 4096"},
        Mistake{"\"64 KiB\" }]", "\"1 KiB\" }]", "partition[0].mmio[0].size",
                "must be a multiple of 4 KiB"},
        Mistake{"0xfeb00000", "0x1000000", "partition[0].mmio",
                "overlaps the partition's own memory, 0x0 to 0xfffffff"},
        Mistake{"budget = \"3 ms\"", "mmio = [{ address = 0xfeb0f000, size = \"4 KiB\" }]",
                "partition[1].mmio", "overlaps 0xfeb00000 to 0xfeb0ffff of partition 'linux'"},
        Mistake{"\"linux\", \"native\"]", "\"linux\", \"moon\"]", "channel[0].between",
                "there is no partition 'moon'"},
        Mistake{"\"linux\", \"native\"]", "\"linux\", \"linux\"]", "channel[0].between",
                "names the same partition twice"},
        Mistake{"\"linux\", \"native\"]", "\"linux\"]", "channel[0].between",
                "must name two partitions"},
        Mistake{"size = \"64 KiB\"\naddr", "size = \"1000\"\naddr", "channel[0].size",
                "must be a multiple of 4 KiB"},
        Mistake{"[0xf0000000, 0x20000000]", "[0xf0000000]", "channel[0].addresses",
                "must give two addresses"},
        Mistake{"[0xf0000000, 0x20000000]", "[0xf0000001, 0x20000000]", "channel[0].addresses",
                "must be multiples of 4096"},
        Mistake{"[0xf0000000, 0x20000000]", "[0x1000000, 0x20000000]", "channel[0].addresses",
                "0x1000000 lies within the memory of 'linux'"},
        Mistake{"[[channel]]\n",
                "[[channel]]\nname = \"other\"\nbetween = [\"native\", \"linux\"]\n"
                "size = \"8 KiB\"\naddresses = [0x2000f000, 0xe0000000]\n[[channel]]\n",
                "channel[1].addresses", "0x20000000 overlaps channel 'other' in partition"},
        Mistake{"[[channel]]\n",
                "[[channel]]\nname = \"pipe\"\nbetween = [\"native\", \"linux\"]\n"
                "size = \"8 KiB\"\naddresses = [0x30000000, 0xe0000000]\n[[channel]]\n",
                "channel[1].name", "there is a channel 'pipe' already"}));

class PolicyMistakeTest : public DescriptionTest, public testing::WithParamInterface<Mistake> {};

TEST_P(PolicyMistakeTest, IsRefusedInThePolicyFile) {
    std::string text = policy;
    const auto at = text.find(GetParam().from);
    ASSERT_NE(at, std::string::npos);
    put_text("policy.toml", text.replace(at, std::strlen(GetParam().from), GetParam().to));
    std::string errors;
    EXPECT_FALSE(compile(good_, errors));
    EXPECT_THAT(errors, HasSubstr("/policy.toml:"));
    EXPECT_THAT(errors, HasSubstr(std::string(GetParam().key) + ": " + GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    Policy, PolicyMistakeTest,
    testing::Values(
        Mistake{"leaf = 7", "", "cpuid[0].leaf", "is missing"},
        Mistake{"leaf = 7", "leaf = 0x100000000", "cpuid[0].leaf", "4294967296 is out of range"},
        Mistake{"ebx", "ebp", "cpuid[0].keep.ebp", "is not a known key here; allowed: eax, ebx"},
        Mistake{"keep = { ebx = 0xffff }", "", "cpuid[0].keep", "is missing, and 'set' too"},
        Mistake{"\"fixed\"", "\"ignore\"", "msr[0].action",
                "'ignore' is not known; allowed: fault, fixed, pass-through"},
        Mistake{"\"fixed\"", "\"fault\"", "msr[0].value", "is only for action 'fixed'"},
        Mistake{"value = 5", "", "msr[0].value", "is missing"},
        Mistake{"[[msr]]", "[[mrs]]", "mrs", "is not a known key here; allowed: cpuid, msr"}));

TEST_F(DescriptionTest, MissingProgramsAreNamed) {
    put_text("system.toml", good_);
    Diagnostics diagnostics;
    CompileOptions options;
    options.file = directory_ + "/system.toml";
    options.program_directory = directory_;
    EXPECT_FALSE(compile_description(options, diagnostics));
    EXPECT_THAT(diagnostics.text(), HasSubstr("there is no program 'prober'; looked for "));
}

TEST_F(DescriptionTest, SeveralMistakesAreReportedTogether) {
    std::string errors;
    std::string text = changed("\"256 MiB\"", "\"257 MiB\"");
    text.replace(text.find("0x30f"), 5, "0x2ff");
    EXPECT_FALSE(compile(text, errors));
    EXPECT_GE(std::count(errors.begin(), errors.end(), '\n'), 2);
}

} // namespace
} // namespace horos::tools::pack
