// What a program tells the root task about itself.
#pragma once
#include <source_location>
#include <string_view>

#include <horos/abi/start_page.hpp>

namespace horos::rt {

struct Report {
    abi::ReportKind kind = abi::ReportKind::internal;
    abi::u32 vcpu = 0;
    abi::u64 rip = 0;
    abi::u64 info[4] = {};
    std::string_view text = {};
};

// Tells the root task, which stops or restarts the partition. Only the first report counts.
void report(const Report& report);

// The same, and then waits for the end.
[[noreturn]] void report_and_stop(const Report& report);

// The program cannot go on.
[[noreturn]] void panic(std::string_view why,
                        std::source_location where = std::source_location::current());

inline void require(bool holds, std::string_view what,
                    std::source_location where = std::source_location::current()) {
    if (!holds) {
        panic(what, where);
    }
}

// The partition makes progress (see the description's watchdog).
void heartbeat();

} // namespace horos::rt
