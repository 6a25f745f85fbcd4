#include "tools/pack/bundle.hpp"

#include <algorithm>
#include <cstring>
#include <set>

#include "tools/common/crc32c.hpp"
#include "tools/common/diagnostics.hpp"
#include "tools/common/text.hpp"
#include "tools/pack/page_image.hpp"

namespace horos::tools::pack {
namespace {

[[noreturn]] void fail(const std::string& file, const std::string& what) {
    throw Fatal(file + ": error: " + what);
}

std::uint32_t header_checksum(abi::BundleHeader header) {
    header.header_crc32c = 0;
    return crc32c({reinterpret_cast<const std::uint8_t*>(&header), sizeof header});
}

void check_items(const std::vector<BundleItem>& items) {
    if (items.empty() || items.size() > abi::max_bundle_entries) {
        fail("bundle", "would have " + std::to_string(items.size()) + " entries; allowed: 1 to " +
                           std::to_string(abi::max_bundle_entries));
    }
    std::set<std::string> names;
    for (const BundleItem& item : items) {
        if (item.name.empty() || item.name.size() >= sizeof(abi::BundleEntry::name)) {
            fail("bundle", "entry name '" + item.name + "' must have 1 to " +
                               std::to_string(sizeof(abi::BundleEntry::name) - 1) + " characters");
        }
        if (!names.insert(item.name).second) {
            fail("bundle", "two entries have the name '" + item.name + "'");
        }
    }
}

abi::BundleHeader read_header(std::span<const std::uint8_t> bytes, const std::string& file) {
    abi::BundleHeader header{};
    if (bytes.size() < page_size) {
        fail(file, "is cut short: " + std::to_string(bytes.size()) +
                       " bytes are not even the header's page");
    }
    std::memcpy(&header, bytes.data(), sizeof header);
    if (header.magic != abi::bundle_magic) {
        fail(file, "is not a Horos bundle");
    }
    if (header.version != abi::bundle_version) {
        fail(file, "has version " + std::to_string(header.version) + "; this tool knows " +
                       std::to_string(abi::bundle_version));
    }
    if (header.header_crc32c != header_checksum(header)) {
        fail(file, "its header is damaged (checksum)");
    }
    if (header.total_size != bytes.size()) {
        fail(file, "is cut short or has something behind its end: " + std::to_string(bytes.size()) +
                       " bytes instead of " + std::to_string(header.total_size));
    }
    if (header.entry_count == 0 || header.entry_count > abi::max_bundle_entries) {
        fail(file, "has " + std::to_string(header.entry_count) + " entries; allowed: 1 to " +
                       std::to_string(abi::max_bundle_entries));
    }
    return header;
}

BundleItem read_entry(const abi::BundleEntry& entry, std::span<const std::uint8_t> bytes,
                      std::uint64_t earliest, const std::string& file) {
    const auto* end = std::find(std::begin(entry.name), std::end(entry.name), '\0');
    const std::string name(std::begin(entry.name), end);
    if (end == std::end(entry.name) || name.empty()) {
        fail(file, "has an entry without a proper name");
    }
    if (entry.offset % page_size != 0 || entry.offset < earliest || entry.offset > bytes.size() ||
        bytes.size() - entry.offset < entry.size) {
        fail(file, "entry '" + name + "' at " + hex(entry.offset) + " with " +
                       std::to_string(entry.size) + " bytes does not fit");
    }
    const auto contents = bytes.subspan(entry.offset, entry.size);
    if (crc32c(contents) != entry.crc32c) {
        fail(file, "entry '" + name + "' is damaged (checksum)");
    }
    return {name, entry.type, {contents.begin(), contents.end()}, entry.offset, entry.crc32c};
}

} // namespace

const char* type_name(abi::BundleType type) {
    switch (type) {
    case abi::BundleType::none:
        return "none";
    case abi::BundleType::program:
        return "program";
    case abi::BundleType::system:
        return "system";
    case abi::BundleType::guest_kernel:
        return "guest kernel";
    case abi::BundleType::initramfs:
        return "initramfs";
    case abi::BundleType::data:
        return "data";
    }
    return "unknown";
}

std::vector<std::uint8_t> encode_bundle(const std::vector<BundleItem>& items) {
    check_items(items);
    abi::BundleHeader header{};
    header.magic = abi::bundle_magic;
    header.version = abi::bundle_version;
    header.entry_count = static_cast<std::uint32_t>(items.size());
    std::vector<std::uint8_t> out(page_size);
    for (std::size_t i = 0; i < items.size(); ++i) {
        abi::BundleEntry& entry = header.entries[i];
        std::memcpy(entry.name, items[i].name.data(), items[i].name.size());
        entry.type = items[i].type;
        entry.crc32c = crc32c(items[i].bytes);
        entry.offset = out.size();
        entry.size = items[i].bytes.size();
        out.insert(out.end(), items[i].bytes.begin(), items[i].bytes.end());
        out.resize((out.size() + page_size - 1) / page_size * page_size);
    }
    header.total_size = out.size();
    header.header_crc32c = header_checksum(header);
    std::memcpy(out.data(), &header, sizeof header);
    return out;
}

std::vector<BundleItem> decode_bundle(std::span<const std::uint8_t> bytes,
                                      const std::string& file) {
    const abi::BundleHeader header = read_header(bytes, file);
    std::vector<BundleItem> items;
    std::uint64_t covered = page_size;
    for (std::uint32_t i = 0; i < header.entry_count; ++i) {
        items.push_back(read_entry(header.entries[i], bytes, covered, file));
        const std::uint64_t end = items.back().offset + items.back().bytes.size();
        covered = (end + page_size - 1) / page_size * page_size;
        // The padding is covered by no checksum, so it must be what it has to be.
        for (std::uint64_t at = end; at < std::min<std::uint64_t>(covered, bytes.size()); ++at) {
            if (bytes[at] != 0) {
                fail(file, "is damaged behind entry '" + items.back().name + "'");
            }
        }
    }
    for (std::uint64_t at = sizeof header; at < page_size; ++at) {
        if (bytes[at] != 0) {
            fail(file, "is damaged behind its header");
        }
    }
    if (covered != bytes.size()) {
        fail(file, "has something behind its last entry");
    }
    return items;
}

} // namespace horos::tools::pack
