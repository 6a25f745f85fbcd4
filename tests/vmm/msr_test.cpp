#include "policy/msr_policy.hpp"

#include <gtest/gtest.h>

namespace horos::vmm {
namespace {

TEST(MsrPolicy, TableIsInOrderWithoutOverlap) {
    u32 next = 0;
    for (const MsrRule& rule : msr_rules()) {
        EXPECT_GE(rule.first, next) << std::hex << rule.first;
        EXPECT_GE(rule.last, rule.first);
        next = rule.last + 1;
    }
}

TEST(MsrPolicy, UnknownRegistersFault) {
    const MsrPolicy policy;
    for (const u32 number :
         {0u, 0x11u, 0x48u, 0x480u, 0x900u, 0xc000'0103u, 0xc001'0114u, 0xc001'0117u, ~0u})
        EXPECT_EQ(policy.find(number).kind, MsrKind::fault) << std::hex << number;
}

TEST(MsrPolicy, KnownOnesHaveTheirKind) {
    const MsrPolicy policy;
    EXPECT_EQ(policy.find(msr::efer).kind, MsrKind::efer);
    EXPECT_EQ(policy.find(msr::tsc_deadline).kind, MsrKind::tsc_deadline);
    EXPECT_EQ(policy.find(0x80b).kind, MsrKind::x2apic);
    EXPECT_EQ(policy.find(msr::mtrr_cap).kind, MsrKind::read_only);
    EXPECT_EQ(policy.find(msr::kvm_system_time).kind, MsrKind::kvm_system_time);
}

TEST(MsrPolicy, DescriptionRulesWin) {
    const abi::MsrRule rules[] = {{.msr = 0x10, .action = abi::MsrAction::fault, .value = 0},
                                  {.msr = 0x1234, .action = abi::MsrAction::fixed, .value = 42}};
    MsrPolicy policy;
    policy.set_rules(rules);
    EXPECT_EQ(policy.find(0x10).kind, MsrKind::fault);
    EXPECT_EQ(policy.find(0x1234).kind, MsrKind::fixed);
    EXPECT_EQ(policy.find(0x1234).value, 42u);
}

TEST(MsrPolicy, EachStoredRegisterHasItsOwnPlace) {
    std::vector<bool> used(MsrPolicy::storage_count);
    for (const MsrRule& rule : msr_rules())
        if (rule.kind == MsrKind::stored) {
            EXPECT_EQ(rule.first, rule.last);
            const int index = MsrPolicy::storage_index(rule.first);
            ASSERT_GE(index, 0);
            ASSERT_LT(static_cast<u32>(index), used.size());
            EXPECT_FALSE(used[static_cast<u32>(index)]);
            used[static_cast<u32>(index)] = true;
        }
    EXPECT_EQ(MsrPolicy::storage_index(0x10), -1);
}

} // namespace
} // namespace horos::vmm
