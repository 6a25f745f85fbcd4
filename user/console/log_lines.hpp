// Output of a partition that does not have the terminal: whole lines with its name before them, in
// the Horos log.
#pragma once
#include <string_view>

#include <horos/rt/text.hpp>

namespace horos::console {

// Writes to the kernel's log.
void log_bytes(std::string_view text);

class LogLines {
public:
    // No name: the lines stand for themselves (the root task's).
    void set_name(std::string_view name) { name_ = name; }
    void put(std::string_view bytes);
    // Writes out a line that has no end yet.
    void flush();

private:
    void emit();

    std::string_view name_;
    rt::Text<224> line_;
};

} // namespace horos::console
