// Costs of the kernel's basic operations, in ticks of the time-stamp counter. Under QEMU's
// `-icount shift=0` that is one for each instruction, so the figures are instruction counts.
// One line for each: `bench <name> <value>`. Needs grants = ["cores", "irq_control", "ports"].
#include <horos/rt/print.hpp>
#include <horos/rt/report.hpp>
#include <horos/rt/time.hpp>

#include "native/support/own_memory.hpp"

extern "C" const horos::rt::u8 bench_server_begin[];
extern "C" const horos::rt::u8 bench_server_end[];

namespace horos::bench {
namespace {

using native::own_memory;
using rt::Error;
using rt::u32;
using rt::u64;
using rt::u8;

namespace selector {
constexpr u32 first = abi::start_selector::first_free;
constexpr u32 domain = first, space = first + 1, thread = first + 2, context = first + 3,
              endpoint = first + 4, interrupt = first + 5;
} // namespace selector
constexpr u8 server_slot = 14; // on the program's core, less urgent than the program itself
constexpr u64 server_address = 0x40'0000;
constexpr u32 rounds = 1000;

static_assert(static_cast<u32>(abi::Call::reply_receive) == 42, "server.S has this number");

void show(std::string_view name, u64 value) { rt::print("bench {} {}\n", name, value); }

void must(Error error, std::string_view what) {
    rt::Text<64> text;
    text.format("{}: {}", what, abi::name_of(error));
    rt::require(error == Error::ok, text.view());
}

// Cost of one round, the loop itself taken off.
template <class Round>
u64 measure(const Round& round) {
    round(); // first touch: page tables, lazy state
    const u64 empty_start = rt::now();
    for (u32 i = 0; i < rounds; ++i) {
        asm volatile("");
    }
    const u64 empty = rt::now() - empty_start;
    const u64 start = rt::now();
    for (u32 i = 0; i < rounds; ++i) {
        round();
    }
    return (rt::now() - start - empty + rounds / 2) / rounds;
}

u32 my_core() {
    const auto info = user::thread_info(abi::start_selector::thread(0), 2);
    return static_cast<u32>(info.b);
}

// A domain with an address space of its own, in it one page of code, no stack.
void create_server() {
    native::OwnMemory& memory = own_memory();
    must(user::domain_create(memory.take(), memory.take(), selector::domain).error, "domain");
    must(user::space_create(memory.take(), memory.take(), selector::space,
                            static_cast<u8>(abi::SpaceKind::host))
             .error,
         "space");
    const u64 window = abi::free_address + 0x1000'0000;
    const u32 code = memory.page(window);
    __builtin_memcpy(reinterpret_cast<void*>(window), bench_server_begin,
                     static_cast<u64>(bench_server_end - bench_server_begin));
    must(memory.map(server_address, code, abi::right::read | abi::right::exec, selector::space),
         "code");
    must(user::endpoint_create(memory.take(), selector::endpoint).error, "endpoint");
    must(user::cap_give(selector::domain, selector::endpoint, 1, abi::right::read, 0).error,
         "give the endpoint");
    must(user::thread_create(memory.take(), selector::thread, selector::domain, selector::space)
             .error,
         "thread");
    must(user::sc_create(memory.take(), selector::context,
                         abi::start_selector::first_core + my_core(), server_slot, 0)
             .error,
         "scheduling context");
    must(user::sc_bind(selector::context, selector::thread).error, "bind");
    must(user::thread_start(selector::thread, server_address, server_address, 0, 0).error, "start");
}

void measure_calls() {
    create_server();
    const auto first = user::call(selector::endpoint, 7, 0, 0, 0);
    must(first.error, "call");
    rt::require(first.w0 == 7 || first.w1 == 7, "the server's answer is wrong");
    show("ipc-call-reply", measure([] { (void)user::call(selector::endpoint, 1, 2, 3, 4); }));
}

// Thread 1 (more urgent) waits; thread 0 keeps writing down the time. What the last time lies
// behind when thread 1 runs is the way from the one user thread to the other.
volatile u64 last_seen = 0;
volatile u64 woken_at = 0;
volatile u64 seen_when_woken = 0;
volatile u32 wakes = 0;

void waiter(u64) {
    for (;;) {
        (void)user::wait(abi::start_selector::notification(1), abi::no_deadline);
        const u64 time = rt::now();
        seen_when_woken = last_seen;
        woken_at = time;
        wakes = wakes + 1;
    }
}

u64 best(u64 a, u64 b) { return a < b ? a : b; }

void measure_signal() {
    u64 result = ~u64{0};
    for (u32 i = 0; i < 50; ++i) {
        last_seen = rt::now();
        (void)user::signal(abi::start_selector::notification(1), 1);
        result = best(result, woken_at - seen_when_woken);
    }
    show("signal-to-waiting-thread", result);
}

// The interval timer, channel 0, mode 0: one interrupt after `count` of its ticks.
void arm_timer(u32 count) {
    constexpr u32 ports = abi::start_selector::all_ports;
    (void)user::port_out(ports, 0x43, 1, 0x30);
    (void)user::port_out(ports, 0x40, 1, count & 0xff);
    (void)user::port_out(ports, 0x40, 1, count >> 8);
}

void measure_interrupt() {
    constexpr rt::u8 timer_line = 2; // ISA interrupt 0 arrives at line 2
    must(user::irq_create(own_memory().take(), selector::interrupt,
                          abi::start_selector::irq_control,
                          abi::start_selector::first_core + my_core(), timer_line, 0)
             .error,
         "timer interrupt");
    must(user::irq_bind(selector::interrupt, abi::start_selector::notification(1), 1).error,
         "bind the timer");
    u64 result = ~u64{0};
    for (u32 i = 0; i < 10; ++i) {
        const u32 before = wakes;
        const u64 give_up = rt::now() + rt::ticks_of_ms(200, rt::start_page().tsc_khz);
        arm_timer(2000 + i * 7);
        while (wakes == before && rt::now() < give_up) {
            last_seen = rt::now();
        }
        if (wakes == before) {
            rt::print("bench: the interval timer does not interrupt\n");
            return;
        }
        result = best(result, woken_at - seen_when_woken);
    }
    show("interrupt-to-user-thread", result);
}

} // namespace
} // namespace horos::bench

void horos::rt::program_main(const abi::StartPage& start) {
    using namespace horos::bench;
    native::own_memory().open(start);
    show("null-hypercall", measure([] { (void)user::null(); }));
    show("cap-info", measure([] { (void)user::cap_info(abi::start_selector::domain); }));
    show("signal-nobody-waits",
         measure([] { (void)user::signal(abi::start_selector::notification(0), 1); }));
    measure_calls();
    must(start_thread(1, waiter, 0), "start the waiter");
    measure_signal();
    measure_interrupt();
    print("bench: done\n");
}
