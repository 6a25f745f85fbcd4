#include "kernel/core/entry.hpp"
#include "support/check.hpp"
#include "support/simulation.hpp"
#include "support/violation.hpp"
#include <gtest/gtest.h>

namespace horos::test {

TEST(Boot, StateHoldsAllInvariants) {
    Simulation s;
    s.boot();
    EXPECT_NO_THROW(check_invariants());
    EXPECT_TRUE(s.is_user(0));
    EXPECT_EQ(shell.cores[1].mode, CoreMode::idle);
    EXPECT_TRUE(s.call(0, Call::null, {}).ok());
    EXPECT_EQ(s.call_number(0, call_count, {}).error, Error::bad_call);
}

// A plan of memory that does not fit together stops the kernel: the steps check what they need.
TEST(Boot, MemoryThatDoesNotFitTogetherStops) {
    Simulation s;
    s.boot();
    EXPECT_THROW(core::core_add_ram(2 * frames_per_block, frames_per_block), Violation); // again
    EXPECT_THROW(core::core_add_ram(core::machine.frame_limit, 1), Violation);
    EXPECT_THROW(core::init_type(2 * frames_per_block, core::ObjectType::kernel), Violation);
    EXPECT_THROW(core::init_type(17, core::ObjectType::domain), Violation);
    EXPECT_THROW(core::init_owner(s.root.domain, 2), Violation); // it has an owner
    EXPECT_THROW(core::core_init_core(0), Violation);
    EXPECT_THROW(core::core_init_core(core::machine.core_count), Violation);
    EXPECT_THROW(core::core_root_map(s.root, user_end, 100, 1, 101), Violation);
    EXPECT_THROW(core::core_root_map(s.root, 0x1000, s.root.domain, 1, 101), Violation);
    core::RootTask other;
    EXPECT_THROW(core::core_init_root(0, other), Violation);
    EXPECT_THROW(core::core_init_root(s.root.domain, other), Violation);
    core::init_type(0, core::ObjectType::ram);
    EXPECT_EQ(core::frames[0].type, core::ObjectType::reserved);
}

} // namespace horos::test
