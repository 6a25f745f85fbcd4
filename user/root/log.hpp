// The root task's lines in the Horos log (COM2). At first straight into the kernel's log; once the
// console server runs, through a ring, so that lines of the two do not mix.
#pragma once
#include <string_view>

#include <horos/abi/console_page.hpp>
#include <horos/rt/text.hpp>

namespace horos::root {

void log_text(std::string_view line);
void log_through(abi::ConsolePage* page, abi::u32 console_signal);
void log_directly();

template <class... Arguments>
void log(std::string_view pattern, const Arguments&... arguments) {
    rt::Text<256> line;
    line.append("horos: ").format(pattern, arguments...);
    line.push('\n');
    if (!line.full()) {
        return log_text(line.view());
    }
    log_text(line.view().substr(0, line.size() - 1)); // cut off, but a line
    log_text("\n");
}

} // namespace horos::root
