// Situations that random sequences hardly meet. Every call in them is compared with spec/, so that
// making it is the test; what is stated besides is that the situation is the one that was meant.
#include "kernel/core/frames.hpp"
#include "support/check.hpp"
#include "support/scenario.hpp"
#include <gtest/gtest.h>

namespace horos::test {

struct Reach : testing::Test {
    Scenario w;
    Frame next = pool_first;

    void SetUp() override { w.build(); }
    void TearDown() override { EXPECT_NO_THROW(check_invariants()); }
    Error root(Call call, const Registers6& a) { return w.s.call(0, call, a).error; }
    Error running(Call call, const Registers6& a) { return w.s.call(0, call, a).error; }
    void time_is(u64 now) {
        shell.now = now;
        w.s.timer(0);
    }
};

TEST_F(Reach, FramesAtTheEdges) {
    EXPECT_NE(root(Call::frame_info, {machine_frames - 1}), Error::bad_frame);
    EXPECT_EQ(root(Call::frame_info, {machine_frames}), Error::bad_frame);
    EXPECT_EQ(root(Call::frame_info, {w.object(sel::space1)}), Error::ok);
    const Outcome table = w.must(Call::frame_info, {spaces[w.object(sel::space1)].root});
    EXPECT_EQ(table.values.v[1], 2u); // its space, and one entry
}

TEST_F(Reach, AMappedBlockTellsItsMappings) {
    w.must(Call::map_block, {sel::space1, block_size, root_block, right::read});
    const Outcome info = w.must(Call::frame_info, {root_block * frames_per_block + 3});
    EXPECT_EQ(info.values.v[2], 1u);
}

TEST_F(Reach, FourFramesAreGivenOrNone) {
    w.must(Call::endpoint_create, {pool_first + 3, sel::free});
    EXPECT_EQ(root(Call::frame_give, {sel::domain1, pool_first, 4}), Error::wrong_frame_type);
    EXPECT_EQ(root(Call::frame_give, {sel::domain1, pool_first + 16, 5}), Error::bad_argument);
    w.must(Call::frame_give, {sel::domain1, pool_first + 16, 4});
}

TEST_F(Reach, AFrameOfTheLastGenerationKeepsIt) {
    journal_begin();
    frames[pool_first].generation = max_generation + 1;
    w.must(Call::frame_reclaim, {sel::domain, pool_first, 0});
    EXPECT_EQ(frames[pool_first].generation, max_generation + 1);
}

TEST_F(Reach, SomeRightsAreEnough) {
    w.must(Call::cap_mint, {sel::thread2, sel::free, right::read, 0});
    EXPECT_EQ(root(Call::thread_info, {sel::free, 0}), Error::ok);
    EXPECT_EQ(root(Call::thread_stop, {sel::free}), Error::no_right);
    w.must(Call::cap_mint, {sel::note1, sel::free + 1, right::write, 0});
    EXPECT_EQ(root(Call::signal, {sel::free + 1, 1}), Error::ok);
    EXPECT_EQ(root(Call::wait, {sel::free + 1, 0}), Error::no_right);
}

TEST_F(Reach, SelectorsAtTheEnd) {
    EXPECT_EQ(root(Call::cap_info, {max_selector - 1}), Error::no_table);
    EXPECT_EQ(root(Call::cap_info, {max_selector}), Error::bad_selector);
    EXPECT_EQ(root(Call::domain_add_table, {sel::domain1, pool_first, 0}), Error::bad_argument);
    w.must(Call::domain_add_table, {sel::domain, pool_first, 3});
    w.must(Call::cap_mint, {sel::note1, max_selector - 1, right::all, 0});
}

TEST_F(Reach, GuestsHaveTheUpperHalfToo) {
    w.must(Call::table_map, {sel::guest, u64{1} << 47, 3, pool_first});
    EXPECT_EQ(root(Call::table_map, {sel::space1, u64{1} << 47, 3, pool_first + 1}),
              Error::bad_address);
    EXPECT_EQ(root(Call::table_map, {sel::guest, u64{1} << 48, 3, pool_first + 1}),
              Error::bad_address);
}

TEST_F(Reach, TheKernelsDeviceInTheMiddleOfARange) {
    w.must(Call::mmio_create, {pool_first, sel::free, sel::mmio, 0xfebff, 3});
    EXPECT_EQ(root(Call::map_mmio, {sel::space1, 0x5000, sel::free, 1, right::read}),
              Error::bad_argument);
    w.must(Call::map_mmio, {sel::space1, 0x5000, sel::free, 2, right::read});
}

TEST_F(Reach, TheLastStepOfATable) {
    const Frame space = pool_first;
    const Frame top = pool_first + 1;
    w.must(Call::space_create, {space, top, sel::free, 1});
    w.must(Call::table_map, {sel::free, u64{511} << 39, 3, pool_first + 2});
    w.must(Call::frame_reclaim, {sel::domain, space, 0});
    EXPECT_EQ(root(Call::frame_reclaim, {sel::domain, top, 0}), Error::again);
    EXPECT_EQ(root(Call::frame_reclaim, {sel::domain, top, 128}), Error::bad_argument);
    EXPECT_EQ(root(Call::frame_reclaim, {sel::domain, top, 127}), Error::ok);
}

// thread 1's context, lent to the root task as server, while thread 4 runs.
TEST_F(Reach, LentTimeOfAStoppedClientStays) {
    w.start(sel::thread1);
    running(Call::call, {sel::endpoint0, 1, 2, 3, 4});
    running(Call::receive, {sel::endpoint0});
    ASSERT_EQ(sched_contexts[w.object(sel::sc1)].running, w.object(sel::thread0));
    w.start(sel::thread4);
    ASSERT_EQ(cores[0].thread, w.object(sel::thread4));
    w.must(Call::thread_stop, {sel::thread1});
    EXPECT_EQ(running(Call::frame_reclaim, {sel::domain, w.object(sel::sc1), 0}), Error::again);
}

TEST_F(Reach, ATimeThatIsUsedUpEnds) {
    w.must(Call::frame_reclaim, {sel::domain, w.object(sel::sc1), 0});
    w.must(Call::sc_create, {pool_first, sel::free, sel::first_core, 3, 5'000});
    w.must(Call::sc_bind, {sel::free, sel::thread1});
    w.must(Call::core_window, {sel::first_core, 0, 20'000, 0xffff});
    w.must(Call::core_schedule, {sel::first_core, 1});
    w.start(sel::thread1);
    time_is(shell.now + 3'000);
    EXPECT_EQ(sched_contexts[pool_first].left, 2'000u);
    EXPECT_EQ(running(Call::core_schedule, {sel::first_core, 1}), Error::ok); // full again
    time_is(shell.now + 5'000);
    ASSERT_NE(cores[0].exhausted, 0u);
    w.must(Call::thread_stop, {sel::thread1});
    w.must(Call::frame_reclaim, {sel::domain, pool_first, 0});
    EXPECT_EQ(cores[0].exhausted, 0u);
}

TEST_F(Reach, ExitCodeAndFault) {
    w.start(sel::thread1);
    running(Call::thread_exit, {77});
    EXPECT_EQ(w.must(Call::thread_info, {sel::thread1, 0}).values.v[2], 77u);
    w.start(sel::thread1);
    w.s.fault(0, 14, 6, 0x1234);
    EXPECT_EQ(w.must(Call::thread_info, {sel::thread1, 0}).values.v[2], 6u);
    EXPECT_EQ(w.must(Call::thread_info, {sel::thread1, 2}).values.v[3], 1u);
    w.must(Call::frame_reclaim, {sel::domain, w.object(sel::sc1), 0});
    w.must(Call::sc_create, {pool_first, sel::free, sel::first_core, 3, 0});
    EXPECT_EQ(root(Call::sc_bind, {sel::free, sel::thread1}), Error::wrong_state);
}

TEST_F(Reach, APartOfARangeHasNoMoreRightsThanTheWhole) {
    w.must(Call::cap_mint, {sel::ports, sel::free, right::write, 0});
    w.must(Call::ports_create, {pool_first, sel::free + 1, sel::free, 0x100, 0x10f});
    EXPECT_EQ(w.must(Call::cap_info, {sel::free + 1}).values.v[1], u64{right::write});
    EXPECT_EQ(root(Call::port_in, {sel::free + 1, 0x100, 1}), Error::no_right);
}

} // namespace horos::test
