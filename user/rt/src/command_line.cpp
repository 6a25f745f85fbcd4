#include <horos/rt/command_line.hpp>

namespace horos::rt {

std::string_view text_option(std::string_view line, std::string_view name, bool& found) {
    std::string_view value;
    found = false;
    while (!line.empty()) {
        const std::size_t end = line.find(' ');
        const std::string_view word = line.substr(0, end);
        line.remove_prefix(end == line.npos ? line.size() : end + 1);
        if (!word.starts_with(name)) {
            continue;
        }
        const std::string_view rest = word.substr(name.size());
        if (rest.empty() || rest.front() == '=') {
            found = true;
            value = rest.empty() ? rest : rest.substr(1);
        }
    }
    return value;
}

bool has_option(std::string_view line, std::string_view name) {
    bool found;
    (void)text_option(line, name, found);
    return found;
}

abi::u64 number_option(std::string_view line, std::string_view name, abi::u64 otherwise) {
    bool found;
    const std::string_view text = text_option(line, name, found);
    abi::u64 value = 0;
    for (const char c : text) {
        if (c < '0' || c > '9' || value > (~abi::u64{0} - 9) / 10) {
            return otherwise;
        }
        value = value * 10 + static_cast<abi::u64>(c - '0');
    }
    return text.empty() ? otherwise : value;
}

} // namespace horos::rt
