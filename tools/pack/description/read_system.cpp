// The system's own keys, [[core]] and [[channel]].
#include <charconv>
#include <filesystem>

#include "tools/pack/description/source.hpp"

namespace horos::tools::pack {
namespace {

constexpr std::uint64_t shortest_window_ns = 100'000; // below, switching would cost too much of it
constexpr std::uint64_t longest_major_ns = 10'000'000'000;

std::string indexed(const char* kind, std::size_t index) {
    return std::string(kind) + "[" + std::to_string(index) + "].";
}

std::uint64_t duration(TableReader& reader, std::string_view key) {
    const std::string text = reader.string(key);
    const auto value = parse_duration(text);
    if (!value || *value < shortest_window_ns || *value > longest_major_ns) {
        reader.error(key, "must be a time from 100 us to 10000 ms, as in \"10 ms\" or \"500 us\"");
        return shortest_window_ns;
    }
    return *value;
}

WindowSource read_window(const Value& table, const std::string& path, Diagnostics& out) {
    TableReader reader(table, path, out);
    WindowSource window;
    window.place = {&table, path};
    window.length_ns = duration(reader, "length");
    for (const Value* name : reader.elements("partitions", ValueKind::string)) {
        window.partitions.push_back(name->string);
    }
    if (!reader.has("partitions")) {
        reader.error("partitions", "is missing; an idle window says partitions = []");
    }
    reader.finish();
    return window;
}

CoreSource read_core(const Value& table, std::size_t index, Diagnostics& out) {
    TableReader reader(table, indexed("core", index), out);
    CoreSource core;
    core.place = {&table, indexed("core", index)};
    core.id = static_cast<std::uint32_t>(reader.integer("id", {0, abi::max_cores - 1}));
    core.major_ns = duration(reader, "major");
    for (const Value* window : reader.elements("windows", ValueKind::table)) {
        core.windows.push_back(
            read_window(*window, core.place.path + indexed("windows", core.windows.size()), out));
    }
    if (core.windows.empty() || core.windows.size() > abi::max_windows) {
        reader.error("windows", "has " + std::to_string(core.windows.size()) +
                                    " windows; allowed: 1 to " + std::to_string(abi::max_windows));
    }
    reader.finish();
    return core;
}

ChannelSource read_channel(const Value& table, std::size_t index, Diagnostics& out) {
    TableReader reader(table, indexed("channel", index), out);
    ChannelSource channel;
    channel.place = {&table, indexed("channel", index)};
    channel.name = reader.string("name");
    if (channel.name.empty() || channel.name.size() >= sizeof(abi::Channel::name)) {
        reader.error("name", "must have 1 to 31 characters");
    }
    for (const Value* name : reader.elements("between", ValueKind::string)) {
        channel.between.push_back(name->string);
    }
    if (channel.between.size() != 2) {
        reader.error("between", "must name two partitions");
    }
    channel.size = reader.optional_size("size").value_or(0);
    if (channel.size == 0 || channel.size % 4096 != 0 || channel.size > (1u << 30)) {
        reader.error("size", "must be a multiple of 4 KiB, at most 1 GiB");
    }
    for (const Value* address : reader.elements("addresses", ValueKind::integer)) {
        channel.addresses.push_back(static_cast<std::uint64_t>(address->integer));
        if (address->integer < 4096 || address->integer % 4096 != 0 ||
            channel.addresses.back() >= abi::user_end) {
            out.error(address->where, reader.path("addresses"),
                      "must be multiples of 4096, from 4096 to below 2^47");
        }
    }
    if (channel.addresses.size() != 2) {
        reader.error("addresses", "must give two addresses, one for each partition");
    }
    reader.finish();
    return channel;
}

} // namespace

Where Place::where(std::string_view key) const {
    const Member* member = table->find(key);
    return member != nullptr ? member->value.where : table->where;
}

std::optional<std::string> FileSearch::find(const std::string& name) const {
    const std::filesystem::path path(name);
    if (path.is_absolute()) {
        return std::filesystem::is_regular_file(path) ? std::optional(name) : std::nullopt;
    }
    std::vector<std::string> all = {description_directory};
    all.insert(all.end(), directories.begin(), directories.end());
    for (const std::string& directory : all) {
        const std::filesystem::path candidate = std::filesystem::path(directory) / path;
        if (std::filesystem::is_regular_file(candidate)) {
            return candidate.string();
        }
    }
    return std::nullopt;
}

std::string FileSearch::places() const {
    std::string out = description_directory.empty() ? "." : description_directory;
    for (const std::string& directory : directories) {
        out += ", " + directory;
    }
    return out;
}

SystemSource read_system(const Value& document, const FileSearch& files, Diagnostics& out) {
    TableReader reader(document, "", out);
    SystemSource system;
    system.place = {&document, ""};
    system.name = reader.string("name");
    if (reader.has("name") && (system.name.empty() || system.name.size() > 31)) {
        reader.error("name", "must have 1 to 31 characters");
    }
    system.cores = static_cast<std::uint32_t>(
        reader.optional_integer("cores", {1, abi::max_cores}).value_or(1));
    for (const Value* table : reader.elements("core", ValueKind::table)) {
        system.schedules.push_back(read_core(*table, system.schedules.size(), out));
    }
    for (const Value* table : reader.elements("partition", ValueKind::table)) {
        system.partitions.push_back(read_partition(*table, system.partitions.size(), files, out));
    }
    for (const Value* table : reader.elements("channel", ValueKind::table)) {
        system.channels.push_back(read_channel(*table, system.channels.size(), out));
    }
    reader.finish();
    if (system.partitions.empty() || system.partitions.size() > abi::max_partitions) {
        reader.error("partition", "there are " + std::to_string(system.partitions.size()) +
                                      " partitions; allowed: 1 to " +
                                      std::to_string(abi::max_partitions));
    }
    if (system.channels.size() > abi::max_channels) {
        reader.error("channel", "there are " + std::to_string(system.channels.size()) +
                                    " channels; allowed: at most " +
                                    std::to_string(abi::max_channels));
    }
    return system;
}

std::optional<std::uint64_t> parse_duration(std::string_view text) {
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc{} || number > 1'000'000'000) {
        return std::nullopt;
    }
    std::string_view unit = text.substr(static_cast<std::size_t>(end - text.data()));
    while (!unit.empty() && unit.front() == ' ') {
        unit.remove_prefix(1);
    }
    if (unit == "us") {
        return number * 1'000;
    }
    if (unit == "ms") {
        return number * 1'000'000;
    }
    return std::nullopt;
}

std::string duration_text(std::uint64_t ns) {
    return ns % 1'000'000 == 0 ? std::to_string(ns / 1'000'000) + " ms"
                               : std::to_string(ns / 1'000) + " us";
}

} // namespace horos::tools::pack
