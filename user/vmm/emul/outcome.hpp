// How an emulation step ended.
#pragma once

#include "base.hpp"

namespace horos::vmm {

// An exception for the guest.
struct Exception {
    u8 vector = 0;
    bool has_error_code = false;
    u32 error_code = 0;
    u64 cr2 = 0; // of a page fault
};

namespace vector {
inline constexpr u8 debug = 1, invalid_opcode = 6, double_fault = 8, stack_fault = 12,
                    general_protection = 13, page_fault = 14;
} // namespace vector

struct Outcome {
    enum class Kind : u8 {
        done,          // finished: go on with the next instruction
        again,         // a bounded slice of a long instruction is done: run the guest again as is
        exception,     // give the guest `exception`
        need_segments, // segment registers are not in the state page: ask for them and come back
        unsupported,   // `reason` says what cannot be emulated
    };
    Kind kind = Kind::done;
    Exception exception{};
    const char* reason = nullptr;

    static constexpr Outcome done() { return {}; }
    static constexpr Outcome again() { return {Kind::again, {}, nullptr}; }
    static constexpr Outcome need_segments() { return {Kind::need_segments, {}, nullptr}; }
    static constexpr Outcome unsupported(const char* why) { return {Kind::unsupported, {}, why}; }
    static constexpr Outcome fault(Exception exception) {
        return {Kind::exception, exception, nullptr};
    }
    static constexpr Outcome fault(u8 number) { return fault(Exception{.vector = number}); }
    static constexpr Outcome fault(u8 number, u32 error_code) {
        return fault(Exception{.vector = number, .has_error_code = true, .error_code = error_code});
    }
    constexpr bool ok() const { return kind == Kind::done; }
};

} // namespace horos::vmm
