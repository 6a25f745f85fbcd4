// How a hypercall is refused, and how it ends.
#pragma once
#include "kernel/core/state.hpp"
#include <horos/abi/gen/calls.hpp>
#include <horos/abi/gen/decode.hpp>

namespace horos::spec {

using namespace horos::abi;
using namespace horos::core;

// Who makes the call.
struct Caller {
    u32 core;
    Frame thread;
    Frame domain;
};

// The reasons against a call, in the order in which they count:
//   if (refuse(...) || refuse(...)) return refuse.reason;
// The first that applies is the answer, and nothing has changed.
struct Refusal {
    Error reason = Error::ok;

    bool operator()(Error e) {
        reason = e;
        return e != Error::ok;
    }
    bool operator()(bool applies, Error e) {
        reason = applies ? e : Error::ok;
        return applies;
    }
};

enum class Ending : u8 {
    answered, // the caller goes on with `error` and `values`
    blocked,  // the caller does not go on; what runs instead is decided anew
    replaced, // the thread `next` goes on in the caller's place, on the same scheduling context
    in_guest, // the caller's virtual CPU enters its guest
};

struct Answer {
    Error error = Error::ok;
    Ending ending = Ending::answered;
    bool has_values = false;
    u32 value = 0; // without `values`: the first value, which goes with the result word
    Frame next = 0;
    Values values{};

    constexpr Answer(Error e) : error(e) {}
    constexpr Answer(const Values& v) : has_values(true), values(v) {}
    constexpr Answer(Error e, const Values& v) : error(e), has_values(true), values(v) {}
    constexpr Answer(Error e, u32 v) : error(e), value(v) {}
    constexpr Answer(Ending e, Frame thread = 0) : ending(e), next(thread) {}
};

} // namespace horos::spec
