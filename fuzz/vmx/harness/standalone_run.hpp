// The case that the image carries: run, compared with what the model says, told on port E9.
#pragma once

#include "../../harness/console.hpp"
#include "../standalone.hpp"

#include <stddef.h>

namespace horos::fuzz::vmx {

[[gnu::section(".data.embedded"), gnu::used]] inline Embedded embedded = {.magic = EMBEDDED_EMPTY};

inline bool has_case() {
    return *const_cast<const volatile uint64_t*>(&embedded.magic) == EMBEDDED_CASE;
}

// `take` hands over the lists of fields, `run` runs a case.
template <class Take, class Run>
[[noreturn]] void run_embedded(Mailbox& box, Slot& slot, Take take, Run run) {
    using namespace horos::harness;
    const auto* from = reinterpret_cast<const uint8_t*>(&embedded.fields);
    for (size_t n = offsetof(Mailbox, write_count); n < sizeof(Mailbox); ++n) {
        reinterpret_cast<uint8_t*>(&box)[n] = from[n];
    }
    take();
    run(embedded.launch, slot.result);
    print("case: ");
    print(embedded.title);
    print("\n");
    run(embedded.test, slot.result);
    bool differs = false;
    for (uint32_t n = 0; n < embedded.expectations; ++n) {
        const Expectation& e = embedded.expectation[n];
        const uint64_t seen = *reinterpret_cast<const uint64_t*>(slot.result_bytes + e.offset);
        if ((seen & e.mask) == e.value) {
            continue;
        }
        differs = true;
        print("differs: ");
        print(e.name);
        print(": expected ");
        print_hex(e.value);
        print(" (of ");
        print_hex(e.mask);
        print("), observed ");
        print_hex(seen);
        print("\n");
    }
    print(differs ? "VERDICT diverges\n" : "VERDICT agrees\n");
    end_run(!differs);
}

} // namespace horos::fuzz::vmx
