#include "support/check.hpp"
#include "support/simulation.hpp"
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

} // namespace horos::test
