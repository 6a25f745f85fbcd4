// Unmodified Debian Linux in a partition: boots, works, powers off.
#include "tools/machine/bundles.hpp"
#include "tools/machine/machine.hpp"
#include <cmath>
#include <cstdlib>
#include <gtest/gtest.h>

namespace horos::test {
namespace {

using machine::Machine;
using machine::MachineOptions;
using machine::pack;
using machine::run;

using std::chrono::seconds;

constexpr seconds boot_limit{180};

// The shell's answers, cleaned of the terminal's line ends.
std::string clean(std::string text) {
    std::erase(text, '\r');
    while (!text.empty() && text.front() == '\n')
        text.erase(0, 1);
    return text;
}

// The number behind the last `mark`; the guest's echo of the command comes before it.
double number_after(const std::string& text, std::string_view mark) {
    const std::size_t at = text.rfind(mark);
    return at == std::string::npos ? -1 : std::atof(text.c_str() + at + mark.size());
}

bool wait_for_shell(Machine& m) { return m.expect("/root# ", boot_limit); }

// What a user of the guest would try first.
void use_linux(Machine& m, unsigned processors) {
    bool ok = false;
    EXPECT_NE(m.shell("uname -a", seconds(60), ok).find("Debian"), std::string::npos);
    EXPECT_TRUE(ok);
    const std::string count = m.shell("echo n=$(nproc)", seconds(60), ok);
    EXPECT_EQ(number_after(count, "n="), processors) << count;

    const std::string info = m.shell("cat /proc/cpuinfo", seconds(60), ok);
    EXPECT_NE(info.find("hypervisor"), std::string::npos) << "the CPUID policy is not in force";
    EXPECT_NE(info.find(" x2apic"), std::string::npos);
    EXPECT_EQ(info.find(" svm"), std::string::npos) << "SVM is the host's alone";

    m.shell("dd if=/dev/urandom of=/tmp/one bs=1M count=8 2>/dev/null", seconds(180), ok);
    EXPECT_TRUE(ok);
    m.shell("for i in $(seq 16); do cat /tmp/one; done >/tmp/big", seconds(240), ok);
    EXPECT_TRUE(ok) << "writing 128 MiB";
    const std::string sums =
        m.shell("for i in $(seq 0 15); do dd if=/tmp/big bs=8M skip=$i count=1 2>/dev/null | "
                "md5sum; done | sort -u | wc -l; stat -c %s /tmp/big",
                seconds(180), ok);
    EXPECT_TRUE(ok);
    EXPECT_NE(clean(sums).find("1\n134217728"), std::string::npos)
        << "the 16 pieces of 128 MiB differ: " << sums;
    m.shell("rm /tmp/big", seconds(60), ok);

    const std::string forks = m.shell(
        "set +m; n=0; for i in $(seq 500); do (exit 7) & wait $!; [ $? = 7 ] && n=$((n+1)); done; "
        "echo forked=$n",
        seconds(240), ok);
    EXPECT_NE(forks.find("forked=500"), std::string::npos) << forks;
}

// A shell function that prints the wall clock in seconds, with all its digits.
constexpr std::string_view define_clock =
    "clock() { adjtimex | awk '/tv_sec/ { s = $2 } /tv_usec/ { u = $2 } "
    "END { printf \"%d.%06d\\n\", s, u }'; }";

// The shortest of five runs, in seconds by the guest's clock: this machine may be busy.
double shortest(Machine& m, const std::string& command) {
    double best = 1e9;
    for (int i = 0; i < 5; ++i) {
        bool ok = false;
        const std::string text = m.shell("time " + command, seconds(180), ok);
        EXPECT_TRUE(ok) << text;
        best = std::min(best, number_after(text, "real\t0m "));
    }
    return best;
}

// A second of sleep takes a second by the guest's clock, beyond what starting a program takes.
void check_sleep(Machine& m) {
    EXPECT_NEAR(shortest(m, "sleep 1") - shortest(m, "sleep 0"), 1.0, 0.05);
}

// Ten seconds by the guest's wall clock, its uptime and this machine's clock, within 5 %; and the
// guest trusts its clock source.
void check_clocks(Machine& m) {
    bool ok = false;
    check_sleep(m);
    m.shell(define_clock, seconds(60), ok);
    const auto now = [] { return std::chrono::steady_clock::now(); };
    const auto start = now();
    const std::string text =
        m.shell("a=$(awk '{print $1}' /proc/uptime); s=$(clock); sleep 10; "
                "b=$(awk '{print $1}' /proc/uptime); e=$(clock); "
                "awk \"BEGIN { print \\\"up=\\\" $b - $a, \\\"wall=\\\" $e - $s }\"",
                seconds(240), ok);
    const double here = std::chrono::duration<double>(now() - start).count();
    ASSERT_TRUE(ok) << text;
    const double up = number_after(text, "up=");
    const double wall = number_after(text, "wall=");
    EXPECT_GE(wall, 9.99) << text;
    EXPECT_NEAR(up / wall, 1.0, 0.05) << text;
    // The command line's way to the guest and back is in `here` too, on a busy machine for long.
    EXPECT_LE(wall, here * 1.05) << text;
    EXPECT_GE(wall, here * 0.95 - 2) << text;
    const std::string trouble =
        m.shell("dmesg | grep -ci 'unstable\\|soft lockup\\|rcu.*stall' | sed s/^/bad=/; true",
                seconds(60), ok);
    EXPECT_NE(trouble.find("bad=0"), std::string::npos) << trouble;
}

void power_off(Machine& m) {
    m.type("poweroff");
    EXPECT_EQ(m.wait_exit(seconds(180)), 0);
    EXPECT_TRUE(m.powered_off()) << "the machine was reset";
}

TEST(Linux, OneProcessor) {
    Machine m({.bundle = pack("linux1.toml"), .name = "linux1", .cores = 1});
    ASSERT_TRUE(wait_for_shell(m)) << m.tails();
    use_linux(m, 1);
    check_clocks(m);
    power_off(m);
    if (HasFailure())
        std::fputs(m.tails().c_str(), stderr);
}

TEST(Linux, TwoProcessors) {
    Machine m({.bundle = pack("linux2.toml"), .name = "linux2", .cores = 2});
    ASSERT_TRUE(wait_for_shell(m)) << m.tails();
    use_linux(m, 2);
    check_clocks(m);
    power_off(m);
    if (HasFailure())
        std::fputs(m.tails().c_str(), stderr);
}

// All cores of a larger machine come up; the guest has the first.
TEST(Linux, FourCoreMachine) {
    Machine m({.bundle = pack("linux1.toml"), .name = "linux-smp4", .cores = 4});
    ASSERT_TRUE(wait_for_shell(m)) << m.tails();
    EXPECT_NE(m.log().find("4 cores"), std::string::npos) << m.tails();
    power_off(m);
}

} // namespace
} // namespace horos::test
