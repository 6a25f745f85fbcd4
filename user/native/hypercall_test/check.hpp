// Counts checks and prints those that fail.
#pragma once
#include <horos/rt/print.hpp>

#include "native/support/own_memory.hpp"
#include "native/support/raw_call.hpp"

namespace horos::hypercall_test {

using native::own_memory;
using rt::Error;
using rt::u16;
using rt::u32;
using rt::u64;
using rt::u8;

struct Counts {
    u32 passed = 0;
    u32 failed = 0;
};
Counts& counts();

// `what` names the call and the case.
void expect(std::string_view what, Error actual, Error expected);
void expect_value(std::string_view what, u64 actual, u64 expected);

template <class Result>
void expect(std::string_view what, const Result& result, Error expected = Error::ok) {
    expect(what, result.error, expected);
}

// Objects that all tests use; never destroyed.
namespace fixture {
inline constexpr u32 first = abi::start_selector::first_free;
inline constexpr u32 domain = first, space = first + 1, guest_space = first + 2, thread = first + 3,
                     context = first + 4, endpoint = first + 5, notification = first + 6,
                     interrupt = first + 7, ports = first + 8, mmio = first + 9, vcpu = first + 10,
                     memory = first + 11, helper = first + 12, helper_context = first + 13;
inline constexpr u32 weak = first + 20;    // a copy without the right that a call needs
inline constexpr u32 scratch = first + 24; // empty between tests
inline constexpr u32 empty = first + 40;   // always empty
inline constexpr u32 no_table = 600;       // a selector in a table that the domain does not have
} // namespace fixture

inline constexpr u64 scratch_address = abi::free_address + 0x4000'0000;
u32 my_core();       // selector of the core this program runs on
u32 other_core();    // of another one, 0 = there is none
u32 foreign_frame(); // RAM of somebody else

void create_fixtures();
void test_frames();
void test_blocks();
void test_capabilities();
void test_spaces();
void test_mappings();
void test_threads();
void test_time();
void test_messages();
void test_switches();
void test_notifications();
void test_devices();
void test_vcpus();
void test_platform();
void test_selectors();
void test_decoders();

} // namespace horos::hypercall_test
