// One [[partition]]: what it says, checked without looking at the others.
#include <algorithm>

#include "tools/common/text.hpp"
#include "tools/pack/description/guest_files.hpp"
#include "tools/pack/description/source.hpp"

namespace horos::tools::pack {
namespace {

constexpr std::uint64_t least_guest_memory = std::uint64_t{64} << 20;
constexpr std::uint64_t most_guest_memory = std::uint64_t{32} << 30;

class PartitionReader {
public:
    PartitionReader(const Value& table, std::size_t index, const FileSearch& files,
                    Diagnostics& out)
        : reader_(table, "partition[" + std::to_string(index) + "].", out), files_(files),
          out_(out) {
        p_.place = {&table, reader_.path("")};
    }

    PartitionSource read();

private:
    void read_identity();
    void read_memory();
    void read_cores();
    void read_linux();
    void read_native();
    void read_end();
    void read_resources();
    void read_mmio();
    std::uint32_t bits(std::string_view key, const std::vector<std::string>& names);
    std::optional<std::string> file(std::string_view key);
    void refuse(std::string_view key, const char* kind);

    TableReader reader_;
    const FileSearch& files_;
    Diagnostics& out_;
    PartitionSource p_;
};

void PartitionReader::read_identity() {
    p_.name = reader_.string("name");
    const bool good = std::all_of(p_.name.begin(), p_.name.end(), [](unsigned char c) {
        return std::isalnum(c) != 0 || c == '-' || c == '_';
    });
    if (reader_.has("name") && (p_.name.empty() || p_.name.size() > 31 || !good)) {
        reader_.error("name", "must have 1 to 31 letters, digits, '-' or '_'");
    }
    reader_.string("kind");
    if (const auto kind = reader_.optional_choice("kind", {"linux", "native"})) {
        p_.kind = *kind == 0 ? abi::PartitionKind::linux_guest : abi::PartitionKind::native;
    }
    if (const auto console = reader_.optional_choice("console", {"none", "terminal", "log"})) {
        p_.console = static_cast<abi::Console>(*console);
    }
    p_.command_line = reader_.optional_string("command_line").value_or("");
    constexpr std::size_t longest = sizeof(abi::Partition::command_line) - 1;
    if (p_.command_line.size() > longest || p_.command_line.find('\0') != std::string::npos) {
        reader_.error("command_line", "has " + std::to_string(p_.command_line.size()) +
                                          " characters; allowed: " + std::to_string(longest) +
                                          ", none of them zero");
    }
}

void PartitionReader::read_memory() {
    p_.memory = reader_.optional_size("memory").value_or(0);
    if (p_.is_linux() && !reader_.has("memory")) {
        reader_.error("memory", "is missing");
        return;
    }
    const std::uint64_t least = p_.is_linux() ? least_guest_memory : 0;
    const std::uint64_t most = p_.is_linux() ? most_guest_memory : abi::max_native_memory;
    if (p_.memory < least || p_.memory > most || p_.memory % abi::block_size != 0) {
        reader_.error("memory",
                      std::to_string(p_.memory) +
                          " bytes is not allowed here; allowed: " + std::to_string(least >> 20) +
                          " MiB to " + std::to_string(most >> 20) + " MiB, in steps of 2 MiB");
    }
}

void PartitionReader::read_cores() {
    std::vector<std::uint32_t> cores;
    for (const Value* core : reader_.elements("cores", ValueKind::integer)) {
        if (core->integer < 0 || core->integer >= abi::max_cores) {
            out_.error(core->where, reader_.path("cores"),
                       std::to_string(core->integer) + " is out of range; allowed: 0 to " +
                           std::to_string(abi::max_cores - 1));
            continue;
        }
        cores.push_back(static_cast<std::uint32_t>(core->integer));
    }
    const auto vcpus = static_cast<std::size_t>(
        reader_.optional_integer("vcpus", {1, abi::max_partition_vcpus})
            .value_or(static_cast<std::int64_t>(std::max<std::size_t>(cores.size(), 1))));
    if (cores.empty()) {
        reader_.error("cores", "must name the core of each virtual CPU, as in cores = [0, 1]");
        cores.push_back(0);
    }
    if (cores.size() == 1) {
        cores.resize(std::min<std::size_t>(vcpus, abi::max_partition_vcpus), cores[0]);
    } else if (cores.size() != vcpus || cores.size() > abi::max_partition_vcpus) {
        reader_.error("cores", "names " + std::to_string(cores.size()) + " cores for " +
                                   std::to_string(vcpus) + " virtual CPUs; allowed: one core for " +
                                   "all, or one for each of at most " +
                                   std::to_string(abi::max_partition_vcpus));
        cores.resize(1);
    }
    p_.cores = cores;
    if (const auto text = reader_.optional_string("budget")) {
        const auto budget = parse_duration(*text);
        if (!budget || *budget == 0) {
            reader_.error("budget", "must be a time, as in \"5 ms\" or \"500 us\"");
        }
        p_.budget_ns = budget.value_or(0);
    }
}

std::uint32_t PartitionReader::bits(std::string_view key, const std::vector<std::string>& names) {
    std::uint32_t out = 0;
    for (const Value* name : reader_.elements(key, ValueKind::string)) {
        const auto found = std::find(names.begin(), names.end(), name->string);
        if (found == names.end()) {
            out_.error(name->where, reader_.path(key),
                       "'" + name->string + "' is not known; allowed: " + join(names, ", "));
            continue;
        }
        out |= 1u << (found - names.begin());
    }
    return out;
}

// The path of a file that the description names; nothing when it is not there.
std::optional<std::string> PartitionReader::file(std::string_view key) {
    const auto name = reader_.optional_string(key);
    if (!name) {
        return std::nullopt;
    }
    const auto found = files_.find(*name);
    if (!found) {
        reader_.error(key, "there is no file '" + *name + "'; looked in " + files_.places());
    }
    return found;
}

void PartitionReader::refuse(std::string_view key, const char* kind) {
    reader_.optional_value(key);
    if (reader_.has(key)) {
        reader_.error(key, std::string("is not for partitions of kind '") + kind + "'");
    }
}

void PartitionReader::read_linux() {
    p_.program = reader_.optional_string("program").value_or("vmm");
    if (!reader_.has("kernel")) {
        reader_.error("kernel", "is missing");
    }
    p_.kernel = file("kernel").value_or("");
    p_.initramfs = file("initramfs");
    check_guest_files(p_, out_);
    p_.devices = abi::device::all;
    if (reader_.has("devices")) {
        p_.devices = bits("devices", {"uart", "rtc", "pit", "pic", "ioapic", "local_apic", "pci",
                                      "acpi", "crash"});
    } else {
        reader_.optional_value("devices");
    }
    if (const auto policy = file("policy")) {
        read_policy(*policy, p_, out_);
    }
    refuse("grants", "linux");
}

void PartitionReader::read_native() {
    p_.program = reader_.string("program");
    p_.grants = bits("grants", {"cores", "irq_control", "ports", "mmio", "platform"});
    for (const char* key : {"kernel", "initramfs", "devices", "policy"}) {
        refuse(key, "native");
    }
    if (p_.cores.size() > 1) {
        reader_.error("cores", "a native partition has one thread; allowed: one core");
    }
}

void PartitionReader::read_end() {
    if (const auto restart = reader_.optional_choice("restart", {"never", "on-fault"})) {
        p_.restart = static_cast<abi::RestartPolicy>(*restart);
    }
    p_.restart_limit = static_cast<std::uint32_t>(
        reader_.optional_integer("restart_limit", {0, 1000}).value_or(0));
    if (reader_.has("restart_limit") && p_.restart == abi::RestartPolicy::never) {
        reader_.error("restart_limit", "means nothing without restart = \"on-fault\"");
    }
    if (const auto end = reader_.optional_choice("on_end", {"stop", "power-off"})) {
        p_.end = static_cast<abi::EndPolicy>(*end);
    }
    p_.watchdog_ms = static_cast<std::uint32_t>(
        reader_.optional_integer("watchdog_ms", {0, 3'600'000}).value_or(0));
}

void PartitionReader::read_mmio() {
    for (const Value* table : reader_.elements("mmio", ValueKind::table)) {
        TableReader range(*table, reader_.path("mmio[" + std::to_string(p_.mmio.size()) + "]."),
                          out_);
        const auto address = static_cast<std::uint64_t>(range.integer("address"));
        const std::uint64_t size = range.optional_size("size").value_or(0);
        if (address % 4096 != 0 || address >= abi::guest_end) {
            range.error("address", hex(address) + " must be a multiple of 4096 below 2^48");
        }
        if (size == 0 || size % 4096 != 0 || size > (std::uint64_t{1} << 40)) {
            range.error("size", "must be a multiple of 4 KiB, at least 4 KiB");
        }
        range.finish();
        p_.mmio.push_back({address, size});
    }
}

void PartitionReader::read_resources() {
    for (const Value* table : reader_.elements("ports", ValueKind::table)) {
        TableReader range(*table, reader_.path("ports[" + std::to_string(p_.ports.size()) + "]."),
                          out_);
        const auto first = static_cast<std::uint16_t>(range.integer("first", {0, 0xffff}));
        const auto last = static_cast<std::uint16_t>(range.integer("last", {0, 0xffff}));
        if (last < first) {
            range.error("last", hex(last) + " is below 'first', " + hex(first));
        }
        range.finish();
        p_.ports.push_back({first, last});
    }
    for (const Value* table : reader_.elements("irqs", ValueKind::table)) {
        TableReader line(*table, reader_.path("irqs[" + std::to_string(p_.irqs.size()) + "]."),
                         out_);
        abi::IrqLine irq{};
        irq.gsi = static_cast<std::uint32_t>(line.integer("gsi", {0, abi::max_gsi - 1}));
        irq.flags |= line.optional_boolean("level").value_or(false) ? 1u : 0u;
        irq.flags |= line.optional_boolean("active_low").value_or(false) ? 2u : 0u;
        line.finish();
        p_.irqs.push_back(irq);
    }
    read_mmio();
    const auto most = [&](std::string_view key, std::size_t count, std::size_t limit) {
        if (count > limit) {
            reader_.error(key, "has " + std::to_string(count) + " entries; allowed: at most " +
                                   std::to_string(limit));
        }
    };
    most("ports", p_.ports.size(), abi::max_partition_ports);
    most("irqs", p_.irqs.size(), abi::max_partition_irqs);
    most("mmio", p_.mmio.size(), abi::max_partition_mmio);
}

PartitionSource PartitionReader::read() {
    read_identity();
    read_memory();
    read_cores();
    if (p_.is_linux()) {
        read_linux();
    } else {
        read_native();
    }
    read_end();
    read_resources();
    reader_.finish();
    return std::move(p_);
}

} // namespace

PartitionSource read_partition(const Value& table, std::size_t index, const FileSearch& files,
                               Diagnostics& out) {
    return PartitionReader(table, index, files, out).read();
}

} // namespace horos::tools::pack
