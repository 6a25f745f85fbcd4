#include "measure.hpp"
#include "tools/machine/bundles.hpp"
#include "tools/machine/machine.hpp"
#include <algorithm>
#include <chrono>
#include <fstream>
#include <regex>
#include <stdexcept>

namespace horos::bench {
namespace {

using machine::Machine;
using machine::MachineOptions;
using std::chrono::seconds;

constexpr const char* source = HOROS_SOURCE "/tools/bench/";

// Every "bench NAME VALUE" of the log, and the ticks from the kernel's entry to the root task.
void read_figures(const std::string& log, std::map<std::string, double>& figures) {
    static const std::regex figure("bench ([a-z0-9-]+) ([0-9]+)");
    static const std::regex root("([0-9]+) ticks from entry to the root task");
    for (std::sregex_iterator it(log.begin(), log.end(), figure), end; it != end; ++it)
        figures[(*it)[1]] = std::stod((*it)[2]);
    std::smatch found;
    if (std::regex_search(log, found, root))
        figures["entry-to-root-task"] = std::stod(found[1]);
}

void run_program(const std::string& name, const std::string& last_line,
                 std::map<std::string, double>& figures) {
    Machine m({.bundle = machine::pack(source + name + ".toml"),
               .name = "bench-" + name,
               .cores = 1,
               .memory_mib = 512,
               .more = {"-icount", "shift=0"}});
    if (!m.expect_log(last_line, seconds(300)))
        throw std::runtime_error("the benchmark " + name + " did not end\n" + m.tails());
    read_figures(m.log(), figures);
}

std::string count_file() { return std::string(HOROS_TEST_LOGS) + "/instructions"; }

// One boot to its end. `counted`: with the plugin, which slows it down; else timed.
void boot(MachineOptions options, bool counted, BootTimes& times) {
    options.cores = 1;
    options.memory_mib = 1024;
    if (counted)
        options.more.insert(options.more.end(),
                            {"-plugin", HOROS_COUNT_PLUGIN ",out=" + count_file()});
    const auto start = std::chrono::steady_clock::now();
    Machine m(options);
    if (m.wait_exit(seconds(300)) != 0 || !m.powered_off())
        throw std::runtime_error("a boot of " + options.name + " failed\n" + m.tails());
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
    if (!counted) {
        times.seconds.push_back(time.count());
        return;
    }
    double count = 0;
    if (!(std::ifstream(count_file()) >> count))
        throw std::runtime_error("the counting plugin wrote nothing");
    times.instructions.push_back(count);
}

} // namespace

std::map<std::string, double> measure_costs() {
    std::map<std::string, double> figures;
    run_program("native", "bench: done", figures);
    run_program("guest", "bench: guest done", figures);
    return figures;
}

void measure_boots(unsigned rounds, BootTimes& with, BootTimes& without) {
    const MachineOptions horos = {.bundle = machine::pack(std::string(source) + "boot.toml"),
                                  .name = "bench-boot-horos"};
    const MachineOptions bare = {.kernel = HOROS_GUEST_FILES "/vmlinuz",
                                 .initrd = HOROS_GUEST_FILES "/initramfs.cpio.gz",
                                 .append = "console=ttyS0 quiet rdinit=/bin/poweroff -- -f",
                                 .name = "bench-boot-bare"};
    for (unsigned i = 0; i < rounds; ++i) {
        boot(horos, false, with);
        boot(bare, false, without);
    }
    boot(horos, true, with);
    boot(bare, true, without);
}

double median(std::vector<double> values) {
    if (values.empty())
        return 0;
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

} // namespace horos::bench
