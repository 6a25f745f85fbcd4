#include "panic.hpp"
#include "apic.hpp"
#include "cpu.hpp"
#include "io.hpp"
#include "platform.hpp"

namespace horos::arch {
namespace {

bool reset_on_fatal = false;
u32 stopping = 0;

[[noreturn]] void halt() {
    while (true)
        asm volatile("cli; hlt");
}

const char* exception_name(u64 number) {
    switch (number) {
    case 0:
        return "divide error";
    case 1:
        return "debug exception";
    case 3:
        return "breakpoint";
    case 6:
        return "invalid opcode";
    case 7:
        return "FPU not available";
    case 8:
        return "double fault";
    case 13:
        return "general protection";
    case 14:
        return "page fault";
    case 18:
        return "machine check";
    default:
        return "exception";
    }
}

} // namespace

void panic_set_reset(bool on_fatal) { reset_on_fatal = on_fatal; }

void begin_fatal() {
    asm volatile("cli");
    if (__atomic_exchange_n(&stopping, 1u, __ATOMIC_ACQ_REL))
        halt();
    apic_stop_others();
}

void stop_machine() {
    if (reset_on_fatal)
        platform_reset();
    halt();
}

void check(Complaint wrong) {
    if (wrong)
        fatal(wrong);
}

// An exception in ring 0: nothing in the kernel may cause one.
extern "C" [[noreturn]] void shell_kernel_fault(u64 number, u64 error, u64 rip, u64 rsp) {
    fatal("kernel fault: ", exception_name(number), " (vector ", number, "), error ", hex(error),
          ", rip ", hex(rip), ", rsp ", hex(rsp), ", cr2 ", hex(read_cr2()));
}

// A stop request of begin_fatal, or a hardware NMI: those have no meaning to us.
extern "C" void shell_nmi() {
    if (__atomic_load_n(&stopping, __ATOMIC_ACQUIRE))
        halt();
}

} // namespace horos::arch

namespace horos::core {
[[noreturn]] void shell_stop(const char* check) {
    arch::fatal("core ", arch::this_cpu().core, ": ", check);
}
} // namespace horos::core
