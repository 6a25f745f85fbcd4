#include "tools/pack/report.hpp"

#include "tools/common/text.hpp"
#include "tools/pack/description/source.hpp"

namespace horos::tools::pack {
namespace {

std::string console_text(abi::Console console) {
    switch (console) {
    case abi::Console::none:
        return "no console";
    case abi::Console::terminal:
        return "console on the terminal";
    case abi::Console::log:
        return "console in the log";
    }
    return "?";
}

std::string partition_text(const abi::Partition& partition) {
    const bool is_linux = partition.kind == abi::PartitionKind::linux_guest;
    std::string out = std::string("  ") + partition.name + ": " + (is_linux ? "Linux" : "native") +
                      ", " + std::to_string(partition.memory >> 20) + " MiB, " +
                      (is_linux ? "virtual CPUs on cores" : "core");
    for (std::uint32_t i = 0; i < partition.placement_count; ++i) {
        out += " " + std::to_string(partition.placements[i].core);
    }
    out += ", " + console_text(partition.console) + "\n";
    for (std::uint32_t i = 0; i < partition.port_count; ++i) {
        out += "    ports " + hex(partition.ports[i].first) + " to " +
               hex(partition.ports[i].last) + "\n";
    }
    for (std::uint32_t i = 0; i < partition.irq_count; ++i) {
        out += "    interrupt line " + std::to_string(partition.irqs[i].gsi) + "\n";
    }
    for (std::uint32_t i = 0; i < partition.mmio_count; ++i) {
        out += "    device memory " + hex(partition.mmio[i].address) + ", " +
               std::to_string(partition.mmio[i].size >> 10) + " KiB\n";
    }
    return out;
}

// Who may run in a window, by the slots it names.
std::string window_text(const abi::System& system, std::uint32_t core, const abi::Window& window) {
    std::string names;
    for (std::uint32_t i = 0; i < system.partition_count; ++i) {
        const abi::Partition& partition = system.partitions[i];
        bool runs = false;
        for (std::uint32_t j = 0; j < partition.placement_count; ++j) {
            const abi::Placement& place = partition.placements[j];
            runs = runs || (place.core == core && (window.slots >> place.main_slot & 1) != 0);
        }
        names += runs ? std::string(" ") + partition.name : "";
    }
    return " [" + duration_text(window.length_ns) + ":" + (names.empty() ? " idle" : names) + "]";
}

} // namespace

std::string system_text(const abi::System& system) {
    std::string out = std::string("system ") + system.name + ": " +
                      std::to_string(system.core_count) + " core(s)\n";
    for (std::uint32_t i = 0; i < system.partition_count; ++i) {
        out += partition_text(system.partitions[i]);
    }
    for (std::uint32_t i = 0; i < system.schedule_count; ++i) {
        const abi::CoreSchedule& schedule = system.schedules[i];
        out += "  core " + std::to_string(schedule.core) + ":";
        for (std::uint32_t j = 0; j < schedule.window_count; ++j) {
            out += window_text(system, schedule.core, schedule.windows[j]);
        }
        out += "\n";
    }
    for (std::uint32_t i = 0; i < system.channel_count; ++i) {
        const abi::Channel& channel = system.channels[i];
        out += std::string("  channel ") + channel.name + ": " +
               std::to_string(channel.size >> 10) + " KiB between " +
               system.partitions[channel.partition[0]].name + " and " +
               system.partitions[channel.partition[1]].name + "\n";
    }
    return out;
}

} // namespace horos::tools::pack
