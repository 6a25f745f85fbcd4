#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>

#include "tools/common/diagnostics.hpp"
#include "tools/common/files.hpp"
#include "tools/common/text.hpp"
#include "tools/pack/bundle.hpp"
#include "tools/pack/commands.hpp"
#include "tools/pack/program_image.hpp"
#include "tools/pack/report.hpp"

namespace horos::tools::pack {
namespace {

struct Options {
    std::string bundle;
    bool json = false;
    bool needs = false;
};

// The entry's own structure, beyond its checksum.
abi::System check_system(const BundleItem& item, std::size_t entries, const std::string& file) {
    abi::System system{};
    std::memcpy(&system, item.bytes.data(), std::min(item.bytes.size(), sizeof system));
    const auto fault = abi::check(system, item.bytes.size(), static_cast<std::uint32_t>(entries));
    if (fault != abi::SystemFault::none) {
        throw Fatal(file + ": error: entry '" + item.name + "' is no good system description: " +
                    "check " + std::to_string(static_cast<std::uint32_t>(fault)));
    }
    return system;
}

void print_text(const std::vector<BundleItem>& items, const std::string& file) {
    std::string systems;
    for (const BundleItem& item : items) {
        std::printf("%-16s %-12s %10s %10zu bytes  crc32c %08x\n", item.name.c_str(),
                    type_name(item.type), hex(item.offset).c_str(), item.bytes.size(), item.crc32c);
        if (item.type == abi::BundleType::program) {
            for (const Run& run : decode_program(item.bytes, file + ": " + item.name).segments) {
                std::printf("  %s  %-14s %8zu bytes, %8llu in memory\n",
                            rights_text(run.rights).c_str(), hex(run.address).c_str(),
                            run.bytes.size(), static_cast<unsigned long long>(run.memory_size));
            }
        } else if (item.type == abi::BundleType::system) {
            systems += system_text(check_system(item, items.size(), file));
        }
    }
    std::fputs(systems.c_str(), stdout);
}

nlohmann::json program_json(const BundleItem& item, const std::string& file) {
    const ProgramImage image = decode_program(item.bytes, file + ": " + item.name);
    nlohmann::json segments = nlohmann::json::array();
    for (const Run& run : image.segments) {
        segments.push_back({{"address", run.address},
                            {"rights", rights_text(run.rights)},
                            {"file_size", run.bytes.size()},
                            {"memory_size", run.memory_size}});
    }
    return {{"entry", image.entry}, {"segments", segments}};
}

nlohmann::json system_json(const abi::System& system) {
    nlohmann::json partitions = nlohmann::json::array();
    for (std::uint32_t i = 0; i < system.partition_count; ++i) {
        const abi::Partition& partition = system.partitions[i];
        nlohmann::json cores = nlohmann::json::array();
        for (std::uint32_t j = 0; j < partition.placement_count; ++j) {
            cores.push_back(partition.placements[j].core);
        }
        const bool is_linux = partition.kind == abi::PartitionKind::linux_guest;
        partitions.push_back({{"name", partition.name},
                              {"kind", is_linux ? "linux" : "native"},
                              {"memory", partition.memory},
                              {"cores", cores},
                              {"command_line", partition.command_line}});
    }
    return {{"name", system.name}, {"cores", system.core_count}, {"partitions", partitions}};
}

void print_json(const std::vector<BundleItem>& items, const std::string& file) {
    nlohmann::json entries = nlohmann::json::array();
    for (const BundleItem& item : items) {
        nlohmann::json entry = {{"name", item.name},
                                {"type", type_name(item.type)},
                                {"offset", item.offset},
                                {"size", item.bytes.size()},
                                {"crc32c", item.crc32c}};
        if (item.type == abi::BundleType::program) {
            entry["program"] = program_json(item, file);
        } else if (item.type == abi::BundleType::system) {
            entry["system"] = system_json(check_system(item, items.size(), file));
        }
        entries.push_back(std::move(entry));
    }
    std::printf("%s\n", nlohmann::json{{"entries", entries}}.dump(2).c_str());
}

// For the script that starts the machine: what it must have for this bundle.
void print_needs(const std::vector<BundleItem>& items, const std::string& file) {
    std::uint64_t bytes = 0;
    std::uint32_t cores = 1;
    for (const BundleItem& item : items) {
        bytes += item.bytes.size();
        if (item.type != abi::BundleType::system) {
            continue;
        }
        const abi::System system = check_system(item, items.size(), file);
        cores = system.core_count;
        for (std::uint32_t i = 0; i < system.partition_count; ++i) {
            bytes += system.partitions[i].memory;
        }
        for (std::uint32_t i = 0; i < system.channel_count; ++i) {
            bytes += system.channels[i].size;
        }
    }
    std::printf("cores %u\nmemory_mib %" PRIu64 "\n", cores, (bytes >> 20) + 1);
}

void run(const Options& options) {
    const auto items = decode_bundle(read_bytes(options.bundle), options.bundle);
    if (options.needs) {
        print_needs(items, options.bundle);
    } else if (options.json) {
        print_json(items, options.bundle);
    } else {
        print_text(items, options.bundle);
    }
}

} // namespace

void add_inspect(CLI::App& app) {
    auto* command = app.add_subcommand("inspect", "Check a bundle and list what is in it.");
    auto options = std::make_shared<Options>();
    command->add_option("bundle", options->bundle, "boot bundle")->required();
    command->add_flag("--json", options->json, "print JSON");
    command->add_flag("--needs", options->needs, "print the cores and memory it needs");
    command->callback([options] { run(*options); });
}

} // namespace horos::tools::pack
