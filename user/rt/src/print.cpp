#include <horos/rt/console_client.hpp>
#include <horos/rt/print.hpp>
#include <horos/rt/start.hpp>
#include <horos/rt/time.hpp>

namespace horos::rt {

void print_text(std::string_view text) {
    for (;;) {
        text.remove_prefix(console().write(text));
        if (text.empty()) {
            return;
        }
        // Full: the console server is slow. Its wake-up may be for another thread, so look again
        // in a while.
        sleep_until(now() + ticks_of_ms(1, start_page().tsc_khz));
    }
}

} // namespace horos::rt
