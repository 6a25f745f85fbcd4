// What one core does while another still runs a thread that was just taken away from it: the
// interrupt that tells the other core is under way, its user program can make one more call.
#include "support/check.hpp"
#include "support/scenario.hpp"
#include "support/transitions.hpp"
#include <gtest/gtest.h>

namespace horos::test {

struct Races : testing::Test {
    Scenario w;

    void SetUp() override {
        w.build();
        w.start(sel::thread3);
        arrive(1);
        ASSERT_EQ(cores[1].thread, w.object(sel::thread3));
    }
    void TearDown() override { EXPECT_NO_THROW(check_invariants()); }

    // The interrupt from the other core arrives.
    void arrive(u32 core) {
        if (shell.cores[core].reschedule)
            w.s.reschedule(core);
    }
    void run_thread2() {
        w.start(sel::thread2);
        arrive(1);
        ASSERT_EQ(cores[1].thread, w.object(sel::thread2));
    }
    Outcome by(u32 core, Call call, const Registers6& a) { return w.s.call(core, call, a); }
};

TEST_F(Races, CallOfAThreadThatWasStoppedDoesNotReachTheServer) {
    EXPECT_FALSE(by(1, Call::receive, {sel::endpoint1}).known);
    run_thread2();
    w.must(Call::thread_stop, {sel::thread2});
    by(1, Call::call, {sel::endpoint1, 1, 2, 3, 4});
    EXPECT_NO_THROW(check_invariants());
    EXPECT_EQ(threads[w.object(sel::thread2)].state, ThreadState::stopped);
    EXPECT_EQ(threads[w.object(sel::thread3)].state, ThreadState::wait_receive);
}

TEST_F(Races, AStoppedThreadStaysStoppedWhateverItCalls) {
    const struct {
        Call call;
        Registers6 arguments;
    } calls[] = {{Call::wait, {sel::note1, no_deadline}},
                 {Call::receive, {sel::endpoint1}},
                 {Call::reply_receive, {sel::endpoint1}},
                 {Call::call, {sel::endpoint1}},
                 {Call::thread_exit, {1}},
                 {Call::vcpu_run, {sel::vcpu1}}};
    const Frame thread = w.object(sel::thread2);
    for (const auto& c : calls) {
        run_thread2();
        w.must(Call::thread_stop, {sel::thread2});
        by(1, c.call, c.arguments);
        EXPECT_EQ(threads[thread].state, ThreadState::stopped) << static_cast<u32>(c.call);
        EXPECT_NO_THROW(check_invariants()) << static_cast<u32>(c.call);
        arrive(1);
        w.must(Call::thread_start, {sel::thread2, 0x1000, 0x1000, 0, 0});
        arrive(1);
        w.must(Call::thread_stop, {sel::thread2});
        arrive(1);
    }
}

TEST_F(Races, TimeIsNotTakenAwayWhileAnotherThreadStillRunsOnIt) {
    EXPECT_FALSE(by(1, Call::receive, {sel::endpoint1}).known);
    run_thread2();
    EXPECT_FALSE(by(1, Call::call, {sel::endpoint1, 1, 2, 3, 4}).known);
    ASSERT_EQ(cores[1].thread, w.object(sel::thread3)); // the server, on its client's time
    w.must(Call::thread_stop, {sel::thread3});
    w.must(Call::thread_stop, {sel::thread2});
    const Outcome out = by(0, Call::frame_reclaim, {sel::domain, w.object(sel::sc2), 0});
    EXPECT_EQ(out.error, Error::again);
    EXPECT_NO_THROW(check_invariants());
    arrive(1);
    EXPECT_TRUE(by(0, Call::frame_reclaim, {sel::domain, w.object(sel::sc2), 0}).ok());
}

// Stops thread 2 while it runs its guest on core 1.
struct StoppedGuest : Races {
    void SetUp() override {
        Races::SetUp();
        run_thread2();
        const Frame page = vcpus[w.object(sel::vcpu1)].state;
        journal_begin();
        state_pages[page].state.deadline = shell.now + 5'000;
        state_pages[page].state.dirty |= group::events;
        w.s.guest = [this](u32, svm::Vmcb& b) {
            w.s.guest = nullptr;
            w.must(Call::thread_stop, {sel::thread2});
            journal_begin();
            b.control.exit_code = 0x60;
        };
        shell.take_interrupt = [](u32 core) { core_reschedule(core); };
        by(1, Call::vcpu_run, {sel::vcpu1});
        shell.cores[1].reschedule = false;
        ASSERT_EQ(threads[w.object(sel::thread2)].state, ThreadState::stopped);
        ASSERT_NE(threads[w.object(sel::thread2)].vcpu, 0u);
        EXPECT_NO_THROW(check_invariants());
    }
};

TEST_F(StoppedGuest, SignalToAThreadWithoutTimeIsHarmless) {
    w.must(Call::frame_reclaim, {sel::domain, w.object(sel::sc2), 0});
    EXPECT_NO_THROW(w.must(Call::signal, {sel::note2, 1}));
}

TEST_F(StoppedGuest, DeadlineOfTheGuestDoesNotEndALaterWait) {
    run_thread2();
    EXPECT_NO_THROW(check_invariants());
    EXPECT_FALSE(by(1, Call::wait, {sel::note1, no_deadline}).known);
    shell.now += 10'000;
    w.s.timer(1);
    EXPECT_EQ(threads[w.object(sel::thread2)].state, ThreadState::wait_notification);
}

TEST_F(StoppedGuest, DoesNotGoOnOnAnotherCore) {
    w.must(Call::frame_reclaim, {sel::domain, w.object(sel::sc2), 0});
    w.must(Call::sc_create, {w.take_frame(), sel::free, sel::first_core, 1, 0});
    EXPECT_EQ(by(0, Call::sc_bind, {sel::free, sel::thread2}).error, Error::wrong_core);
    EXPECT_NO_THROW(check_invariants());
}

TEST_F(StoppedGuest, IsRunByNobodyElse) {
    ASSERT_EQ(cores[1].thread, w.object(sel::thread3));
    EXPECT_EQ(by(1, Call::vcpu_run, {sel::vcpu1}).error, Error::busy);
}

TEST_F(StoppedGuest, GoesOnWhereItWas) {
    w.must(Call::thread_resume, {sel::thread2});
    const u64 entries = w.s.guest_entries;
    arrive(1);
    EXPECT_EQ(w.s.guest_entries, entries + 1);
    EXPECT_EQ(cores[1].thread, w.object(sel::thread2));
    EXPECT_EQ(Simulation::answer_of(cores[1].thread).values.v[0],
              static_cast<u64>(ExitReason::vmcall));
}

} // namespace horos::test
