#include "fake_shell.hpp"
#include "violation.hpp"

namespace horos::test {

FakeShell shell;

void reset_shell() {
    shell = {};
    shell.now = 1'000'000;
    shell.can_power_off = true;
    for (u32 c = 0; c < max_cores; ++c)
        shell.cores[c].timer = no_deadline;
    for (u32 g = 0; g < max_gsi; ++g)
        shell.line_masked[g] = true;
}

} // namespace horos::test

extern "C" {
horos::abi::u32 kernel_lock_word;
void kernel_lock_wait() { __builtin_trap(); } // the tests are one thread: it would wait for ever
}

namespace horos::core {
using test::shell;
using test::Violation;

u32 shell_core() { return shell.core; }
u64 shell_now() { return shell.now; }
static void note(const char* what, u64 a = 0, u64 b = 0, u64 c = 0, u64 d = 0) {
    std::string text = what;
    for (const u64 n : {a, b, c, d})
        text += ' ' + std::to_string(n);
    shell.events.push_back(text);
}

void shell_set_timer(u64 tsc) {
    note("set_timer", tsc);
    shell.cores[shell.core].timer = tsc;
}

void shell_send_reschedule(u32 core) {
    if (core >= machine.core_count)
        throw Violation("an interrupt to a core that does not exist");
    note("send_reschedule", core);
    shell.cores[core].reschedule = true;
}

void shell_flush_tlb(u64 mask) {
    if (mask >> machine.core_count != 0)
        throw Violation("a TLB flush on a core that does not exist");
    note("flush_tlb", mask);
    shell.flushed |= mask;
    shell.flushes++;
}

static void check_line(u32 gsi) {
    if (gsi >= max_gsi)
        throw Violation("an interrupt line that does not exist");
}
void shell_route_line(u32 gsi, u8 vector, u32 core, u32 flags) {
    check_line(gsi);
    note("route_line", gsi, vector, core, flags);
    if (core >= machine.core_count)
        throw Violation("an interrupt line routed to a core that does not exist");
    shell.line_routed[gsi] = true;
    shell.line_masked[gsi] = true;
}
void shell_mask_line(u32 gsi, bool masked) {
    check_line(gsi);
    note("mask_line", gsi, masked);
    shell.line_masked[gsi] = masked;
}
bool shell_line_exists(u32 gsi) { return gsi != test::missing_line; }
u64 shell_message_address(u32 core) { return 0xfee0'0000 | core << 12; }

void shell_fpu_switch(u32 owner) { cores[shell.core].fpu_owner = owner; }
void shell_take_interrupt() {
    if (shell.take_interrupt != nullptr)
        shell.take_interrupt(shell.core);
}

u32 shell_port_in(u16 port, u8 size) {
    if (size != 1 && size != 2 && size != 4)
        throw Violation("a port access of a size that does not exist");
    note("port_in", port, size);
    return 0x5a00u + port;
}
void shell_port_out(u16 port, u8 size, u32 value) {
    note("port_out", port, size, value);
    shell.last_port = port;
    shell.port_writes++;
}
bool shell_power_off_supported() { return shell.can_power_off; }
void shell_request_power(PlatformOp operation, u8 sleep_type) {
    note("request_power", static_cast<u64>(operation), sleep_type);
    shell.power_requests++;
}
void shell_log(const char* text, u32 length) {
    shell.log.assign(text, length);
    note(("log " + shell.log).c_str());
}
[[noreturn]] void shell_stop(const char* check) {
    throw Violation(std::string("the kernel stopped: ") + check);
}

} // namespace horos::core
