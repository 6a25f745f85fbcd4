// Several cores at once: TLB shootdown of a page in use, stopping a running thread, waking across
// cores, and sleeping until a deadline.
#include "support.hpp"

namespace horos::ring3 {
namespace {

constexpr u64 shared_page = 0x60'0000;
constexpr u32 first_thread = 100, ping = 200, pong = 201;
constexpr u32 max_workers = 7;

volatile u64 progress[max_workers + 1];
volatile u64 woken;
alignas(16) char stacks[max_workers + 1][1024];

u32 thread_of(u32 core) { return first_thread + 2 * core; }

void worker(u64 core) {
    volatile u64* page = reinterpret_cast<volatile u64*>(shared_page);
    while (true)
        progress[core] = progress[core] + page[core] + 1;
}

void sleeper(u64) {
    while (true) {
        must("wait", user::wait(ping, abi::no_deadline).error);
        woken = woken + 1;
        must("signal", user::signal(pong, 1).error);
    }
}

// A thread that was stopped may still be on its way off its core.
void start(u32 core, void (*code)(u64)) {
    abi::Error error;
    do {
        error = user::thread_start(thread_of(core), reinterpret_cast<u64>(code),
                                   reinterpret_cast<u64>(stacks[core] + sizeof stacks[core] - 8),
                                   core, 0)
                    .error;
    } while (error == abi::Error::again);
    must("thread_start", error);
}

void await_progress(u32 core) {
    const u64 before = progress[core];
    while (progress[core] < before + 100)
        asm volatile("pause");
}

void await_fault(u32 core) {
    while (true) {
        const auto info = user::thread_info(thread_of(core), 0);
        must("thread_info", info.error);
        if (info.a != static_cast<u64>(abi::ThreadState::faulted))
            continue;
        must("the fault is that of the page", info.b == 14 && info.d == shared_page + 8 * core
                                                  ? abi::Error::ok
                                                  : abi::Error::wrong_state);
        return;
    }
}

void shoot_down(u32 cores, u32 page) {
    for (u32 round = 0; round < 10; ++round) {
        must("map_frame", user::map_frame(own::space, shared_page, page, 3).error);
        for (u32 core = 1; core < cores; ++core)
            start(core, worker);
        for (u32 core = 1; core < cores; ++core)
            await_progress(core);
        must("unmap", user::unmap(own::space, shared_page, 1).error);
        u64 after[max_workers + 1];
        for (u32 core = 1; core < cores; ++core)
            after[core] = progress[core];
        for (u32 core = 1; core < cores; ++core) {
            await_fault(core);
            must("nothing is read after unmap",
                 progress[core] <= after[core] + 1 ? abi::Error::ok : abi::Error::wrong_state);
        }
    }
    say("shootdown done\n");
}

void stop_running(u32 cores, u32 page) {
    must("map_frame", user::map_frame(own::space, shared_page, page, 3).error);
    for (u32 round = 0; round < 40; ++round) {
        const u32 core = 1 + round % (cores - 1);
        start(core, worker);
        for (u32 i = 0; i < round * 20; ++i)
            asm volatile("pause");
        must("thread_stop", user::thread_stop(thread_of(core)).error);
    }
    say("stopping done\n");
}

void wake_across() {
    start(1, sleeper);
    for (u32 i = 0; i < 200; ++i) {
        must("signal", user::signal(ping, 1).error);
        must("wait", user::wait(pong, abi::no_deadline).error);
    }
    must("each wake counted", woken == 200 ? abi::Error::ok : abi::Error::wrong_state);
    say("waking done\n");
}

u64 now() {
    u32 low, high;
    asm volatile("rdtsc" : "=a"(low), "=d"(high));
    return u64{high} << 32 | low;
}

void sleep_until(const abi::BootPage& page) {
    const u64 start = now(), deadline = start + 50 * page.tsc_khz;
    const auto result = user::wait(pong, deadline);
    must("wait times out",
         result.error == abi::Error::timeout ? abi::Error::ok : abi::Error::wrong_state);
    must("not before its time", now() >= deadline ? abi::Error::ok : abi::Error::wrong_state);
    must("soon after",
         now() < deadline + 500 * page.tsc_khz ? abi::Error::ok : abi::Error::wrong_state);
    say("sleeping done\n");
}

} // namespace

extern "C" [[noreturn]] void program(const abi::BootPage& page) {
    const u32 cores = page.core_count <= max_workers + 1 ? page.core_count : max_workers + 1;
    u32 frame = fresh_frames(page);
    const u32 table = frame++, shared = frame++;
    const abi::Error mapped = user::table_map(own::space, shared_page, 1, table).error;
    must("table_map", mapped == abi::Error::already_mapped ? abi::Error::ok : mapped);
    for (u32 core = 1; core < cores; ++core)
        make_thread(frame, thread_of(core), thread_of(core) + 1, core, 3);
    must("notification_create", user::notification_create(frame++, ping).error);
    must("notification_create", user::notification_create(frame++, pong).error);
    if (cores > 1) {
        shoot_down(cores, shared);
        stop_running(cores, shared);
        wake_across();
    }
    sleep_until(page);
    say("all is well\n");
    end();
}

} // namespace horos::ring3
