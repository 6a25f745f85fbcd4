#include "bundle_check.hpp"

#include <horos/abi/start_page.hpp>
#include <horos/rt/crc32c.hpp>

namespace horos::root {
namespace {

using namespace abi;

constexpr u64 page_mask = frame_size - 1;

// The checksum is made with its own field taken as 0.
u32 header_checksum(const BundleHeader& header) {
    constexpr u64 field = offsetof(BundleHeader, header_crc32c);
    const u32 zero = 0;
    const auto* bytes = reinterpret_cast<const u8*>(&header);
    u32 crc = rt::crc32c(bytes, field);
    crc = rt::crc32c(&zero, sizeof zero, crc);
    return rt::crc32c(bytes + field + sizeof zero, sizeof header - field - sizeof zero, crc);
}

bool check_header(const BundleHeader& header, u64 size, BundleMessage& message) {
    if (header.magic != bundle_magic) {
        message.format("boot bundle: this is not a Horos bundle (bad magic number)");
    } else if (header.version != bundle_version) {
        message.format("boot bundle: version {} instead of {}", header.version, bundle_version);
    } else if (header.header_crc32c != header_checksum(header)) {
        message.format("boot bundle: the header is damaged (checksum)");
    } else if (header.total_size > size) {
        message.format("boot bundle: cut short, {} of {} bytes are there", size, header.total_size);
    } else if (header.entry_count == 0 || header.entry_count > max_bundle_entries) {
        message.format("boot bundle: {} entries, 1 to {} are possible", header.entry_count,
                       max_bundle_entries);
    } else {
        return true;
    }
    return false;
}

bool check_entry(const BundleHeader& header, u32 index, BundleMessage& message) {
    const BundleEntry& entry = header.entries[index];
    const std::string_view name = rt::field_text(entry.name);
    if (name.empty() || name.size() == sizeof entry.name) {
        message.format("boot bundle: entry {} has no proper name", index);
        return false;
    }
    if ((entry.offset & page_mask) != 0 || entry.offset < sizeof(BundleHeader) ||
        entry.offset > header.total_size || entry.size > header.total_size - entry.offset) {
        message.format("boot bundle: entry \"{}\" lies outside of the bundle", name);
        return false;
    }
    if (rt::crc32c(entry_bytes(&header, index), entry.size) != entry.crc32c) {
        message.format("boot bundle: entry \"{}\" is damaged (checksum)", name);
        return false;
    }
    return true;
}

bool segment_fits(const ProgramSegment& segment, u64 entry_size) {
    const u64 last_address = segment.address + segment.memory_size;
    return ((segment.address | segment.offset | segment.memory_size) & page_mask) == 0 &&
           segment.memory_size != 0 && segment.file_size <= segment.memory_size &&
           segment.address >= frame_size && last_address > segment.address &&
           last_address <= start_page_address && segment.offset >= frame_size &&
           segment.offset <= entry_size && segment.file_size <= entry_size - segment.offset;
}

bool rights_fit(u32 rights) {
    using namespace segment_right;
    const bool write_and_exec = (rights & write) != 0 && (rights & exec) != 0;
    return rights != 0 && (rights & ~(read | write | exec)) == 0 && (rights & read) != 0 &&
           !write_and_exec;
}

} // namespace

bool check_bundle(const void* bytes, u64 size, BundleMessage& message) {
    if (size < sizeof(BundleHeader)) {
        message.format("boot bundle: cut short, {} bytes are no header", size);
        return false;
    }
    const BundleHeader& header = bundle_header(bytes);
    if (!check_header(header, size, message)) {
        return false;
    }
    for (u32 i = 0; i < header.entry_count; ++i) {
        if (!check_entry(header, i, message)) {
            return false;
        }
    }
    return true;
}

bool check_program(const void* bundle, u32 index, BundleMessage& message) {
    const BundleEntry& entry = bundle_header(bundle).entries[index];
    const std::string_view name = rt::field_text(entry.name);
    const auto& header = *reinterpret_cast<const ProgramHeader*>(entry_bytes(bundle, index));
    if (entry.type != BundleType::program || entry.size < frame_size ||
        header.magic != program_magic || header.segment_count == 0 ||
        header.segment_count > max_program_segments) {
        message.format("boot bundle: entry \"{}\" is not a program", name);
        return false;
    }
    bool entry_found = false;
    for (u32 i = 0; i < header.segment_count; ++i) {
        const ProgramSegment& segment = header.segments[i];
        if (!segment_fits(segment, entry.size) || !rights_fit(segment.rights)) {
            message.format("boot bundle: segment {} of program \"{}\" is not possible", i, name);
            return false;
        }
        entry_found |= (segment.rights & segment_right::exec) != 0 &&
                       header.entry - segment.address < segment.memory_size;
    }
    if (!entry_found) {
        message.format("boot bundle: program \"{}\" starts outside of its code", name);
    }
    return entry_found;
}

} // namespace horos::root
