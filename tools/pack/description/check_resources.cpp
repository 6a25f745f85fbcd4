// What no two partitions may share: names, the terminal, ports, interrupts, device memory.
#include <map>

#include "tools/common/text.hpp"
#include "tools/pack/description/layout.hpp"
#include "tools/pack/description/source.hpp"

namespace horos::tools::pack {
namespace {

struct SystemPorts {
    std::uint16_t first;
    std::uint16_t last;
    const char* use;
};

// The kernel and the console server use these themselves.
constexpr SystemPorts system_ports[] = {{0x0020, 0x0021, "the interrupt controller"},
                                        {0x00a0, 0x00a1, "the interrupt controller"},
                                        {0x02f8, 0x02ff, "Horos's log (COM2)"},
                                        {0x03f8, 0x03ff, "the terminal (COM1)"},
                                        {0x0cf8, 0x0cff, "PCI configuration"}};

struct Claim {
    std::uint64_t first;
    std::uint64_t last;
    std::string owner;
};

bool overlap(const Claim& a, const Claim& b) { return a.first <= b.last && b.first <= a.last; }

class ResourceChecker {
public:
    ResourceChecker(const SystemSource& system, Diagnostics& out) : system_(system), out_(out) {}

    void run() {
        check_names();
        check_terminal();
        for (const PartitionSource& partition : system_.partitions) {
            check_ports(partition);
            check_irqs(partition);
            check_mmio(partition);
        }
    }

private:
    void error(const Place& place, std::string_view key, std::string message) {
        out_.error(place.where(key), place.path + std::string(key), std::move(message));
    }

    void check_names() {
        std::map<std::string, const PartitionSource*> names;
        for (const PartitionSource& partition : system_.partitions) {
            if (!names.emplace(partition.name, &partition).second) {
                error(partition.place, "name",
                      "there is a partition '" + partition.name + "' already, in line " +
                          std::to_string(names[partition.name]->place.where("name").line));
            }
        }
    }

    void check_terminal() {
        const PartitionSource* owner = nullptr;
        for (const PartitionSource& partition : system_.partitions) {
            if (partition.console != abi::Console::terminal) {
                continue;
            }
            if (owner != nullptr) {
                error(partition.place, "console",
                      "the terminal is that of '" + owner->name +
                          "' already; allowed for a second partition: log, none");
            }
            owner = owner == nullptr ? &partition : owner;
        }
    }

    // Reports the first claim that overlaps, then adds this one.
    void claim(std::vector<Claim>& claims, const Claim& mine, const PartitionSource& partition,
               const char* key, const char* what) {
        for (const Claim& other : claims) {
            if (overlap(mine, other)) {
                error(partition.place, key,
                      std::string(what) + " " + hex(mine.first) + " to " + hex(mine.last) +
                          " overlaps " + hex(other.first) + " to " + hex(other.last) + " of " +
                          other.owner);
                break;
            }
        }
        claims.push_back(mine);
    }

    void check_ports(const PartitionSource& partition) {
        if (ports_.empty()) {
            for (const SystemPorts& taken : system_ports) {
                ports_.push_back({taken.first, taken.last, taken.use});
            }
        }
        for (const abi::PortRange& range : partition.ports) {
            claim(ports_, {range.first, range.last, "partition '" + partition.name + "'"},
                  partition, "ports", "the range");
        }
    }

    void check_irqs(const PartitionSource& partition) {
        for (const abi::IrqLine& irq : partition.irqs) {
            const auto [at, added] = irqs_.emplace(irq.gsi, partition.name);
            if (!added) {
                error(partition.place, "irqs",
                      "GSI " + std::to_string(irq.gsi) + " is that of partition '" + at->second +
                          "' already");
            }
        }
    }

    void check_mmio(const PartitionSource& partition) {
        for (const abi::MmioRange& range : partition.mmio) {
            const Claim mine{range.address, range.address + range.size - 1,
                             "partition '" + partition.name + "'"};
            claim(mmio_, mine, partition, "mmio", "the device memory");
            if (const auto clash = inside_guest_ram(partition, range.address, range.size)) {
                error(partition.place, "mmio",
                      "the device memory at " + hex(range.address) + " overlaps the partition's " +
                          "own memory, " + *clash);
            }
        }
    }

    const SystemSource& system_;
    Diagnostics& out_;
    std::vector<Claim> ports_;
    std::vector<Claim> mmio_;
    std::map<std::uint32_t, std::string> irqs_;
};

} // namespace

void check_resources(const SystemSource& system, Diagnostics& out) {
    ResourceChecker(system, out).run();
}

} // namespace horos::tools::pack
