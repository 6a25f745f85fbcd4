// Windows, budgets, priorities and deadlines, with a clock that the test moves.
#include "support/check.hpp"
#include "support/scenario.hpp"
#include <gtest/gtest.h>

namespace horos::test {

struct Sched : testing::Test {
    Scenario w;
    void SetUp() override { w.build(); }
    void TearDown() override { EXPECT_NO_THROW(check_invariants()); }
    Frame running(u32 core = 0) { return cores[core].thread; }
    void timer_at(u64 time) {
        shell.now = time;
        w.s.timer(0);
        EXPECT_NO_THROW(check_invariants());
    }
    Error root(Call call, const Registers6& a) { return w.s.call(0, call, a).error; }
};

TEST_F(Sched, TheLowerPositionRunsFirst) {
    w.start(sel::thread1); // position 3 against root's 15
    EXPECT_EQ(running(), w.object(sel::thread1));
    w.must(Call::thread_start, {sel::thread4, 1, 1, 0, 0}); // position 2
    EXPECT_EQ(running(), w.object(sel::thread4));
    w.must(Call::thread_stop, {sel::thread4});
    EXPECT_EQ(running(), w.object(sel::thread1));
    w.must(Call::thread_stop, {sel::thread1});
    EXPECT_EQ(running(), w.object(sel::thread0));
}

TEST_F(Sched, AnotherCoreIsToldToLookAgain) {
    w.start(sel::thread2);
    EXPECT_TRUE(shell.cores[1].reschedule);
    EXPECT_EQ(running(1), 0u);
    w.s.reschedule(1);
    EXPECT_EQ(running(1), w.object(sel::thread2));
}

TEST_F(Sched, WindowsFollowEachOther) {
    w.must(Call::core_window, {sel::first_core, 0, 20'000, 1u << 15});
    w.must(Call::core_window, {sel::first_core, 1, 30'000, 1u << 3});
    w.must(Call::core_window, {sel::first_core, 2, 10'000, 0});
    const u64 start = shell.now;
    w.must(Call::core_schedule, {sel::first_core, 3});
    EXPECT_EQ(shell.cores[0].timer, start + 20'000);
    w.start(sel::thread1); // more urgent, but not in this window
    EXPECT_EQ(running(), w.object(sel::thread0));
    timer_at(start + 20'000);
    EXPECT_EQ(running(), w.object(sel::thread1));
    EXPECT_EQ(shell.cores[0].timer, start + 50'000);
    timer_at(start + 50'007); // late
    EXPECT_EQ(running(), 0u);
    EXPECT_EQ(shell.cores[0].timer, start + 60'000); // but the next one is not
    timer_at(start + 60'000);
    EXPECT_EQ(running(), w.object(sel::thread0));
    w.must(Call::core_schedule, {sel::first_core, 0});
    EXPECT_EQ(running(), w.object(sel::thread1));
    EXPECT_EQ(shell.cores[0].timer, no_deadline);
}

TEST_F(Sched, LostWindowsAreNotMadeUpFor) {
    w.must(Call::core_window, {sel::first_core, 0, 20'000, 0xffff});
    w.must(Call::core_schedule, {sel::first_core, 1});
    timer_at(shell.now + 100'000'000);
    EXPECT_GT(shell.cores[0].timer, shell.now);
    EXPECT_LE(shell.cores[0].timer, shell.now + 20'000);
}

TEST_F(Sched, AFewMissedWindowsDoNotMoveTheOthers) {
    w.must(Call::core_window, {sel::first_core, 0, 20'000, 1u << 15});
    w.must(Call::core_window, {sel::first_core, 1, 30'000, 1u << 3});
    const u64 start = shell.now;
    w.must(Call::core_schedule, {sel::first_core, 2});
    w.start(sel::thread1);
    timer_at(start + 5 * 50'000 + 20'001); // eleven have ended
    EXPECT_EQ(running(), w.object(sel::thread1));
    EXPECT_EQ(shell.cores[0].timer, start + 6 * 50'000);
    timer_at(start + 14 * 50'000 + 1); // seventeen, of which 16 are followed
    EXPECT_EQ(shell.cores[0].timer, shell.now + 30'000);
    EXPECT_EQ(cores[0].windows_late, 0u);
}

TEST_F(Sched, ABudgetEndsAndComesBackWithTheMajorFrame) {
    w.must(Call::frame_reclaim, {sel::domain, w.object(sel::sc1), 0});
    w.must(Call::sc_create, {pool_first, sel::free, sel::first_core, 3, 5'000});
    w.must(Call::sc_bind, {sel::free, sel::thread1});
    w.must(Call::core_window, {sel::first_core, 0, 20'000, 0xffff});
    const u64 start = shell.now;
    w.must(Call::core_schedule, {sel::first_core, 1});
    w.start(sel::thread1);
    EXPECT_EQ(running(), w.object(sel::thread1));
    EXPECT_EQ(shell.cores[0].timer, start + 5'000);
    timer_at(start + 5'000);
    EXPECT_EQ(running(), w.object(sel::thread0));
    timer_at(start + 20'000);
    EXPECT_EQ(running(), w.object(sel::thread1));
    EXPECT_EQ(threads[w.object(sel::thread1)].time_used, 5'000u);
}

TEST_F(Sched, DeadlinesEndWaits) {
    w.start(sel::thread1);
    EXPECT_EQ(root(Call::wait, {sel::note1, shell.now}), Error::timeout);
    const u64 deadline = shell.now + 1'000;
    EXPECT_FALSE(w.s.call(0, Call::wait, {sel::note1, deadline}).known);
    EXPECT_EQ(shell.cores[0].timer, deadline);
    EXPECT_EQ(root(Call::wait, {sel::note1, no_deadline}), Error::busy);
    timer_at(deadline);
    EXPECT_EQ(running(), w.object(sel::thread1));
    EXPECT_EQ(Simulation::answer_of(running()).error, Error::timeout);
    EXPECT_EQ(cores[0].timed, 0u);
}

TEST_F(Sched, ASignalEndsAWaitAndItsDeadline) {
    w.start(sel::thread1);
    w.s.call(0, Call::wait, {sel::note1, shell.now + 1'000});
    w.must(Call::signal, {sel::note1, 6});
    EXPECT_EQ(running(), w.object(sel::thread1));
    EXPECT_EQ(Simulation::answer_of(running()).values.v[0], 6u);
    EXPECT_EQ(notifications[w.object(sel::note1)].bits, 0u);
    EXPECT_EQ(cores[0].timed, 0u);
    w.s.call(0, Call::wait, {sel::note1, no_deadline});
    w.must(Call::frame_reclaim, {sel::domain, w.object(sel::irq), 0}); // it refers to it
    w.must(Call::frame_reclaim, {sel::domain, w.object(sel::note1), 0});
    EXPECT_EQ(Simulation::answer_of(running()).error, Error::dead);
}

TEST_F(Sched, BadWindowsAndPositions) {
    EXPECT_EQ(root(Call::core_window, {sel::first_core, 16, 20'000, 1}), Error::bad_window);
    EXPECT_EQ(root(Call::core_window, {sel::first_core, 0, 9'999, 1}), Error::bad_window);
    EXPECT_EQ(root(Call::core_window, {sel::first_core, 0, u64{1} << 48, 1}), Error::bad_window);
    EXPECT_EQ(root(Call::core_schedule, {sel::first_core, 17}), Error::bad_window);
    EXPECT_EQ(root(Call::core_schedule, {sel::first_core, 1}), Error::bad_window); // not set
    EXPECT_EQ(root(Call::sc_create, {pool_first, sel::free, sel::first_core, 3, 0}),
              Error::bad_slot);
    EXPECT_EQ(root(Call::sc_create, {pool_first, sel::free, sel::first_core, 16, 0}),
              Error::bad_slot);
    cores[1].online = 0;
    EXPECT_EQ(root(Call::core_schedule, {sel::first_core + 1, 0}), Error::bad_core);
    cores[1].online = 1;
    EXPECT_EQ(root(Call::sc_bind, {sel::sc1, sel::thread1}), Error::busy);
}

} // namespace horos::test
