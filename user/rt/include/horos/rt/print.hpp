// Formatted lines on the program's console. For one thread at a time.
#pragma once
#include <horos/rt/text.hpp>

namespace horos::rt {

// Waits for room if it must.
void print_text(std::string_view text);

template <class... Arguments>
void print(std::string_view pattern, const Arguments&... arguments) {
    Text<512> line;
    line.format(pattern, arguments...);
    print_text(line.view());
}

} // namespace horos::rt
