// Threads, time, messages, notifications.
#include <horos/rt/time.hpp>

#include "native/hypercall_test/check.hpp"

namespace horos::hypercall_test {
namespace {

using abi::ThreadState;
constexpr u64 stack = scratch_address + 0x100'0000; // the helper's

u32 take(u32 count = 1) { return own_memory().take(count); }

ThreadState state_of(u32 thread) {
    return static_cast<ThreadState>(user::thread_info(thread, 0).a);
}
void expect_state(std::string_view what, u32 thread, ThreadState state) {
    expect_value(what, static_cast<u64>(state_of(thread)), static_cast<u64>(state));
}

// The helper runs until it waits or ends; on a busy machine that may take a while.
void let_others_run() {
    for (u32 tries = 0; tries < 500; ++tries) {
        rt::sleep_until(rt::now() + rt::ticks_of_ms(2, rt::start_page().tsc_khz));
        if (state_of(fixture::helper) != ThreadState::runnable) {
            return;
        }
    }
}

void start_helper(void (*entry)(), std::string_view what) {
    // As after a call: the stack is 8 off a multiple of 16.
    expect(what, user::thread_start(fixture::helper, reinterpret_cast<u64>(entry),
                                    stack + abi::frame_size - 8, 0, 0));
    let_others_run();
}

[[noreturn]] void exit_with_7() {
    for (;;) {
        (void)user::thread_exit(7);
    }
}
[[noreturn]] void fault() {
    for (;;) {
        asm volatile("ud2");
    }
}
[[noreturn]] void wait_for_ever() {
    for (;;) {
        (void)user::wait(fixture::notification, abi::no_deadline);
    }
}
// Answers with each word one greater; what is badge and what is a word must not be mixed up.
[[noreturn]] void serve() {
    auto call = user::receive(fixture::endpoint);
    for (;;) {
        call = [&] {
            const auto next = user::reply_receive(fixture::endpoint, call.w0 + 1, call.w1 + 1,
                                                  call.w2 + 1, call.badge);
            return user::ReceiveResult{next.error, next.badge, next.w0, next.w1, next.w2, next.w3};
        }();
    }
}
[[noreturn]] void serve_once_by_reply() {
    const auto call = user::receive(fixture::endpoint);
    (void)user::reply(call.w0 * 2, 0, 0, 0);
    for (;;) {
        (void)user::thread_exit(0);
    }
}
volatile u64 caller_error = ~u64{0};
[[noreturn]] void call_and_note() {
    caller_error = static_cast<u64>(user::call(fixture::endpoint, 1, 2, 3, 4).error);
    for (;;) {
        (void)user::thread_exit(0);
    }
}

// The single step is due when the SYSCALL is done: in ring 3 again, or, on some processors, at the
// kernel's first instruction.
[[noreturn]] void step_over_a_hypercall() {
    asm volatile("pushfq\n\t"
                 "orl $0x100, (%%rsp)\n\t" // TF
                 "popfq\n\t"
                 "syscall" ::"a"(abi::Call::null)
                 : "rcx", "r11", "memory");
    exit_with_7(); // no step came
}

void test_single_step() {
    start_helper(step_over_a_hypercall, "thread_start a single step");
    expect_state("stepped", fixture::helper, ThreadState::faulted);
    expect_value("single step vector", user::thread_info(fixture::helper, 0).b, 1);
    expect_value("monitor told of the step", user::wait(fixture::notification, 0).bits, 0x10);
}

void test_faults() {
    start_helper(fault, "thread_start a fault");
    expect_state("faulted", fixture::helper, ThreadState::faulted);
    expect_value("fault vector", user::thread_info(fixture::helper, 0).b, 6);
    expect_value("fault rip", user::thread_info(fixture::helper, 1).a,
                 reinterpret_cast<u64>(&fault));
    expect_value("monitor told", user::wait(fixture::notification, 0).bits, 0x10);
    expect("thread_resume faulted", user::thread_resume(fixture::helper));
    let_others_run();
    expect_value("fault count", user::thread_info(fixture::helper, 2).d, 2);
    (void)user::wait(fixture::notification, 0);
}

} // namespace

void test_threads() {
    own_memory().page(stack);
    expect("thread_create guest space",
           user::thread_create(take(), fixture::scratch, fixture::domain, fixture::guest_space),
           Error::wrong_space);
    expect("thread_start without time", user::thread_start(fixture::thread, 0x1000, 0, 0, 0),
           Error::wrong_state);
    expect("thread_start kernel entry", user::thread_start(fixture::helper, abi::user_end, 0, 0, 0),
           Error::bad_address);
    expect("thread_start kernel stack", user::thread_start(fixture::helper, 0x1000, ~u64{0}, 0, 0),
           Error::bad_address);
    expect("thread_start kernel fs",
           user::thread_start(fixture::helper, 0x1000, 0, 0, u64{1} << 47), Error::bad_address);
    expect("thread_stop stopped", user::thread_stop(fixture::helper), Error::wrong_state);
    expect("thread_resume never started", user::thread_resume(fixture::helper), Error::wrong_state);
    expect("thread_info index", user::thread_info(fixture::helper, 7), Error::bad_argument);
    expect_state("stopped", fixture::helper, ThreadState::stopped);
    expect("thread_monitor no bits",
           user::thread_monitor(fixture::helper, fixture::notification, 0), Error::bad_argument);
    expect("thread_monitor", user::thread_monitor(fixture::helper, fixture::notification, 0x10));
    start_helper(exit_with_7, "thread_start");
    expect_state("exited", fixture::helper, ThreadState::exited);
    expect_value("exit code", user::thread_info(fixture::helper, 0).c, 7);
    expect_value("monitor told of exit", user::wait(fixture::notification, 0).bits, 0x10);
    expect("thread_resume exited", user::thread_resume(fixture::helper), Error::wrong_state);
    test_faults();
    test_single_step();
    start_helper(wait_for_ever, "thread_start faulted");
    expect_state("waiting", fixture::helper, ThreadState::wait_notification);
    expect("thread_start running", user::thread_start(fixture::helper, 0x1000, 0, 0, 0),
           Error::wrong_state);
    expect("wait busy", user::wait(fixture::notification, 0), Error::busy);
    expect("frame_reclaim live thread",
           user::frame_reclaim(abi::start_selector::domain,
                               static_cast<u32>(user::cap_info(fixture::helper_context).object), 0),
           Error::wrong_state);
    expect("thread_stop", user::thread_stop(fixture::helper));
    expect_state("stopped again", fixture::helper, ThreadState::stopped);
}

void test_time() {
    const u32 core = my_core();
    expect("sc_create position", user::sc_create(take(), fixture::scratch, core, 16, 0),
           Error::bad_slot);
    expect("sc_create taken position", user::sc_create(take(), fixture::scratch, core, 13, 0),
           Error::bad_slot);
    expect("sc_bind taken", user::sc_bind(fixture::helper_context, fixture::thread), Error::busy);
    expect("sc_bind bound thread", user::sc_bind(fixture::context, fixture::helper), Error::busy);
    expect("sc_bind running thread",
           user::sc_bind(fixture::context, abi::start_selector::thread(0)), Error::busy);
    expect("sc_bind", user::sc_bind(fixture::context, fixture::thread));
    const u64 ms = rt::ticks_of_ms(1, rt::start_page().tsc_khz);
    expect("core_window index", user::core_window(core, 16, ms, 0xffff), Error::bad_window);
    expect("core_window short", user::core_window(core, 0, 100, 0xffff), Error::bad_window);
    expect("core_window long", user::core_window(core, 0, ~u64{0}, 0xffff), Error::bad_window);
    expect("core_schedule count", user::core_schedule(core, 17), Error::bad_window);
    expect("core_schedule unset windows", user::core_schedule(core, 16), Error::bad_window);
    expect("core_window", user::core_window(core, 0, ms, 0xffff));
    expect("core_schedule", user::core_schedule(core, 1));
    let_others_run();
    expect("core_schedule none", user::core_schedule(core, 0));
}

void test_messages() {
    constexpr u32 badged = fixture::scratch;
    expect("reply to nobody", user::reply(0, 0, 0, 0), Error::wrong_state);
    start_helper(serve, "thread_start server");
    expect_state("receiving", fixture::helper, ThreadState::wait_receive);
    expect("receive busy", user::receive(fixture::endpoint), Error::busy);
    expect("reply_receive busy", user::reply_receive(fixture::endpoint, 0, 0, 0, 0), Error::busy);
    expect("mint badge", user::cap_mint(fixture::endpoint, badged, abi::right::write, 0x77));
    const auto answer = user::call(badged, 10, 20, 30, 40);
    expect("call", answer);
    expect_value("call w0", answer.w0, 11);
    expect_value("call w1", answer.w1, 21);
    expect_value("call w2", answer.w2, 31);
    expect_value("call badge", answer.w3, 0x77);
    expect("call again", user::call(fixture::endpoint, 1, 1, 1, 1));
    expect("receive without right", user::receive(badged), Error::no_right);
    (void)user::cap_delete(badged);
    expect("thread_stop server", user::thread_stop(fixture::helper));
    start_helper(serve_once_by_reply, "thread_start replier");
    const auto doubled = user::call(fixture::endpoint, 21, 0, 0, 0);
    expect("call with reply", doubled);
    expect_value("call with reply w0", doubled.w0, 42);
    let_others_run();
    // Nobody serves: the helper calls and waits, until the endpoint goes.
    const u32 frame = take();
    const u32 endpoint = static_cast<u32>(user::cap_info(fixture::endpoint).object);
    start_helper(call_and_note, "thread_start caller");
    expect_state("calling", fixture::helper, ThreadState::wait_call);
    expect("frame_reclaim endpoint", user::frame_reclaim(abi::start_selector::domain, endpoint, 0));
    let_others_run();
    expect_value("call to a destroyed endpoint", caller_error, static_cast<u64>(Error::dead));
    expect("call stale", user::call(fixture::endpoint, 0, 0, 0, 0), Error::stale);
    expect("cap_delete stale endpoint", user::cap_delete(fixture::endpoint));
    expect("endpoint_create again", user::endpoint_create(frame, fixture::endpoint));
    start_helper(serve, "thread_start last server"); // binds the endpoint to this core
    expect("thread_stop last server", user::thread_stop(fixture::helper));
}

void test_notifications() {
    (void)user::wait(fixture::notification, 0); // what the helper's monitor was told
    expect("signal no bits", user::signal(fixture::notification, 0), Error::bad_argument);
    expect("wait empty", user::wait(fixture::notification, 0), Error::timeout);
    expect("wait past deadline", user::wait(fixture::notification, rt::now() - 1), Error::timeout);
    const u64 soon = rt::now() + rt::ticks_of_ms(2, rt::start_page().tsc_khz);
    expect("wait deadline", user::wait(fixture::notification, soon), Error::timeout);
    expect_value("wait is not early", rt::now() >= soon ? 1 : 0, 1);
    expect("signal", user::signal(fixture::notification, 0x8000'0000'0000'0001));
    expect("signal more", user::signal(fixture::notification, 4));
    const auto taken = user::wait(fixture::notification, abi::no_deadline);
    expect("wait", taken);
    expect_value("wait bits", taken.bits, 0x8000'0000'0000'0005);
    expect("mint badge", user::cap_mint(fixture::notification, fixture::scratch, 2, 0x100));
    expect("signal by badge", user::signal(fixture::scratch, 0xff));
    expect_value("badge instead of bits", user::wait(fixture::notification, 0).bits, 0x100);
    (void)user::cap_delete(fixture::scratch);
    expect("thread_bind", user::thread_bind(fixture::thread, fixture::notification));
    expect("thread_bind again", user::thread_bind(fixture::thread, fixture::notification),
           Error::busy);
    expect("thread_bind bound notification",
           user::thread_bind(fixture::helper, fixture::notification), Error::busy);
}

} // namespace horos::hypercall_test
