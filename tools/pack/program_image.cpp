#include "tools/pack/program_image.hpp"

#include <cstring>
#include <horos/abi/boot_page.hpp>
#include <horos/abi/bundle.hpp>

#include "tools/common/diagnostics.hpp"
#include "tools/common/text.hpp"

namespace horos::tools::pack {
namespace {

[[noreturn]] void fail(const std::string& name, const std::string& what) {
    throw Fatal(name + ": error: " + what);
}

void check_segment(const abi::ProgramSegment& segment, std::uint64_t file_size,
                   const std::string& name) {
    const bool writable = (segment.rights & abi::segment_right::write) != 0;
    const bool executable = (segment.rights & abi::segment_right::exec) != 0;
    if (segment.rights == 0 || segment.rights > 7 || (writable && executable)) {
        fail(name, "a segment has the rights " + rights_text(segment.rights) +
                       "; allowed: r--, rw-, r-x");
    }
    if (segment.address % page_size != 0 || segment.offset % page_size != 0 ||
        segment.memory_size % page_size != 0 || segment.memory_size == 0) {
        fail(name, "the segment at " + hex(segment.address) + " is not aligned to pages");
    }
    // Below lies the null page, above the root task's own layout.
    if (segment.address < page_size || segment.address >= abi::boot_page_address ||
        segment.memory_size > abi::boot_page_address - segment.address) {
        fail(name, "the segment at " + hex(segment.address) + " leaves the range " +
                       hex(page_size) + " to " + hex(abi::boot_page_address));
    }
    if (segment.file_size > segment.memory_size || segment.offset > file_size ||
        file_size - segment.offset < segment.file_size) {
        fail(name, "is cut short: the segment at " + hex(segment.address) + " lies beyond its end");
    }
}

void check_overlap(const std::vector<Run>& segments, const std::string& name) {
    for (std::size_t i = 0; i < segments.size(); ++i) {
        for (std::size_t j = 0; j < i; ++j) {
            const Run& a = segments[i];
            const Run& b = segments[j];
            if (a.address < b.address + b.memory_size && b.address < a.address + a.memory_size) {
                fail(name,
                     "the segments at " + hex(b.address) + " and " + hex(a.address) + " overlap");
            }
        }
    }
}

void check_entry(const ProgramImage& image, const std::string& name) {
    for (const Run& segment : image.segments) {
        if ((segment.rights & abi::segment_right::exec) != 0 && image.entry >= segment.address &&
            image.entry - segment.address < segment.memory_size) {
            return;
        }
    }
    fail(name, "its entry point " + hex(image.entry) + " is in no executable segment");
}

} // namespace

std::vector<std::uint8_t> encode_program(const ProgramImage& image, const std::string& name) {
    if (image.segments.size() > abi::max_program_segments) {
        fail(name, "has " + std::to_string(image.segments.size()) +
                       " segments; allowed: " + std::to_string(abi::max_program_segments));
    }
    abi::ProgramHeader header{};
    header.magic = abi::program_magic;
    header.entry = image.entry;
    header.segment_count = static_cast<std::uint32_t>(image.segments.size());
    std::vector<std::uint8_t> out(page_size);
    for (std::size_t i = 0; i < image.segments.size(); ++i) {
        const Run& run = image.segments[i];
        header.segments[i] = {run.address,     out.size(), run.bytes.size(),
                              run.memory_size, run.rights, 0};
        out.insert(out.end(), run.bytes.begin(), run.bytes.end());
    }
    std::memcpy(out.data(), &header, sizeof header);
    decode_program(out, name); // whatever was put together must be what a loader accepts
    return out;
}

ProgramImage decode_program(std::span<const std::uint8_t> bytes, const std::string& name) {
    abi::ProgramHeader header{};
    if (bytes.size() < page_size) {
        fail(name, "is cut short: no whole program header");
    }
    std::memcpy(&header, bytes.data(), sizeof header);
    if (header.magic != abi::program_magic) {
        fail(name, "is not a flat program (made by horos-pack flatten)");
    }
    if (header.segment_count == 0 || header.segment_count > abi::max_program_segments) {
        fail(name, "has " + std::to_string(header.segment_count) + " segments; allowed: 1 to " +
                       std::to_string(abi::max_program_segments));
    }
    ProgramImage image;
    image.entry = header.entry;
    for (std::uint32_t i = 0; i < header.segment_count; ++i) {
        const abi::ProgramSegment& segment = header.segments[i];
        check_segment(segment, bytes.size(), name);
        const auto contents = bytes.subspan(segment.offset, segment.file_size);
        image.segments.push_back({segment.address,
                                  segment.memory_size,
                                  segment.rights,
                                  {contents.begin(), contents.end()}});
    }
    check_overlap(image.segments, name);
    check_entry(image, name);
    return image;
}

std::string rights_text(std::uint32_t rights) {
    std::string out = "---";
    out[0] = (rights & abi::segment_right::read) != 0 ? 'r' : '-';
    out[1] = (rights & abi::segment_right::write) != 0 ? 'w' : '-';
    out[2] = (rights & abi::segment_right::exec) != 0 ? 'x' : '-';
    return out;
}

} // namespace horos::tools::pack
