// Hypercalls with arguments that must be refused: the generated table, numbers that do not exist,
// and a storm of hostile combinations.
#include <horos/abi/gen/bad_arguments.hpp>

#include "native/support/raw_call.hpp"
#include "prober/probe.hpp"

namespace horos::prober {
namespace {

using native::raw_call;

void bad_arguments() {
    for (const abi::BadArgument& bad : abi::bad_arguments) {
        const Error error = raw_call(static_cast<u64>(bad.call), bad.registers);
        if (error != bad.expected) {
            rt::Text<80> text;
            text.format("{} argument {}: {} instead of {}", abi::name_of(bad.call), bad.argument,
                        abi::name_of(error), abi::name_of(bad.expected));
            return not_stopped(text.view());
        }
    }
    rt::Text<48> text;
    text.format("{} calls, each with its error", abi::bad_arguments.size());
    stopped(text.view());
}

void bad_numbers() {
    constexpr u64 numbers[] = {
        abi::call_count,    abi::call_count + 1, 255,          256,          0x7fff'ffff,
        0x8000'0000,        0xffff'ffff,         u64{1} << 32, u64{1} << 63, ~u64{0},
        (u64{1} << 32) | 60};
    for (const u64 number : numbers) {
        constexpr u64 arguments[6] = {};
        if (raw_call(number, arguments) != Error::bad_call) {
            rt::Text<48> text;
            text.format("number {:x} was taken", number);
            return not_stopped(text.view());
        }
    }
    stopped("bad_call");
}

// Selectors in the storm are ones without capability, frames ones of others: whatever the
// combination, no call but `null` may succeed.
void storm() {
    constexpr u64 values[] = {0,
                              1,
                              2,
                              3,
                              16,
                              128,
                              255,
                              256,
                              511,
                              512,
                              0x1000,
                              0x20'0000,
                              0xffff'ffff,
                              ~u64{0},
                              u64{1} << 47,
                              0xffff'8000'0000'0000,
                              900,
                              1023,
                              0x1'0000,
                              0x7fff'ffff'ffff'f000};
    constexpr u32 rounds = 50'000;
    u64 random = 0x1234'5678'9abc'def1;
    const auto next = [&random] {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        return random;
    };
    for (u32 i = 0; i < rounds; ++i) {
        u64 arguments[6];
        const u64 call = next() % (abi::call_count + 4);
        const bool ends_thread = call == static_cast<u64>(abi::Call::thread_exit);
        for (u64& argument : arguments) {
            argument = values[next() % std::size(values)];
        }
        // Selectors that the prober has could do harm to itself.
        arguments[0] = 0x200 + next() % 0x400;
        arguments[1] =
            arguments[1] < abi::max_selector ? 0x200 + arguments[1] % 0x200 : arguments[1];
        if (!ends_thread && raw_call(call, arguments) == Error::ok && call != 0) {
            rt::Text<48> text;
            text.format("call {} succeeded", call);
            return not_stopped(text.view());
        }
    }
    stopped("50000 hostile calls refused");
}

constexpr Probe probes[] = {
    {"bad-arguments-of-every-call", bad_arguments},
    {"bad-call-numbers", bad_numbers},
    {"call-storm", storm},
};

} // namespace

std::span<const Probe> call_probes() { return probes; }

} // namespace horos::prober
