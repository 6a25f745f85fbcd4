// Partitions that fail, and partitions that attack: the others' work goes on.
#include "tools/machine/bundles.hpp"
#include "tools/machine/machine.hpp"
#include <cstdlib>
#include <gtest/gtest.h>

namespace horos::test {
namespace {

using machine::Machine;
using machine::MachineOptions;
using machine::pack;
using machine::run;

using std::chrono::seconds;

unsigned count(const std::string& text, std::string_view what) {
    unsigned n = 0;
    for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1))
        ++n;
    return n;
}

// The number of the last heartbeat of the bystander.
int last_tick(const std::string& log) {
    const std::size_t at = log.rfind("[bystander] tick ");
    return at == std::string::npos ? 0 : std::atoi(log.c_str() + at + 17);
}

// The victim fails, is restarted twice, fails each time and stays down; the bystander works on.
void check_failing_guest(const std::string& description, std::string_view greeting,
                         std::string_view fault) {
    Machine m({.bundle = pack(description + ".toml"), .name = description, .cores = 2});
    ASSERT_TRUE(m.expect_log("[bystander] tick 1 ", seconds(180))) << m.tails();
    ASSERT_TRUE(m.expect_log("partition victim: stopped after 2 restarts", seconds(240)))
        << m.tails();
    const int then = last_tick(m.log());
    ASSERT_TRUE(m.expect_log("tick " + std::to_string(then + 20) + " ", seconds(180)))
        << "the bystander stopped\n"
        << m.tails();
    const std::string log = m.log();
    EXPECT_EQ(count(log, fault), 3u) << m.tails();
    EXPECT_EQ(count(log, "partition victim: restarted"), 2u) << m.tails();
    EXPECT_EQ(count(log, greeting), 3u) << "each start reaches the guest's code\n" << m.tails();
    EXPECT_EQ(count(log, "partition bystander:"), 2u) << "built and started, nothing else\n"
                                                      << m.tails();
}

TEST(Partitions, TripleFault) {
    check_failing_guest("triple", "guest: triple fault next",
                        "partition victim: guest triple fault");
}

TEST(Partitions, HangingGuest) {
    check_failing_guest("hang", "guest: hanging", "partition victim: hangs, no progress");
}

TEST(Partitions, CrashingMonitor) {
    check_failing_guest("crash", "guest: crashing its monitor",
                        "partition victim: thread 0 fault #PF page fault");
}

// A guest that never exits shares a core with a program: the windows take the core from it.
TEST(Partitions, HangingGuestIsPreempted) {
    Machine m({.bundle = pack("shared.toml"), .name = "shared", .cores = 1});
    ASSERT_TRUE(m.expect_log("guest: hanging", seconds(180))) << m.tails();
    const int then = last_tick(m.log());
    ASSERT_TRUE(m.expect_log("tick " + std::to_string(then + 20) + " ", seconds(180))) << m.tails();
}

TEST(Partitions, ProberIsStoppedEveryTime) {
    Machine m({.bundle = pack(std::string(HOROS_SOURCE) + "/descriptions/demo.toml"),
               .name = "demo",
               .cores = 2});
    ASSERT_TRUE(m.expect_log("probes: ", seconds(180))) << m.tails();
    ASSERT_TRUE(m.expect_log(" NOT stopped", seconds(60))) << m.tails();
    const std::string log = m.log();
    const std::size_t at = log.rfind("probes: ");
    const int stopped = std::atoi(log.c_str() + at + 8);
    EXPECT_GE(stopped, 60) << m.tails();
    EXPECT_NE(log.find(" stopped, 0 NOT stopped", at), std::string::npos) << m.tails();
    EXPECT_EQ(count(log, ": stopped ("), static_cast<unsigned>(stopped));
    // Linux beside it does not notice.
    ASSERT_TRUE(m.expect("/root# ", seconds(240))) << m.tails();
    m.type("poweroff");
    EXPECT_EQ(m.wait_exit(seconds(180)), 0);
    EXPECT_TRUE(m.powered_off());
}

TEST(Partitions, GuestsBehaveAsTheirMonitorAsks) {
    Machine m({.bundle = pack("guest-test.toml"), .name = "guest-test", .cores = 1});
    ASSERT_TRUE(m.expect_log("guests: ", seconds(180))) << m.tails();
    ASSERT_TRUE(m.expect_log(" failed", seconds(60))) << m.tails();
    EXPECT_NE(m.log().find(" passed, 0 failed"), std::string::npos) << m.tails();
}

TEST(Partitions, HypercallsAnswerEveryBadArgument) {
    Machine m({.bundle = pack("hypercalls.toml"), .name = "hypercalls", .cores = 2});
    ASSERT_TRUE(m.expect_log("hypercalls: ", seconds(180))) << m.tails();
    ASSERT_TRUE(m.expect_log(" failed", seconds(60))) << m.tails();
    const std::string log = m.log();
    const std::size_t at = log.rfind("hypercalls: ");
    EXPECT_GE(std::atoi(log.c_str() + at + 12), 300) << m.tails();
    EXPECT_NE(log.find(" passed, 0 failed", at), std::string::npos) << m.tails();
}

} // namespace
} // namespace horos::test
