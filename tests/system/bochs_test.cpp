// The booted system in Bochs, whose processors have VMX: the same kernel, programs and guests as on
// QEMU. Bochs 2.7 takes some seconds to come to GRUB's end and a tenth of QEMU's speed from there.
#include "tools/machine/bundles.hpp"
#include "tools/machine/machine.hpp"
#include <cstdlib>
#include <gtest/gtest.h>

namespace horos::test {
namespace {

using machine::Machine;
using machine::MachineOptions;

using std::chrono::seconds;

constexpr seconds limit{400}; // on a busy machine

MachineOptions in_bochs(const std::string& description, const std::string& model, unsigned cores,
                        unsigned memory_mib) {
    return {.cdrom = machine::make_image(description + ".toml", "no"),
            .bochs = model,
            .name = description + "-" + model,
            .cores = cores,
            .memory_mib = memory_mib};
}

unsigned count(const std::string& text, std::string_view what) {
    unsigned n = 0;
    for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1))
        ++n;
    return n;
}

// From the ISO image through GRUB, the kernel, the root task and the monitor to Linux's shell, and
// to the end of the machine.
void use_linux(const std::string& description, unsigned processors, unsigned memory_mib,
               const std::string& model = "corei7_skylake_x") {
    Machine m(in_bochs(description, model, processors, memory_mib));
    ASSERT_TRUE(m.expect("/root# ", limit)) << m.tails();
    EXPECT_NE(m.log().find("Multiboot2"), std::string::npos) << m.tails();
    bool ok = false;
    const std::string answer = m.shell("uname -a; echo n=$(nproc); grep -o -m1 -w vmx "
                                       "/proc/cpuinfo; dmesg | grep -i 'apic rout'; true",
                                       seconds(180), ok);
    EXPECT_TRUE(ok) << m.tails();
    EXPECT_NE(answer.find("Debian"), std::string::npos) << answer;
    EXPECT_NE(answer.find("n=" + std::to_string(processors)), std::string::npos) << answer;
    EXPECT_EQ(answer.find("\nvmx"), std::string::npos) << "VMX is the host's alone";
    EXPECT_EQ(answer.find("x2apic") == std::string::npos, description == "bochs-xapic") << answer;
    m.type("poweroff");
    EXPECT_EQ(m.wait_exit(seconds(240)), 0) << m.tails();
    EXPECT_TRUE(m.powered_off()) << m.tails();
}

TEST(Bochs, LinuxOneProcessor) { use_linux("bochs-linux1", 1, 160); }
TEST(Bochs, LinuxTwoProcessors) { use_linux("bochs-linux2", 2, 192); }

// The local APICs in memory: served as a whole by the one processor, but for TPR emulated on the
// other.
TEST(Bochs, LinuxWithApicsInMemory) { use_linux("bochs-xapic", 2, 192); }
TEST(Bochs, LinuxWithFlexPriorityAlone) {
    use_linux("bochs-xapic", 2, 192, "corei5_arrandale_m520");
}

// What the prober tries is stopped, while guests beside it fail, hang and crash their monitors in
// time windows of the same core, and a bystander works on.
TEST(Bochs, ProberAndFailingGuests) {
    Machine m(in_bochs("bochs-guests", "corei7_icelake_u", 1, 288));
    ASSERT_TRUE(m.expect_log("probes: ", limit)) << m.tails();
    ASSERT_TRUE(m.expect_log(" NOT stopped", seconds(60))) << m.tails();
    for (const std::string victim : {"triple", "hang", "crash"})
        ASSERT_TRUE(
            m.expect_log("partition " + victim + ": stopped after 2 restarts", seconds(240)))
            << m.tails();
    const std::string log = m.log();
    const std::size_t at = log.rfind("probes: ");
    ASSERT_NE(at, std::string::npos) << m.tails();
    const int stopped = std::atoi(log.c_str() + at + 8);
    EXPECT_GE(stopped, 60) << m.tails();
    EXPECT_NE(log.find(" stopped, 0 NOT stopped", at), std::string::npos) << log;
    EXPECT_EQ(count(log, ": stopped ("), static_cast<unsigned>(stopped));
    EXPECT_EQ(count(log, "guest: triple fault next"), 3u) << log;
    EXPECT_EQ(count(log, "partition triple: guest triple fault"), 3u) << log;
    EXPECT_EQ(count(log, "guest: hanging"), 3u) << log;
    EXPECT_EQ(count(log, "partition hang: hangs, no progress"), 3u) << log;
    EXPECT_EQ(count(log, "guest: crashing its monitor"), 3u) << log;
    EXPECT_EQ(count(log, "partition crash: thread 0 fault #PF page fault"), 3u) << log;
    EXPECT_EQ(count(log, "partition bystander:"), 2u) << "built and started, nothing else\n" << log;
    EXPECT_GE(count(log, "[bystander] tick "), 5u) << log;
    EXPECT_EQ(log.find("missed 1"), std::string::npos) << "the windows were not kept\n" << log;
}

// Every hypercall with every class of bad argument, refusals of a monitor's requests among them.
TEST(Bochs, HypercallsAnswerEveryBadArgument) {
    Machine m(in_bochs("hypercalls", "corei7_skylake_x", 2, 192));
    ASSERT_TRUE(m.expect_log("hypercalls: ", limit)) << m.tails();
    ASSERT_TRUE(m.expect_log(" failed", seconds(60))) << m.tails();
    const std::string log = m.log();
    const std::size_t at = log.rfind("hypercalls: ");
    ASSERT_NE(at, std::string::npos) << m.tails();
    EXPECT_GE(std::atoi(log.c_str() + at + 12), 300) << m.tails();
    EXPECT_NE(log.find(" passed, 0 failed", at), std::string::npos) << m.tails();
}

// Injection, replay, windows, shadows, MSRs: what the same program finds on SVM.
void test_guests(const std::string& model, const std::string& left_out) {
    Machine m(in_bochs("guest-test", model, 1, 96));
    ASSERT_TRUE(m.expect_log("guests: ", limit)) << m.tails();
    ASSERT_TRUE(m.expect_log(" failed", seconds(60))) << m.tails();
    EXPECT_NE(m.log().find(" passed, 0 failed"), std::string::npos) << m.tails();
    EXPECT_EQ(count(m.log(), "left out"), left_out.empty() ? 0u : 1u) << m.tails();
    EXPECT_NE(m.log().find(left_out), std::string::npos) << m.tails();
}

TEST(Bochs, GuestsBehaveAsTheirMonitorAsks) { test_guests("corei7_skylake_x", ""); }

// FlexPriority alone: the TPR shadow and APIC accesses, and nothing that came later.
TEST(Bochs, GuestsWithFlexPriorityAlone) {
    const std::string tpr_alone = "virtual APIC left out: this processor offers 0x4";
    test_guests("corei5_arrandale_m520", tpr_alone);
    test_guests("corei7_ivy_bridge_3770k", tpr_alone);
}

} // namespace
} // namespace horos::test
