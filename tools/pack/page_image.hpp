// The memory of a program, page by page, while it is put together.
#pragma once
#include <array>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace horos::tools::pack {

inline constexpr std::uint64_t page_size = 4096;

struct Page {
    std::uint32_t rights = 0;
    std::array<std::uint8_t, page_size> bytes{};
};

// Consecutive pages with equal rights; the zero pages at the end are only in memory_size.
struct Run {
    std::uint64_t address = 0;
    std::uint64_t memory_size = 0;
    std::uint32_t rights = 0;
    std::vector<std::uint8_t> bytes; // whole pages
};

class PageImage {
public:
    // `what` names the owner in messages. Throws Fatal where pages with other rights lie already.
    void add(std::uint64_t address, std::uint64_t size, std::span<const std::uint8_t> bytes,
             std::uint32_t rights, const std::string& what);
    void set_rights(std::uint64_t begin, std::uint64_t end, std::uint32_t rights); // whole pages
    void write64(std::uint64_t address, std::uint64_t value, const std::string& what);
    [[nodiscard]] std::uint32_t rights_at(std::uint64_t address) const; // 0: nothing there
    [[nodiscard]] std::uint64_t end() const; // first address behind the last page
    [[nodiscard]] std::vector<Run> runs() const;

private:
    std::map<std::uint64_t, Page> pages_; // by page number
};

} // namespace horos::tools::pack
