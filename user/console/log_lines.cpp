#include "log_lines.hpp"

#include <horos/abi/start_page.hpp>
#include <horos/rt/calls.hpp>

namespace horos::console {

void log_bytes(std::string_view text) {
    while (!text.empty()) {
        const std::size_t size = text.size() < 32 ? text.size() : 32;
        rt::u64 words[4] = {};
        __builtin_memcpy(words, text.data(), size);
        (void)user::log(abi::start_selector::platform, static_cast<rt::u8>(size), words[0],
                        words[1], words[2], words[3]);
        text.remove_prefix(size);
    }
}

void LogLines::emit() {
    rt::Text<300> out;
    if (!name_.empty()) {
        out.format("[{}] ", name_);
    }
    out.append(line_.view());
    out.push('\n');
    log_bytes(out.view());
    line_.clear();
}

void LogLines::put(std::string_view bytes) {
    for (const char c : bytes) {
        if (c == '\n') {
            emit();
            continue;
        }
        if (line_.full()) {
            emit();
        }
        // Escape sequences would reach the terminal of whoever reads the log.
        const bool printable = (c >= ' ' && c < 0x7f) || c == '\t';
        if (c != '\r') {
            line_.push(printable ? c : '?');
        }
    }
}

void LogLines::flush() {
    if (line_.size() != 0) {
        emit();
    }
}

} // namespace horos::console
