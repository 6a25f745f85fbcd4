// How the root task's steps end: well, or with the step that failed and why.
#pragma once
#include <horos/rt/calls.hpp>
#include <horos/rt/text.hpp>

namespace horos::root {

using abi::Error;
using abi::u16;
using abi::u32;
using abi::u64;
using abi::u8;

class [[nodiscard]] Outcome {
public:
    Outcome() = default;
    Outcome(const char* step, Error error) : step_(step), error_(error) {}
    // A failure that is not a hypercall's.
    static Outcome failure(const char* why) { return {why, Error::bad_call}; }

    bool ok() const { return step_ == nullptr; }
    const char* step() const { return step_; }
    // Empty when no hypercall was to blame.
    const char* reason() const { return error_ == Error::bad_call ? "" : abi::name_of(error_); }

private:
    const char* step_ = nullptr;
    Error error_ = Error::ok;
};

// The outcome of one hypercall.
template <class Result>
Outcome check(const char* step, const Result& result) {
    return result.ok() ? Outcome() : Outcome(step, result.error);
}

} // namespace horos::root
