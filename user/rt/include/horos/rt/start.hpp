// A program's life: where it starts, its threads, waiting, the end.
#pragma once
#include <horos/abi/start_page.hpp>
#include <horos/rt/calls.hpp>

namespace horos::rt {

// Written by the program; runs in thread 0. When it returns the program ends.
void program_main(const abi::StartPage& start);

const abi::StartPage& start_page();

// Index of the calling thread.
u32 this_thread();

// Starts another of the program's threads. One that has ended or faulted can be
// started again.
Error start_thread(u32 index, void (*function)(u64), u64 argument);

// Waits until the calling thread's notification has bits, and takes them. 0: the deadline passed.
u64 wait_events(u64 deadline = abi::no_deadline);

// Waits without losing bits that come meanwhile: the next wait_events has them.
void sleep_until(u64 deadline);

// Ends the calling thread.
[[noreturn]] void exit_thread(u64 code = 0);

} // namespace horos::rt
