// Who makes a hypercall, and the forms a hypercall handler can have.
#pragma once
#include "kernel/core/entry.hpp"
#include <horos/abi/gen/calls.hpp>
#include <horos/abi/gen/decode.hpp>

namespace horos::core {

struct Caller {
    u32 core;
    Frame thread;
    Frame domain;
};

// A blocking handler's result word for an error, or for plain success.
constexpr u64 word(Error error) { return static_cast<u64>(error); }

constexpr u64 bit(u32 n) { return u64{1} << n; }
constexpr u16 position_bit(u32 position) { return static_cast<u16>(1u << (position & 15)); }

} // namespace horos::core
