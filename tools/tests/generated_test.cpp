// The headers generated from the real specification: they compile, and the decoders refuse every
// value outside of a type, at each argument, with the error of that type.
#include <gtest/gtest.h>

#include <horos/abi/gen/bad_arguments.hpp>
#include <horos/abi/gen/calls.hpp>
#include <horos/abi/gen/decode.hpp>
#include <horos/user/stubs.hpp>

namespace horos::abi {
namespace {

RawArgs raw(const BadArgument& bad) {
    return {bad.registers[0], bad.registers[1], bad.registers[2],
            bad.registers[3], bad.registers[4], bad.registers[5]};
}

std::uint64_t& register_of(RawArgs& args, std::uint32_t index) {
    std::uint64_t* all[] = {&args.rdi, &args.rsi, &args.rdx, &args.r10, &args.r8, &args.r9};
    return *all[index];
}

TEST(GeneratedDecoders, RefuseEveryBadArgument) {
    ASSERT_GT(bad_arguments.size(), 100u);
    for (const BadArgument& bad : bad_arguments) {
        EXPECT_EQ(check_arguments(bad.call, raw(bad)), bad.expected)
            << name_of(bad.call) << ", argument " << bad.argument;
    }
}

TEST(GeneratedDecoders, AcceptTheSameCallWithTheArgumentMended) {
    for (const BadArgument& bad : bad_arguments) {
        RawArgs args = raw(bad);
        register_of(args, bad.argument) = 0; // no type has a least value above 0 so far
        EXPECT_EQ(check_arguments(bad.call, args), Error::ok) << name_of(bad.call);
    }
}

TEST(GeneratedTables, NumbersAreTheirIndices) {
    ASSERT_EQ(std::size(call_table), call_count);
    for (const CallInfo& info : call_table) {
        EXPECT_STREQ(name_of(info.call), info.name);
        EXPECT_LE(static_cast<std::uint32_t>(info.call), greatest_call);
        EXPECT_LE(info.arguments, 6u);
    }
    EXPECT_STREQ(name_of(static_cast<Call>(greatest_call + 1)), "unknown call");
    EXPECT_STREQ(name_of(Error::ok), "ok");
}

} // namespace
} // namespace horos::abi
