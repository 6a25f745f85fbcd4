// The end of the road: a message that names the check, then all cores stop.
#pragma once
#include "acpi.hpp"
#include "log.hpp"

namespace horos::arch {

// What a stop may need: how to reset, and whether to (`onfatal=reset`).
void panic_set_reset(bool on_fatal);
[[noreturn]] void stop_machine();
// Takes the right to print from the other cores; false if another core is stopping the machine.
void begin_fatal();

template <class... Parts>
[[noreturn]] void fatal(Parts... parts) {
    begin_fatal();
    log("fatal: ", parts...);
    stop_machine();
}

void check(Complaint wrong); // fatal if there is one

} // namespace horos::arch
