// Every hypercall on the booted kernel: that it works, and that each class of bad argument gets its
// own error. Prints each check that fails, and at the end `hypercalls: N passed, M failed`.
// Needs memory = "12 MiB", all grants, and a second core for the checks between cores.
// What cannot be checked from here: success of platform_control (the root task powers off at the
// end) and the errors `limit` and `unsupported`, which need exhausted counters or another machine.
#include <horos/rt/report.hpp>

#include "native/hypercall_test/check.hpp"

namespace horos::hypercall_test {

Counts& counts() {
    static constinit Counts the_counts;
    return the_counts;
}

void expect(std::string_view what, Error actual, Error expected) {
    if (actual == expected) {
        ++counts().passed;
        return;
    }
    ++counts().failed;
    rt::print("FAILED {}: {} instead of {}\n", what, abi::name_of(actual), abi::name_of(expected));
}

void expect_value(std::string_view what, u64 actual, u64 expected) {
    if (actual == expected) {
        ++counts().passed;
        return;
    }
    ++counts().failed;
    rt::print("FAILED {}: {:x} instead of {:x}\n", what, actual, expected);
}

u32 my_core() {
    static const u32 core =
        static_cast<u32>(user::thread_info(abi::start_selector::thread(0), 2).b);
    return abi::start_selector::first_core + core;
}

u32 other_core() {
    for (u32 i = 0; i < 16; ++i) {
        const u32 slot = abi::start_selector::first_core + i;
        if (slot != my_core() && user::cap_info(slot).ok()) {
            return slot;
        }
    }
    return 0;
}

u32 foreign_frame() { return own_memory().first_frame() - 1; }

} // namespace horos::hypercall_test

void horos::rt::program_main(const abi::StartPage& start) {
    using namespace horos::hypercall_test;
    own_memory().open(start, 3);
    create_fixtures();
    test_decoders();
    test_frames();
    test_blocks();
    test_capabilities();
    test_spaces();
    test_mappings();
    test_threads();
    test_time();
    test_messages();
    test_switches();
    test_notifications();
    test_devices();
    test_vcpus();
    test_platform();
    test_selectors();
    print("hypercalls: {} passed, {} failed\n", counts().passed, counts().failed);
}
