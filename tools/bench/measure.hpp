// What is measured, and how: boots the system in QEMU and reads figures from its log.
#pragma once
#include <map>
#include <string>
#include <vector>

namespace horos::bench {

// Instruction counts that the benchmark programs print, by name (one time-stamp tick is one
// instruction under `-icount shift=0`). Two boots: a native program, and a guest.
std::map<std::string, double> measure_costs();

struct BootTimes {
    std::vector<double> seconds;      // wall time from QEMU's start to its end
    std::vector<double> instructions; // that the guest machine executed
};
// Boots the same kernel and initramfs `rounds` times, in turns with and without Horos.
void measure_boots(unsigned rounds, BootTimes& with, BootTimes& without);

double median(std::vector<double> values);

} // namespace horos::bench
