// A scripted stand-in for Horos: tests say what each entry of the guest does.
#pragma once

#include <deque>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "run/host.hpp"

namespace horos::vmm::fake {

// What host::stop() does in tests.
struct Stopped : std::runtime_error {
    explicit Stopped(const host::Report& report)
        : std::runtime_error(report.text), kind(report.kind), rip(report.rip) {}
    abi::ReportKind kind;
    u64 rip;
};

struct Host {
    Ticks now = 1000;
    std::deque<std::function<abi::ExitReason()>> script; // one call per entry of the guest
    std::string console;
    std::string keyboard;
    u32 console_room = ~u32{0};
    std::vector<u32> woken;
    std::vector<bool> apic_pages; // each change of what the guest's space shows
    std::vector<Ticks> waits;
};

Host& host();
void reset();

} // namespace horos::vmm::fake
