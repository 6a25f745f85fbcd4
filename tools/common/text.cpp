#include "tools/common/text.hpp"

namespace horos::tools {

std::string hex(std::uint64_t value) {
    constexpr char digits[] = "0123456789abcdef";
    std::string out;
    do {
        out.insert(out.begin(), digits[value & 15]);
        value >>= 4;
    } while (value != 0);
    return "0x" + out;
}

} // namespace horos::tools
