#include "tools/pack/page_image.hpp"

#include <algorithm>

#include "tools/common/diagnostics.hpp"
#include "tools/common/text.hpp"

namespace horos::tools::pack {
namespace {

constexpr std::uint64_t most_pages = 65536; // 256 MiB: a larger program is a mistake

bool is_zero(const std::vector<std::uint8_t>& bytes, std::size_t from) {
    return std::all_of(bytes.begin() + static_cast<std::ptrdiff_t>(from), bytes.end(),
                       [](std::uint8_t byte) { return byte == 0; });
}

} // namespace

void PageImage::add(std::uint64_t address, std::uint64_t size, std::span<const std::uint8_t> bytes,
                    std::uint32_t rights, const std::string& what) {
    const std::uint64_t first = address / page_size;
    const std::uint64_t last = (address + size - 1) / page_size;
    if (last - first + pages_.size() >= most_pages) {
        throw Fatal(what + ": error: is larger than 256 MiB in memory");
    }
    for (std::uint64_t number = first; number <= last; ++number) {
        Page& page = pages_[number];
        if (page.rights != 0 && page.rights != rights) {
            throw Fatal(what + ": error: segments with different rights share the page at " +
                        hex(number * page_size) + "; align them to pages");
        }
        page.rights = rights;
    }
    for (std::uint64_t i = 0; i < bytes.size(); ++i) {
        pages_[(address + i) / page_size].bytes[(address + i) % page_size] = bytes[i];
    }
}

void PageImage::set_rights(std::uint64_t begin, std::uint64_t end, std::uint32_t rights) {
    for (std::uint64_t at = begin; at < end; at += page_size) {
        if (const auto page = pages_.find(at / page_size); page != pages_.end()) {
            page->second.rights = rights;
        }
    }
}

void PageImage::write64(std::uint64_t address, std::uint64_t value, const std::string& what) {
    for (std::uint64_t i = 0; i < 8; ++i) {
        const auto page = pages_.find((address + i) / page_size);
        if (page == pages_.end()) {
            throw Fatal(what + ": error: relocates the address " + hex(address) +
                        ", where nothing is loaded");
        }
        page->second.bytes[(address + i) % page_size] = static_cast<std::uint8_t>(value >> (8 * i));
    }
}

std::uint32_t PageImage::rights_at(std::uint64_t address) const {
    const auto page = pages_.find(address / page_size);
    return page == pages_.end() ? 0 : page->second.rights;
}

std::uint64_t PageImage::end() const {
    return pages_.empty() ? 0 : (pages_.rbegin()->first + 1) * page_size;
}

std::vector<Run> PageImage::runs() const {
    std::vector<Run> out;
    for (const auto& [number, page] : pages_) {
        const bool goes_on = !out.empty() && out.back().rights == page.rights &&
                             out.back().address + out.back().memory_size == number * page_size;
        if (!goes_on) {
            out.push_back({number * page_size, 0, page.rights, {}});
        }
        Run& run = out.back();
        run.memory_size += page_size;
        run.bytes.insert(run.bytes.end(), page.bytes.begin(), page.bytes.end());
    }
    for (Run& run : out) {
        while (!run.bytes.empty() && is_zero(run.bytes, run.bytes.size() - page_size)) {
            run.bytes.resize(run.bytes.size() - page_size);
        }
    }
    return out;
}

} // namespace horos::tools::pack
