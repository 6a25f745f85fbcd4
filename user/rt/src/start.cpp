#include <horos/rt/console_client.hpp>
#include <horos/rt/report.hpp>
#include <horos/rt/start.hpp>
#include <horos/rt/time.hpp>

extern "C" {
using Constructor = void (*)();
extern const Constructor init_array_begin[];
extern const Constructor init_array_end[];
[[noreturn]] void horos_program_start(const horos::abi::StartPage* start);
void horos_thread_entry();

struct ThreadStart {
    void (*function)(horos::abi::u64);
    horos::abi::u64 argument;
};
[[noreturn]] void horos_thread_start(const ThreadStart* start);
}

namespace horos::rt {
namespace {

constinit ThreadStart thread_starts[abi::max_program_threads] = {};
// Bits that a sleeping thread took from its notification, for its next wait_events.
constinit u64 kept_bits[abi::max_program_threads];

// A selector without capability: a wait there fails at once, so check before.
u32 own_notification() { return abi::start_selector::notification(this_thread()); }

} // namespace

const abi::StartPage& start_page() {
    return *reinterpret_cast<const abi::StartPage*>(abi::start_page_address);
}

u32 this_thread() {
    u64 index;
    asm("movq %%fs:8, %0" : "=r"(index));
    return static_cast<u32>(index) % abi::max_program_threads;
}

Error start_thread(u32 index, void (*function)(u64), u64 argument) {
    if (index == this_thread() || index >= start_page().thread_count) {
        return Error::bad_argument;
    }
    thread_starts[index] = {function, argument};
    return user::thread_start(
               abi::start_selector::thread(index), reinterpret_cast<u64>(&horos_thread_entry),
               abi::thread_stack_top(index), reinterpret_cast<u64>(&thread_starts[index]),
               abi::thread_fs_base(index))
        .error;
}

u64 wait_events(u64 deadline) {
    u64& kept = kept_bits[this_thread()];
    const auto result = user::wait(own_notification(), kept != 0 ? 0 : deadline);
    const u64 bits = kept | (result.ok() ? result.bits : 0);
    kept = 0;
    return bits;
}

void sleep_until(u64 deadline) {
    while (now() < deadline) {
        const auto result = user::wait(own_notification(), deadline);
        if (result.ok()) {
            kept_bits[this_thread()] |= result.bits;
        } else if (result.error != Error::timeout) {
            panic("cannot wait");
        }
    }
}

void exit_thread(u64 code) {
    for (;;) {
        (void)user::thread_exit(code);
    }
}

} // namespace horos::rt

void horos_program_start(const horos::abi::StartPage* start) {
    using namespace horos;
    if (start->magic != abi::start_page_magic || start->size != sizeof(abi::StartPage)) {
        rt::panic("the start page is of another version");
    }
    rt::console().attach();
    for (const Constructor* entry = init_array_begin; entry != init_array_end; ++entry) {
        (*entry)();
    }
    rt::program_main(*start);
    rt::report_and_stop({.kind = abi::ReportKind::power_off});
}

void horos_thread_start(const ThreadStart* start) {
    start->function(start->argument);
    horos::rt::exit_thread();
}
