#include "log.hpp"

#include <horos/abi/boot_page.hpp>
#include <horos/rt/calls.hpp>
#include <horos/rt/ring.hpp>

namespace horos::root {
namespace {

using abi::u32;
using abi::u64;
using abi::u8;

constinit rt::RingProducer ring;
constinit abi::ConsolePage* ring_page = nullptr;
constinit u32 wake = 0;

void log_piece(std::string_view piece) {
    u64 words[4] = {};
    __builtin_memcpy(words, piece.data(), piece.size());
    (void)user::log(abi::root_selector::platform, static_cast<u8>(piece.size()), words[0], words[1],
                    words[2], words[3]);
}

} // namespace

void log_through(abi::ConsolePage* page, u32 console_signal) {
    ring.attach(&page->output, page->output_bytes, abi::console_output_capacity);
    ring_page = page;
    wake = console_signal;
}

void log_directly() { ring_page = nullptr; }

void log_text(std::string_view line) {
    if (ring_page != nullptr) {
        // A whole line or nothing: the log must not make the root task wait.
        if (ring.room() >= line.size()) {
            ring.push(reinterpret_cast<const u8*>(line.data()), static_cast<u32>(line.size()));
        }
        if (ring.must_wake()) {
            (void)user::signal(wake, 0);
        }
        return;
    }
    while (!line.empty()) {
        const std::size_t size = line.size() < 32 ? line.size() : 32;
        log_piece(line.substr(0, size));
        line.remove_prefix(size);
    }
}

} // namespace horos::root
