// What a harness image carries that boots by itself: one case, and what the model says of it.
// Freestanding.
#pragma once

#include "wire.hpp"

namespace horos::fuzz::vmx {

// A quadword of the result.
struct Expectation {
    char name[48];
    uint64_t offset, mask, value;
};
inline constexpr uint32_t EXPECTATIONS = 220;
struct Embedded {
    uint64_t magic; // EMBEDDED_EMPTY in the plain image, EMBEDDED_CASE once filled in
    char title[128];
    Mailbox fields; // only the lists
    Case launch;    // what launches the VMCS that is in the launched state
    Case test;
    uint32_t expectations, reserved;
    Expectation expectation[EXPECTATIONS];
};
inline constexpr uint64_t EMBEDDED_EMPTY = 0x59545045'584d5645ull; // "EVMXEPTY"
inline constexpr uint64_t EMBEDDED_CASE = 0x45534143'584d5645ull;  // "EVMXCASE"

} // namespace horos::fuzz::vmx
