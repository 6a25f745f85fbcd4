// Cores and windows: who runs where, and when.
#include <algorithm>
#include <map>
#include <set>

#include "tools/pack/description/source.hpp"

namespace horos::tools::pack {
namespace {

constexpr std::uint32_t slots_per_core = 6; // pairs: slots 2..13; 0, 1 and 15 are the system's

class ScheduleChecker {
public:
    ScheduleChecker(const SystemSource& system, Diagnostics& out) : system_(system), out_(out) {}
    void run();

private:
    void error(const Place& place, std::string_view key, std::string message) {
        out_.error(place.where(key), place.path + std::string(key), std::move(message));
    }
    void check_partition_cores();
    void check_core(const CoreSource& core);
    void check_lengths(const CoreSource& core);
    void check_window(const CoreSource& core, const WindowSource& window);
    void check_presence(const CoreSource& core);
    void check_budgets();
    [[nodiscard]] const PartitionSource* find(const std::string& name) const;
    [[nodiscard]] const CoreSource* schedule_of(std::uint32_t core) const;

    const SystemSource& system_;
    Diagnostics& out_;
};

bool uses(const PartitionSource& partition, std::uint32_t core) {
    return std::find(partition.cores.begin(), partition.cores.end(), core) != partition.cores.end();
}

bool lists(const WindowSource& window, const std::string& name) {
    return std::find(window.partitions.begin(), window.partitions.end(), name) !=
           window.partitions.end();
}

const PartitionSource* ScheduleChecker::find(const std::string& name) const {
    for (const PartitionSource& partition : system_.partitions) {
        if (partition.name == name) {
            return &partition;
        }
    }
    return nullptr;
}

const CoreSource* ScheduleChecker::schedule_of(std::uint32_t core) const {
    for (const CoreSource& schedule : system_.schedules) {
        if (schedule.id == core) {
            return &schedule;
        }
    }
    return nullptr;
}

void ScheduleChecker::check_partition_cores() {
    std::map<std::uint32_t, std::uint32_t> used;
    for (const PartitionSource& partition : system_.partitions) {
        for (const std::uint32_t core : partition.cores) {
            if (core >= system_.cores) {
                error(partition.place, "cores",
                      "core " + std::to_string(core) +
                          " is out of range; this system has cores 0 to " +
                          std::to_string(system_.cores - 1) + " (key 'cores' at the top)");
            } else if (++used[core] == slots_per_core + 1) {
                error(partition.place, "cores",
                      "core " + std::to_string(core) + " has more virtual CPUs and programs than " +
                          std::to_string(slots_per_core) + ", the most it has room for");
            }
        }
    }
}

void ScheduleChecker::check_lengths(const CoreSource& core) {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < core.windows.size(); ++i) {
        sum += core.windows[i].length_ns;
        if (sum > core.major_ns) {
            error(core.windows[i].place, "length",
                  "the window goes on to " + duration_text(sum) + ", beyond the major frame of " +
                      duration_text(core.major_ns));
            return;
        }
    }
    if (sum < core.major_ns && !core.windows.empty()) {
        error(core.place, "windows",
              "the windows cover " + duration_text(sum) + " of the major frame of " +
                  duration_text(core.major_ns) +
                  "; add an idle window (partitions = []) for the rest");
    }
}

void ScheduleChecker::check_window(const CoreSource& core, const WindowSource& window) {
    std::set<std::string> seen;
    for (const std::string& name : window.partitions) {
        const PartitionSource* partition = find(name);
        if (partition == nullptr) {
            error(window.place, "partitions", "there is no partition '" + name + "'");
        } else if (!uses(*partition, core.id)) {
            error(window.place, "partitions",
                  "partition '" + name + "' has no virtual CPU on core " + std::to_string(core.id));
        } else if (!seen.insert(name).second) {
            error(window.place, "partitions", "names '" + name + "' twice");
        }
    }
}

// With a table of windows, a partition that none of them names would never run.
void ScheduleChecker::check_presence(const CoreSource& core) {
    for (const PartitionSource& partition : system_.partitions) {
        const bool named =
            std::any_of(core.windows.begin(), core.windows.end(),
                        [&](const WindowSource& window) { return lists(window, partition.name); });
        if (uses(partition, core.id) && !named) {
            error(core.place, "windows",
                  "partition '" + partition.name + "' runs on core " + std::to_string(core.id) +
                      " but is in none of its windows");
        }
    }
}

void ScheduleChecker::check_core(const CoreSource& core) {
    if (core.id >= system_.cores) {
        error(core.place, "id",
              "core " + std::to_string(core.id) + " is out of range; this system has cores 0 to " +
                  std::to_string(system_.cores - 1) + " (key 'cores' at the top)");
    }
    if (schedule_of(core.id) != &core) {
        error(core.place, "id", "core " + std::to_string(core.id) + " has a schedule already");
    }
    check_lengths(core);
    for (const WindowSource& window : core.windows) {
        check_window(core, window);
    }
    check_presence(core);
}

void ScheduleChecker::check_budgets() {
    for (const PartitionSource& partition : system_.partitions) {
        if (partition.budget_ns == 0) {
            continue;
        }
        for (const std::uint32_t id : partition.cores) {
            const CoreSource* core = schedule_of(id);
            if (core == nullptr) {
                error(partition.place, "budget",
                      "means nothing on core " + std::to_string(id) +
                          ", which has no [[core]] with a major frame");
                break;
            }
            std::uint64_t time = 0;
            for (const WindowSource& window : core->windows) {
                time += lists(window, partition.name) ? window.length_ns : 0;
            }
            if (partition.budget_ns > time) {
                error(partition.place, "budget",
                      duration_text(partition.budget_ns) + " is more than its windows on core " +
                          std::to_string(id) + " give, " + duration_text(time));
                break;
            }
        }
    }
}

void ScheduleChecker::run() {
    check_partition_cores();
    for (const CoreSource& core : system_.schedules) {
        check_core(core);
    }
    check_budgets();
}

} // namespace

void check_schedules(const SystemSource& system, Diagnostics& out) {
    ScheduleChecker(system, out).run();
}

} // namespace horos::tools::pack
