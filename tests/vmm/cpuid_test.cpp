#include "policy/cpuid_policy.hpp"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "policy/cpuid_bits.hpp"

namespace horos::vmm {
namespace {

using namespace cpuid;

// A processor that has everything, and one that answers noise.
CpuidValue all_ones(u32 leaf, u32 subleaf) {
    if (leaf == 0x0d && subleaf == 2)
        return {256, 576, 0, 0};
    return {~0u, ~0u, ~0u, ~0u};
}
u32 noise_seed = 0;
CpuidValue noise(u32 leaf, u32 subleaf) {
    u64 x = (u64{leaf} << 32 | subleaf) * 0x9e37'79b9'7f4a'7c15ull + noise_seed;
    const auto next = [&] {
        x ^= x >> 29;
        x *= 0xbf58'476d'1ce4'e5b9ull;
        return static_cast<u32>(x >> 32);
    };
    return {next(), next(), next(), next()};
}

CpuidPolicy built(const CpuidInputs& inputs) {
    CpuidPolicy policy;
    policy.build(inputs);
    return policy;
}

RC_GTEST_PROP(CpuidPolicy, ThePlainAnswerIsThatOfEveryCaller, (u32 leaf, u32 subleaf, u32 id)) {
    const abi::CpuidRule rule{.leaf = 0x12, .subleaf = 1, .keep = {}, .set = {1, 2, 3, 4}};
    const auto policy = built({.host = noise, .vcpus = 2, .xcr0 = 7, .rules = {&rule, 1}});
    leaf %= 0x40;
    subleaf %= 4;
    if (const CpuidValue* value = policy.plain(leaf)) {
        RC_ASSERT(policy.answer(leaf, subleaf, {.apic_id = id, .osxsave = true}) == *value);
        RC_ASSERT(leaf != 1u && leaf != 0xbu && leaf != 0xdu && leaf != 4u && leaf != 0x12u);
    }
    RC_ASSERT(policy.plain(0) != nullptr);
}

TEST(CpuidPolicy, HidesVirtualisationAndShowsTheHypervisor) {
    const auto policy = built({.host = all_ones, .xcr0 = 7});
    EXPECT_EQ(policy.answer(0x8000'0001, 0, {}).ecx & svm, 0u);
    EXPECT_EQ(policy.answer(1, 0, {}).ecx & bit32(5), 0u) << "VMX";
    EXPECT_EQ(policy.answer(1, 0, {}).ecx & bit32(3), 0u) << "MONITOR";
    EXPECT_EQ(policy.answer(0x8000'000a, 0, {}), CpuidValue{});
    EXPECT_EQ(policy.answer(7, 0, {}).ecx & bit32(3), 0u) << "PKU";
    EXPECT_EQ(policy.answer(0x8000'0001, 0, {}).edx & bit32(27), 0u) << "RDTSCP";
    EXPECT_EQ(policy.answer(0xa, 0, {}), CpuidValue{}) << "performance counters";
    EXPECT_TRUE(policy.answer(1, 0, {}).ecx & hypervisor);
    const auto signature = policy.answer(0x4000'0000, 0, {});
    EXPECT_EQ(signature.eax, 0x4000'0001u);
    EXPECT_EQ(signature.ebx, 0x4b4d564bu);
    EXPECT_TRUE(policy.answer(0x4000'0001, 0, {}).eax & kvm_clock_stable);
}

TEST(CpuidPolicy, WhatLinuxNeedsForItsTimer) {
    const auto policy = built({.host = [](u32, u32) { return CpuidValue{}; }});
    EXPECT_TRUE(policy.answer(1, 0, {}).ecx & x2apic);
    EXPECT_TRUE(policy.answer(1, 0, {}).ecx & tsc_deadline);
    EXPECT_TRUE(policy.answer(6, 0, {}).eax & arat);
    EXPECT_TRUE(policy.answer(7, 0, {}).ebx & tsc_adjust);
    EXPECT_TRUE(policy.answer(0x8000'0007, 0, {}).edx & invariant_tsc);
}

TEST(CpuidPolicy, TopologyFollowsTheVirtualCpus) {
    const auto policy = built({.host = all_ones, .vcpus = 3, .xcr0 = 7});
    EXPECT_EQ(policy.answer(1, 0, {.apic_id = 2}).ebx >> 16, 2u << 8 | 3u);
    EXPECT_TRUE(policy.answer(1, 0, {}).edx & htt);
    EXPECT_EQ(policy.answer(0xb, 1, {.apic_id = 2}).ebx, 3u);
    EXPECT_EQ(policy.answer(0xb, 1, {.apic_id = 2}).eax, 2u);
    EXPECT_EQ(policy.answer(0xb, 1, {.apic_id = 2}).edx, 2u);
    EXPECT_EQ(policy.answer(0xb, 5, {.apic_id = 2}).ecx, 5u);
    EXPECT_EQ(policy.answer(0xb, 5, {}).ebx, 0u);
    EXPECT_EQ(policy.answer(0x8000'0008, 0, {}).ecx & 0xff, 2u);
}

TEST(CpuidPolicy, ExtendedStateIsConsistent) {
    const auto policy = built({.host = all_ones, .xcr0 = 0x7});
    EXPECT_EQ(policy.answer(0xd, 0, {.xcr0 = 1}).ebx, 576u);
    EXPECT_EQ(policy.answer(0xd, 0, {.xcr0 = 7}).ebx, 832u);
    EXPECT_EQ(policy.answer(0xd, 0, {.xcr0 = 1}).ecx, 832u);
    EXPECT_EQ(policy.answer(0xd, 0, {}).eax, 7u);
    EXPECT_EQ(policy.answer(0xd, 1, {}).eax & bit32(3), 0u) << "XSAVES";
    EXPECT_EQ(policy.answer(0xd, 9, {}), CpuidValue{}) << "PKRU";
    EXPECT_TRUE(policy.answer(1, 0, {}).ecx & avx);
    EXPECT_EQ(policy.answer(7, 0, {}).ebx & avx512f, 0u) << "its state is not offered";
    const auto plain = built({.host = all_ones, .xcr0 = 1});
    EXPECT_EQ(plain.answer(1, 0, {}).ecx & avx, 0u);
    EXPECT_EQ(plain.answer(7, 0, {}).ebx & avx2, 0u);
    EXPECT_EQ(plain.guest_xcr0(), 1u);
}

TEST(CpuidPolicy, OsxsaveFollowsCr4) {
    const auto policy = built({.host = all_ones, .xcr0 = 7});
    EXPECT_FALSE(policy.answer(1, 0, {.osxsave = false}).ecx & osxsave);
    EXPECT_TRUE(policy.answer(1, 0, {.osxsave = true}).ecx & osxsave);
}

TEST(CpuidPolicy, RulesOfTheDescriptionComeLast) {
    const abi::CpuidRule rules[] = {
        {.leaf = 1, .subleaf = abi::any_subleaf, .keep = {~0u, ~0u, ~aes, ~0u}, .set = {}},
        {.leaf = 0x8000'0002,
         .subleaf = abi::any_subleaf,
         .keep = {},
         .set = {0x6f726f48, 0x73, 0, 0}},
        {.leaf = 0x12, .subleaf = 0, .keep = {}, .set = {1, 2, 3, 4}}};
    const auto policy = built({.host = all_ones, .xcr0 = 7, .rules = rules});
    EXPECT_FALSE(policy.answer(1, 0, {}).ecx & aes);
    EXPECT_TRUE(policy.answer(1, 0, {}).ecx & sse42);
    EXPECT_EQ(policy.answer(0x8000'0002, 0, {}).eax, 0x6f726f48u);
    EXPECT_EQ(policy.answer(0x12, 0, {}).edx, 4u);
    EXPECT_FALSE(built({.host = noise}).answer(0x13, 0, {}).eax);
}

TEST(CpuidPolicy, RulesAreInOrderAndSetNothingTwice) {
    u64 last = 0;
    for (const CpuidMask& mask : cpuid_masks()) {
        const u64 key =
            u64{mask.leaf} << 32 | (mask.subleaf == abi::any_subleaf ? 0 : mask.subleaf);
        EXPECT_TRUE(last == 0 || key > last) << std::hex << mask.leaf;
        last = key;
    }
}

// Whatever the host says, only bits that a rule keeps or sets (or the topology adds) get through.
RC_GTEST_PROP(CpuidProperty, NothingLeaks, ()) {
    noise_seed = *rc::gen::arbitrary<u32>();
    const auto policy = built({.host = noise, .xcr0 = *rc::gen::arbitrary<u64>()});
    for (const CpuidMask& mask : cpuid_masks()) {
        const u32 subleaf = mask.subleaf == abi::any_subleaf ? 0 : mask.subleaf;
        const auto value = policy.answer(mask.leaf, subleaf, {});
        RC_ASSERT((value.ecx & ~(mask.keep.ecx | mask.set.ecx)) == 0u);
        const u32 apic_bits = mask.leaf == 1 ? 0xffff'0000 : 0;
        RC_ASSERT((value.ebx & ~(mask.keep.ebx | mask.set.ebx | apic_bits)) == 0u);
        RC_ASSERT((value.edx & ~(mask.keep.edx | mask.set.edx)) == 0u);
    }
    const u32 leaf = *rc::gen::arbitrary<u32>();
    if ((leaf & 0x7fff'ffff) > 0x20 && leaf - 0x4000'0000 > 1)
        RC_ASSERT(policy.answer(leaf, 0, {}) == CpuidValue{});
}

} // namespace
} // namespace horos::vmm
