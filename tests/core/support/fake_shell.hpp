// A shell without hardware: time stands still unless a test moves it, interrupts are delivered when
// a test says so, everything that the core asks for is written down.
#pragma once
#include "kernel/core/shell.hpp"
#include <string>
#include <vector>

namespace horos::test {

using namespace horos::core;

enum class CoreMode : u8 { idle, user, guest };

struct ShellCore {
    CoreMode mode;
    u64 timer;       // as set by the core
    bool reschedule; // an interrupt from another core has not arrived yet
};

struct FakeShell {
    u32 core; // executing
    u64 now;
    ShellCore cores[max_cores];
    bool line_masked[max_gsi];
    bool line_routed[max_gsi];
    u64 flushed; // cores whose TLB was flushed in this step
    u32 flushes;
    u32 power_requests;
    u32 port_writes;
    u16 last_port;
    bool can_power_off;
    std::string log;
    std::vector<std::string> events;  // what was asked for in this step, in order
    void (*take_interrupt)(u32 core); // what an open window lets in
};
extern FakeShell shell;
inline constexpr u32 missing_line = 119; // the one line that the machine does not have

void reset_shell();

} // namespace horos::test
