// Calls, queues, answers, and partners that go away.
#include "support/check.hpp"
#include "support/scenario.hpp"
#include <gtest/gtest.h>

namespace horos::test {

// Threads of core 0: the server (position 2), a client (position 3), root (position 15).
struct Ipc : testing::Test {
    Scenario w;
    Frame root = 0, client = 0, server = 0;

    void SetUp() override {
        w.build();
        root = w.object(sel::thread0);
        client = w.object(sel::thread1);
        server = w.object(sel::thread4);
    }
    void TearDown() override { EXPECT_NO_THROW(check_invariants()); }
    Outcome now(Call call, const Registers6& a) {
        const Outcome out = w.s.call(0, call, a);
        EXPECT_NO_THROW(check_invariants());
        return out;
    }
    Frame running() { return cores[0].thread; }
    void server_waits() {
        w.start(sel::thread4);
        ASSERT_EQ(running(), server);
        EXPECT_FALSE(now(Call::receive, {sel::endpoint0}).known);
    }
    void client_runs() {
        w.start(sel::thread1);
        ASSERT_EQ(running(), client);
    }
};

TEST_F(Ipc, WordsGoThereAndBackOnTheClientsTime) {
    server_waits();
    client_runs();
    EXPECT_FALSE(now(Call::call, {sel::endpoint0, 1, 2, 3, 4}).known);
    EXPECT_EQ(running(), server);
    EXPECT_EQ(cores[0].context, w.object(sel::sc1));
    const Outcome request = Simulation::answer_of(server);
    EXPECT_EQ(request.error, Error::ok);
    for (u32 i = 0; i < 5; ++i)
        EXPECT_EQ(request.values.v[i], i); // badge 0, then the words
    now(Call::reply_receive, {sel::endpoint0, 5, 6, 7, 8});
    EXPECT_EQ(running(), client);
    const Outcome answer = Simulation::answer_of(client);
    for (u32 i = 0; i < 4; ++i)
        EXPECT_EQ(answer.values.v[i], 5 + i);
    EXPECT_EQ(threads[server].state, ThreadState::wait_receive);
}

TEST_F(Ipc, BadgeOfTheCapabilityIsToldAndWordsAreKeptWhileQueueing) {
    w.must(Call::cap_mint, {sel::endpoint0, sel::free, right::all, 77});
    w.must(Call::cap_give, {sel::domain1, sel::free, sel::free, right::write, 0});
    client_runs();
    EXPECT_FALSE(now(Call::call, {sel::free, 9, 8, 7, 6}).known);
    EXPECT_EQ(running(), root);
    EXPECT_EQ(threads[client].state, ThreadState::wait_call);
    w.start(sel::thread4);
    now(Call::receive, {sel::endpoint0});
    EXPECT_EQ(running(), server);
    const Outcome request = Simulation::answer_of(server);
    EXPECT_EQ(request.values.v[0], 77u);
    EXPECT_EQ(request.values.v[1], 9u);
    EXPECT_EQ(request.values.v[4], 6u);
    EXPECT_TRUE(now(Call::reply, {1, 2, 3, 4}).ok());
    EXPECT_EQ(running(), server); // more urgent than its client, on its own time again
}

TEST_F(Ipc, TheMostUrgentCallerIsServedFirst) {
    client_runs(); // position 3
    now(Call::call, {sel::endpoint0, 3});
    now(Call::thread_start, {sel::thread4, 1, 1, 0, 0}); // position 2
    ASSERT_EQ(running(), server);
    now(Call::call, {sel::endpoint0, 2});
    ASSERT_EQ(running(), root);
    now(Call::receive, {sel::endpoint0});
    ASSERT_EQ(running(), root);
    EXPECT_EQ(Simulation::answer_of(root).values.v[1], 2u);
    now(Call::reply_receive, {sel::endpoint0});
    EXPECT_EQ(running(), server);
}

TEST_F(Ipc, CallsOfAnotherCoreAreRefused) {
    server_waits();
    w.start(sel::thread3);
    w.s.reschedule(1);
    EXPECT_EQ(w.s.call(1, Call::call, {sel::endpoint0}).error, Error::wrong_core);
    EXPECT_EQ(w.s.call(1, Call::receive, {sel::endpoint0}).error, Error::wrong_core);
}

TEST_F(Ipc, SecondServerIsRefused) {
    server_waits();
    EXPECT_EQ(now(Call::receive, {sel::endpoint0}).error, Error::busy);
    EXPECT_EQ(now(Call::reply, {}).error, Error::wrong_state); // it serves nobody
}

TEST_F(Ipc, AServerDoesNotCallOrRunGuests) {
    server_waits();
    client_runs();
    now(Call::call, {sel::endpoint0});
    ASSERT_EQ(running(), server);
    EXPECT_EQ(now(Call::call, {sel::endpoint1}).error, Error::wrong_state);
    EXPECT_EQ(now(Call::receive, {sel::endpoint1}).error, Error::wrong_state);
    EXPECT_EQ(now(Call::vcpu_run, {sel::vcpu1}).error, Error::wrong_state);
}

TEST_F(Ipc, AClientThatIsStoppedLeavesTheServerRunning) {
    server_waits();
    client_runs();
    now(Call::call, {sel::endpoint0});
    ASSERT_EQ(running(), server);
    now(Call::thread_stop, {sel::thread1});
    EXPECT_EQ(running(), server);
    EXPECT_EQ(now(Call::thread_resume, {sel::thread1}).error, Error::again);
    EXPECT_EQ(now(Call::frame_reclaim, {sel::domain, w.object(sel::sc1), 0}).error, Error::again);
    EXPECT_EQ(now(Call::reply, {}).error, Error::dead);
    EXPECT_EQ(running(), server);
    EXPECT_TRUE(now(Call::thread_resume, {sel::thread1}).ok());
    EXPECT_EQ(Simulation::answer_of(client).error, Error::dead);
}

TEST_F(Ipc, AServerThatStopsAnswersDead) {
    server_waits();
    client_runs();
    now(Call::call, {sel::endpoint0});
    ASSERT_EQ(running(), server);
    now(Call::thread_exit, {3});
    EXPECT_EQ(running(), client);
    EXPECT_EQ(Simulation::answer_of(client).error, Error::dead);
    EXPECT_EQ(notifications[w.object(sel::note3)].bits, 4u); // its monitor was told
}

TEST_F(Ipc, AFaultOfTheServerAnswersDead) {
    server_waits();
    client_runs();
    now(Call::call, {sel::endpoint0});
    w.s.fault(0, 14, 2, 0x1234);
    EXPECT_EQ(running(), client);
    EXPECT_EQ(Simulation::answer_of(client).error, Error::dead);
    const Outcome info = now(Call::thread_info, {sel::thread4, 0});
    EXPECT_EQ(info.values.v[0], static_cast<u64>(ThreadState::faulted));
    EXPECT_EQ(info.values.v[1], 14u);
    EXPECT_EQ(info.values.v[2], 2u);
    EXPECT_EQ(info.values.v[3], 0x1234u);
}

TEST_F(Ipc, AnEndpointThatGoesAwayAnswersDead) {
    client_runs();
    now(Call::call, {sel::endpoint0});
    w.must(Call::frame_reclaim, {sel::domain, w.object(sel::endpoint0), 0});
    EXPECT_EQ(running(), client);
    EXPECT_EQ(Simulation::answer_of(client).error, Error::dead);
    EXPECT_EQ(now(Call::call, {sel::endpoint0}).error, Error::stale);
}

// The ways of entry.S's own for calls to a waiting server and answers to the only client.
TEST_F(Ipc, AWaitingServerIsToldTheBadge) {
    w.must(Call::cap_mint, {sel::endpoint0, sel::free, right::all, 77});
    w.must(Call::cap_give, {sel::domain1, sel::free, sel::free, right::write, 0});
    server_waits();
    client_runs();
    EXPECT_FALSE(now(Call::call, {sel::free, 1, 2, 3, 4}).known);
    EXPECT_EQ(running(), server);
    EXPECT_EQ(Simulation::answer_of(server).values.v[0], 77u);
}

TEST_F(Ipc, RightsAreNeededAlsoWhereAServerWaits) {
    w.must(Call::cap_give, {sel::domain1, sel::endpoint0, sel::free, right::read, 0});
    w.must(Call::cap_mint, {sel::endpoint0, sel::free + 1, right::write, 0});
    server_waits();
    client_runs();
    EXPECT_EQ(now(Call::call, {sel::free}).error, Error::no_right);
    now(Call::call, {sel::endpoint0});
    ASSERT_EQ(running(), server);
    EXPECT_EQ(now(Call::reply_receive, {sel::free + 1}).error, Error::no_right);
    EXPECT_EQ(threads[server].client, client); // which is not answered
}

TEST_F(Ipc, ACapabilityToWhatWasThereBeforeIsStaleAlsoWhereAServerWaits) {
    const Frame endpoint = w.object(sel::endpoint0);
    w.must(Call::frame_reclaim, {sel::domain, endpoint, 0});
    w.must(Call::endpoint_create, {endpoint, sel::free});
    w.start(sel::thread4);
    now(Call::receive, {sel::free});
    client_runs();
    EXPECT_EQ(now(Call::call, {sel::endpoint0}).error, Error::stale);
}

TEST_F(Ipc, AServerNeitherCallsAServerNorTakesItsPlace) {
    server_waits();
    client_runs();
    now(Call::receive, {sel::endpoint1});
    ASSERT_EQ(running(), root);
    now(Call::call, {sel::endpoint0});
    ASSERT_EQ(running(), server);
    EXPECT_EQ(now(Call::call, {sel::endpoint1}).error, Error::wrong_state);
    EXPECT_EQ(now(Call::reply_receive, {sel::endpoint1}).error, Error::busy);
    EXPECT_EQ(endpoints[w.object(sel::endpoint1)].server, client);
    EXPECT_EQ(threads[server].client, root);
}

TEST_F(Ipc, AnAnswerBindsTheEndpointAtWhichTheServerWaitsThen) {
    server_waits();
    client_runs();
    now(Call::call, {sel::endpoint0});
    ASSERT_EQ(running(), server);
    EXPECT_FALSE(now(Call::reply_receive, {sel::endpoint1}).known);
    EXPECT_EQ(running(), client);
    w.start(sel::thread3);
    w.s.reschedule(1);
    EXPECT_EQ(w.s.call(1, Call::call, {sel::endpoint1}).error, Error::wrong_core);
}

TEST_F(Ipc, AnAnswerDoesNotWaitAtAnEndpointOfAnotherCore) {
    w.start(sel::thread3);
    w.s.reschedule(1);
    EXPECT_FALSE(w.s.call(1, Call::receive, {sel::endpoint1}).known);
    now(Call::thread_stop, {sel::thread3}); // nobody waits there now, but it stays core 1's
    server_waits();
    client_runs();
    now(Call::call, {sel::endpoint0});
    ASSERT_EQ(running(), server);
    EXPECT_EQ(now(Call::reply_receive, {sel::endpoint1}).error, Error::wrong_core);
    EXPECT_EQ(threads[server].client, client);
}

TEST_F(Ipc, AnAnswerLooksWhoShouldRunWhenThatWasAskedFor) {
    server_waits();
    client_runs();
    now(Call::call, {sel::endpoint0});
    ASSERT_EQ(running(), server);
    cores[0].reschedule = 1;
    now(Call::reply_receive, {sel::endpoint0});
    EXPECT_EQ(cores[0].reschedule, 0);
    EXPECT_EQ(running(), client);
}

} // namespace horos::test
