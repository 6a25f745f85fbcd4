#include "tools/pack/description/compile.hpp"

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "tools/common/files.hpp"
#include "tools/pack/description/source.hpp"
#include "tools/pack/program_image.hpp"

namespace horos::tools::pack {
namespace {

template <std::size_t size>
void copy_text(char (&out)[size], const std::string& text) {
    std::memcpy(out, text.data(), std::min(text.size(), size - 1));
}

class Compiler {
public:
    Compiler(const SystemSource& source, const CompileOptions& options, Diagnostics& out)
        : source_(source), options_(options), out_(out) {}

    CompiledSystem run();

private:
    std::uint32_t program(const std::string& name, const Place& place);
    std::uint32_t guest_file(const char* prefix, abi::BundleType type, const std::string& path);
    std::uint32_t add(const std::string& name, abi::BundleType type, const std::string& path);
    void compile_partition(const PartitionSource& from, abi::Partition& to);
    void place(const PartitionSource& from, abi::Partition& to);
    void compile_schedule(const CoreSource& from, abi::CoreSchedule& to);
    void compile_channel(const ChannelSource& from, abi::Channel& to);
    [[nodiscard]] std::uint32_t index_of(const std::string& partition) const;

    const SystemSource& source_;
    const CompileOptions& options_;
    Diagnostics& out_;
    CompiledSystem result_;
    std::uint32_t next_slot_[abi::max_cores] = {};
};

std::uint32_t Compiler::add(const std::string& name, abi::BundleType type,
                            const std::string& path) {
    for (std::size_t i = 0; i < result_.files.size(); ++i) {
        if (result_.files[i].type == type && result_.files[i].path == path &&
            (type != abi::BundleType::program || result_.files[i].name == name)) {
            return static_cast<std::uint32_t>(i);
        }
    }
    result_.files.push_back({name, type, path});
    return static_cast<std::uint32_t>(result_.files.size() - 1);
}

std::uint32_t Compiler::program(const std::string& name, const Place& place) {
    if (!options_.program_directory) {
        return add(name, abi::BundleType::program, "");
    }
    const std::string path =
        (std::filesystem::path(*options_.program_directory) / (name + ".prog")).string();
    if (!std::filesystem::is_regular_file(path)) {
        out_.error(place.where("program"), place.path + "program",
                   "there is no program '" + name + "'; looked for " + path);
        return 0;
    }
    decode_program(read_bytes(path), path);
    return add(name, abi::BundleType::program, path);
}

std::uint32_t Compiler::guest_file(const char* prefix, abi::BundleType type,
                                   const std::string& path) {
    const auto count = std::count_if(result_.files.begin(), result_.files.end(),
                                     [&](const BundleFile& file) { return file.type == type; });
    return add(prefix + std::to_string(count), type, path);
}

// Pairs of slots, from the first that is not the system's, in the order of the description: a
// partition that is described earlier is more urgent.
void Compiler::place(const PartitionSource& from, abi::Partition& to) {
    to.placement_count = static_cast<std::uint32_t>(from.cores.size());
    for (std::size_t i = 0; i < from.cores.size(); ++i) {
        const std::uint32_t core = from.cores[i];
        const std::uint32_t slot = abi::first_partition_slot + next_slot_[core];
        next_slot_[core] += 2;
        to.placements[i] = {core, slot, slot + 1, 0, from.budget_ns};
    }
}

template <class T, std::size_t size>
std::uint32_t copy_table(T (&out)[size], const std::vector<T>& from) {
    std::copy_n(from.begin(), std::min(from.size(), size), out);
    return static_cast<std::uint32_t>(from.size());
}

void Compiler::compile_partition(const PartitionSource& from, abi::Partition& to) {
    copy_text(to.name, from.name);
    copy_text(to.command_line, from.command_line);
    to.kind = from.kind;
    to.console = from.console;
    to.restart = from.restart;
    to.restart_limit = from.restart_limit;
    to.end = from.end;
    to.devices = from.devices;
    to.memory = from.memory;
    to.grants = from.grants;
    to.watchdog_ms = from.watchdog_ms;
    to.program = program(from.program, from.place);
    to.kernel = abi::no_entry;
    to.initramfs = abi::no_entry;
    if (from.is_linux()) {
        to.kernel = guest_file("kernel-", abi::BundleType::guest_kernel, from.kernel);
    }
    if (from.initramfs) {
        to.initramfs = guest_file("initramfs-", abi::BundleType::initramfs, *from.initramfs);
    }
    to.port_count = copy_table(to.ports, from.ports);
    to.irq_count = copy_table(to.irqs, from.irqs);
    to.mmio_count = copy_table(to.mmio, from.mmio);
    to.cpuid_count = copy_table(to.cpuid, from.cpuid);
    to.msr_count = copy_table(to.msrs, from.msrs);
    place(from, to);
}

void Compiler::compile_schedule(const CoreSource& from, abi::CoreSchedule& to) {
    to.core = from.id;
    to.major_ns = from.major_ns;
    to.window_count = static_cast<std::uint32_t>(from.windows.size());
    for (std::size_t i = 0; i < from.windows.size(); ++i) {
        to.windows[i].length_ns = from.windows[i].length_ns;
        to.windows[i].slots = from.id == 0 ? abi::system_slots_core0 : 0;
        for (const std::string& name : from.windows[i].partitions) {
            const abi::Partition& partition = result_.system.partitions[index_of(name)];
            for (std::uint32_t j = 0; j < partition.placement_count; ++j) {
                const abi::Placement& place = partition.placements[j];
                if (place.core == from.id) {
                    to.windows[i].slots |= 1u << place.service_slot | 1u << place.main_slot;
                }
            }
        }
    }
}

void Compiler::compile_channel(const ChannelSource& from, abi::Channel& to) {
    copy_text(to.name, from.name);
    to.size = from.size;
    for (std::size_t end = 0; end < 2; ++end) {
        to.partition[end] = index_of(from.between[end]);
        to.address[end] = from.addresses[end];
    }
}

std::uint32_t Compiler::index_of(const std::string& partition) const {
    for (std::size_t i = 0; i < source_.partitions.size(); ++i) {
        if (source_.partitions[i].name == partition) {
            return static_cast<std::uint32_t>(i);
        }
    }
    throw Fatal("partition '" + partition + "' went missing after it was checked");
}

CompiledSystem Compiler::run() {
    abi::System& system = result_.system;
    system.magic = abi::system_magic;
    system.version = abi::system_version;
    system.size = sizeof(abi::System);
    copy_text(system.name, source_.name);
    system.core_count = source_.cores;
    program("root", source_.place);
    add("system", abi::BundleType::system, "");
    program("console", source_.place);
    for (const PartitionSource& partition : source_.partitions) {
        compile_partition(partition, system.partitions[system.partition_count++]);
    }
    for (const CoreSource& core : source_.schedules) {
        compile_schedule(core, system.schedules[system.schedule_count++]);
    }
    for (const ChannelSource& channel : source_.channels) {
        compile_channel(channel, system.channels[system.channel_count++]);
    }
    return std::move(result_);
}

} // namespace

std::optional<CompiledSystem> compile_description(const CompileOptions& options, Diagnostics& out) {
    const auto document = load_toml(options.file, out);
    if (!document) {
        return std::nullopt;
    }
    const FileSearch files{std::filesystem::path(options.file).parent_path().string(),
                           options.file_directories};
    const SystemSource source = read_system(*document, files, out);
    check_resources(source, out);
    check_schedules(source, out);
    check_channels(source, out);
    if (!out.ok()) {
        return std::nullopt;
    }
    CompiledSystem compiled = Compiler(source, options, out).run();
    if (!out.ok()) {
        return std::nullopt;
    }
    const auto count = static_cast<std::uint32_t>(compiled.files.size());
    const abi::SystemFault fault = abi::check(compiled.system, sizeof(abi::System), count);
    if (fault != abi::SystemFault::none) {
        throw Fatal(options.file + ": error: the compiled form fails its own check " +
                    std::to_string(static_cast<std::uint32_t>(fault)) +
                    "; this is a bug in "
                    "horos-pack");
    }
    return compiled;
}

} // namespace horos::tools::pack
