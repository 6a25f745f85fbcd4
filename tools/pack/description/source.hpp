// A system description as it was written: typed, each value checked for itself, nothing resolved.
#pragma once
#include <cstdint>
#include <horos/abi/system.hpp>
#include <optional>
#include <string>
#include <vector>

#include "tools/common/document.hpp"
#include "tools/common/table_reader.hpp"

namespace horos::tools::pack {

// Where a table stands in the file, for messages about its keys after it was read.
struct Place {
    const Value* table = nullptr;
    std::string path; // "partition 'linux'."

    [[nodiscard]] Where where(std::string_view key) const;
};

struct PortSource {
    std::uint16_t first = 0;
    std::uint16_t last = 0;
};

struct PartitionSource {
    Place place;
    std::string name;
    abi::PartitionKind kind = abi::PartitionKind::native;
    abi::Console console = abi::Console::log;
    abi::RestartPolicy restart = abi::RestartPolicy::never;
    abi::EndPolicy end = abi::EndPolicy::stop_partition;
    std::uint32_t restart_limit = 0;
    std::uint32_t watchdog_ms = 0;
    std::uint32_t devices = 0;
    std::uint32_t grants = 0;
    std::uint64_t memory = 0;
    std::string program;
    std::string kernel;
    std::optional<std::string> initramfs;
    std::string command_line;
    std::vector<std::uint32_t> cores; // one for each virtual CPU
    std::uint64_t budget_ns = 0;
    std::vector<abi::PortRange> ports;
    std::vector<abi::IrqLine> irqs;
    std::vector<abi::MmioRange> mmio;
    std::vector<abi::CpuidRule> cpuid;
    std::vector<abi::MsrRule> msrs;

    [[nodiscard]] bool is_linux() const { return kind == abi::PartitionKind::linux_guest; }
};

struct WindowSource {
    Place place;
    std::uint64_t length_ns = 0;
    std::vector<std::string> partitions;
};

struct CoreSource {
    Place place;
    std::uint32_t id = 0;
    std::uint64_t major_ns = 0;
    std::vector<WindowSource> windows;
};

struct ChannelSource {
    Place place;
    std::string name;
    std::vector<std::string> between;
    std::uint64_t size = 0;
    std::vector<std::uint64_t> addresses;
};

struct SystemSource {
    Place place;
    std::string name;
    std::uint32_t cores = 1;
    std::vector<CoreSource> schedules;
    std::vector<PartitionSource> partitions;
    std::vector<ChannelSource> channels;
};

// Where to look for the files a description names, besides its own directory.
struct FileSearch {
    std::string description_directory;
    std::vector<std::string> directories;

    [[nodiscard]] std::optional<std::string> find(const std::string& name) const;
    [[nodiscard]] std::string places() const; // for messages
};

SystemSource read_system(const Value& document, const FileSearch& files, Diagnostics& out);
PartitionSource read_partition(const Value& table, std::size_t index, const FileSearch& files,
                               Diagnostics& out);
void read_policy(const std::string& file, PartitionSource& partition, Diagnostics& out);

// What concerns several entries: overlaps, schedules, references.
void check_schedules(const SystemSource& system, Diagnostics& out);
void check_resources(const SystemSource& system, Diagnostics& out);
void check_channels(const SystemSource& system, Diagnostics& out);

// "10 ms", "500 us": nanoseconds.
std::optional<std::uint64_t> parse_duration(std::string_view text);
std::string duration_text(std::uint64_t ns);

} // namespace horos::tools::pack
