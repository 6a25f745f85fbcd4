// The prober as a virtual machine monitor: guest code that attempts what a guest must not do, and
// requests that no monitor may make.
#pragma once
#include "prober/probe.hpp"

namespace horos::prober {

// As guest_code.S lays it out.
struct GuestCode {
    const char* name;
    const u8* begin;
    const u8* end;
};

// Before the first guest probe, in the supervisor.
void create_guest();

std::span<const GuestCode> guest_codes();
void attempt_guest_code(const GuestCode& code);

} // namespace horos::prober
