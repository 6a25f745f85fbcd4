// One attempt at what must not be possible. It runs in thread 0; the supervisor in thread 1 looks
// how it ends: a fault stopped it; a runaway loop was pre-empted; or it says itself what it found.
// An attempt that simply returns was not stopped.
#pragma once
#include <horos/rt/text.hpp>
#include <span>

#include "native/support/own_memory.hpp"

namespace horos::prober {

using rt::Error;
using rt::u16;
using rt::u32;
using rt::u64;
using rt::u8;

struct Probe {
    const char* name;
    void (*attempt)();
    bool runaway = false;    // it never ends by itself: the supervisor must get the core back
    bool needs_umip = false; // a processor without UMIP lets every program do it
};

// What an attempt found. The last word counts.
void stopped(std::string_view how);
void not_stopped(std::string_view how);

// `error` is one of those that refuse; anything else is a hole.
void expect_refused(Error error);

std::span<const Probe> memory_probes();
std::span<const Probe> instruction_probes();
std::span<const Probe> capability_probes();
std::span<const Probe> call_probes();
std::span<const Probe> guest_probes();

} // namespace horos::prober
