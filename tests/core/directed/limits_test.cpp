// Counts and generations at their ends.
#include "kernel/core/frames.hpp"
#include "support/check.hpp"
#include "support/scenario.hpp"
#include <gtest/gtest.h>

namespace horos::test {

struct Limits : testing::Test {
    Scenario w;
    void SetUp() override { w.build(); }
    void set_generation(Frame f, u32 generation) {
        journal_begin();
        frames[f].generation = generation;
    }
    Error root(Call call, const Registers6& a) { return w.s.call(0, call, a).error; }
};

TEST_F(Limits, AFrameWithoutGenerationsIsNoObjectAgain) {
    set_generation(pool_first, max_generation);
    EXPECT_EQ(root(Call::endpoint_create, {pool_first, sel::free}), Error::limit);
    EXPECT_EQ(root(Call::frame_give, {sel::domain1, pool_first, 1}), Error::limit);
}

TEST_F(Limits, RevocationStopsAtTheLastGeneration) {
    set_generation(pool_first, max_generation - 1);
    w.must(Call::notification_create, {pool_first, sel::free});
    EXPECT_EQ(frames[pool_first].generation, max_generation);
    EXPECT_EQ(root(Call::cap_revoke, {sel::free}), Error::limit);
    w.must(Call::frame_reclaim, {sel::domain, pool_first, 0});
    EXPECT_EQ(root(Call::cap_info, {sel::free}), Error::stale);
    EXPECT_NO_THROW(check_invariants());
}

// Else taking the memory back would not end what its owner shared.
TEST_F(Limits, MemoryWithoutGenerationsCannotBeShared) {
    const Frame f = domain1_first;
    set_generation(f, max_generation + 1);
    w.start(sel::thread1);
    ASSERT_EQ(cores[0].thread, w.object(sel::thread1));
    EXPECT_EQ(w.s.call(0, Call::frame_share, {f, sel::free, right::all}).error, Error::limit);
}

TEST_F(Limits, MappingsAndReferencesAreCountedToTheEnd) {
    journal_begin();
    frames[pool_first].mappings = max_count;
    EXPECT_EQ(root(Call::map_frame, {sel::space1, 0x1000, pool_first, 1}), Error::limit);
    journal_begin();
    blocks[root_block].mappings = ~u32{0};
    EXPECT_EQ(root(Call::map_block, {sel::space1, 0x20'0000, root_block, 1}), Error::limit);
    const Frame note = w.object(sel::note1);
    journal_begin();
    frames[note].references = max_count;
    EXPECT_EQ(root(Call::thread_monitor, {sel::thread1, sel::note1, 1}), Error::limit);
    EXPECT_EQ(root(Call::thread_bind, {sel::thread1, sel::note1}), Error::limit);
    journal_begin();
    frames[w.object(sel::guest)].references = max_count;
    EXPECT_EQ(root(Call::vcpu_create, {pool_first + 1, sel::free, sel::guest, pool_first + 2,
                                       pool_first + 3, pool_first + 4}),
              Error::limit);
    journal_begin();
    frames[w.object(sel::space1)].references = max_count;
    EXPECT_EQ(root(Call::thread_create, {pool_first + 1, sel::free, sel::domain1, sel::space1}),
              Error::limit);
}

// A budget that the clock cannot hold is as good as none: the timer must not be set to the past.
TEST_F(Limits, HugeBudgetLeavesTheTimerInTheFuture) {
    w.must(Call::frame_reclaim, {sel::domain, w.object(sel::sc1), 0});
    w.must(Call::sc_create, {pool_first, sel::free, sel::first_core, 3, ~u64{0}});
    w.must(Call::sc_bind, {sel::free, sel::thread1});
    w.must(Call::core_window, {sel::first_core, 0, 100'000, 0xffff});
    w.must(Call::core_schedule, {sel::first_core, 1});
    w.start(sel::thread1);
    shell.now += 100;
    w.s.timer(0);
    EXPECT_GT(shell.cores[0].timer, shell.now);
}

} // namespace horos::test
