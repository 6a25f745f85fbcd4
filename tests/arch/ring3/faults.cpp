// Makes each attempt of attempts.S in a thread, and looks how that thread ended.
#include "support.hpp"

namespace horos::ring3 {
namespace {

struct Attempt {
    const char* name;
    void (*code)();
    u64 vector; // in bits 15:8 another that will do, or 0
};
extern "C" const Attempt attempts[];

constexpr u32 thread = 100, context = 101;
alignas(64) char stack[8192];
alignas(64) char data[64];

bool is_expected(const Attempt& attempt, u64 vector) {
    const u64 other = attempt.vector >> 8;
    return vector == (attempt.vector & 0xff) || (other != 0 && vector == other);
}

bool try_one(const Attempt& attempt) {
    must("thread_start", user::thread_start(thread, reinterpret_cast<u64>(attempt.code),
                                            reinterpret_cast<u64>(stack + sizeof stack - 256),
                                            reinterpret_cast<u64>(data), 0)
                             .error);
    const auto info = user::thread_info(thread, 0); // it has run: its priority is higher than ours
    must("thread_info", info.error);
    if (info.a == static_cast<u64>(abi::ThreadState::faulted) && is_expected(attempt, info.b))
        return true;
    say("NOT as expected: ");
    say(attempt.name);
    say(", state ");
    say(info.a);
    say(", vector ");
    say(info.b);
    say("\n");
    return false;
}

} // namespace

extern "C" [[noreturn]] void program(const abi::BootPage& page) {
    u32 frame = fresh_frames(page);
    make_thread(frame, thread, context, 0, 3);
    u64 tried = 0, good = 0;
    for (const Attempt* attempt = attempts; attempt->name; ++attempt, ++tried)
        good += try_one(*attempt);
    say("attempts: ");
    say(tried);
    say(", as expected: ");
    say(good);
    say(good == tried ? "\nall is well\n" : "\n");
    end();
}

} // namespace horos::ring3
