// Channels: both ends exist, and nothing lies where their memory will be seen.
#include <algorithm>
#include <horos/abi/boot_page.hpp>
#include <set>

#include "tools/common/text.hpp"
#include "tools/pack/description/layout.hpp"
#include "tools/pack/description/source.hpp"

namespace horos::tools::pack {
namespace {

class ChannelChecker {
public:
    ChannelChecker(const SystemSource& system, Diagnostics& out) : system_(system), out_(out) {}

    void run() {
        std::set<std::string> names;
        for (const ChannelSource& channel : system_.channels) {
            if (!names.insert(channel.name).second) {
                error(channel, "name", "there is a channel '" + channel.name + "' already");
            }
            check_ends(channel);
        }
        check_overlaps();
    }

private:
    void error(const ChannelSource& channel, std::string_view key, std::string message) {
        out_.error(channel.place.where(key), channel.place.path + std::string(key),
                   std::move(message));
    }

    void check_ends(const ChannelSource& channel) {
        if (channel.between.size() != 2 || channel.addresses.size() != 2) {
            return; // reported when it was read
        }
        if (channel.between[0] == channel.between[1]) {
            error(channel, "between", "names the same partition twice");
        }
        for (std::size_t end = 0; end < 2; ++end) {
            check_end(channel, channel.between[end], channel.addresses[end]);
        }
    }

    void check_end(const ChannelSource& channel, const std::string& name, std::uint64_t address) {
        const auto found = std::find_if(system_.partitions.begin(), system_.partitions.end(),
                                        [&](const PartitionSource& p) { return p.name == name; });
        if (found == system_.partitions.end()) {
            error(channel, "between", "there is no partition '" + name + "'");
            return;
        }
        if (const auto ram = inside_guest_ram(*found, address, channel.size)) {
            error(channel, "addresses",
                  hex(address) + " lies within the memory of '" + name + "', " + *ram);
        }
    }

    // Two channels of one partition must not lie on each other.
    void check_overlaps() {
        for (std::size_t i = 0; i < system_.channels.size(); ++i) {
            for (std::size_t j = 0; j < i; ++j) {
                compare(system_.channels[i], system_.channels[j]);
            }
        }
    }

    void compare(const ChannelSource& a, const ChannelSource& b) {
        for (std::size_t x = 0; x < std::min(a.between.size(), a.addresses.size()); ++x) {
            for (std::size_t y = 0; y < std::min(b.between.size(), b.addresses.size()); ++y) {
                if (a.between[x] == b.between[y] && a.addresses[x] < b.addresses[y] + b.size &&
                    b.addresses[y] < a.addresses[x] + a.size) {
                    error(a, "addresses",
                          hex(a.addresses[x]) + " overlaps channel '" + b.name +
                              "' in partition '" + a.between[x] + "'");
                }
            }
        }
    }

    const SystemSource& system_;
    Diagnostics& out_;
};

} // namespace

std::optional<std::string> inside_guest_ram(const PartitionSource& partition, std::uint64_t address,
                                            std::uint64_t size) {
    if (!partition.is_linux()) {
        return std::nullopt;
    }
    const std::uint64_t low = std::min(partition.memory, device_hole);
    const std::uint64_t high = partition.memory - low;
    if (address < low) {
        return "0x0 to " + hex(low - 1);
    }
    if (address < high_memory + high && high_memory < address + size && high != 0) {
        return hex(high_memory) + " to " + hex(high_memory + high - 1);
    }
    return std::nullopt;
}

void check_channels(const SystemSource& system, Diagnostics& out) {
    ChannelChecker(system, out).run();
}

} // namespace horos::tools::pack
