// Taking back a whole partition, step by step, as its restart does; and revocation.
#include "kernel/core/frames.hpp"
#include "support/check.hpp"
#include "support/scenario.hpp"
#include <gtest/gtest.h>

namespace horos::test {

struct Reclaim : testing::Test {
    Scenario w;
    void SetUp() override { w.build(); }
    void TearDown() override { EXPECT_NO_THROW(check_invariants()); }
    Error root(Call call, const Registers6& a) { return w.s.call(0, call, a).error; }
    Error take(Frame f, u64 step = 0) { return root(Call::frame_reclaim, {sel::domain, f, step}); }

    // Takes a frame back, a page table in its steps.
    Error take_all(Frame f) {
        Error e = Error::again;
        for (u64 step = 0; step < 512 / entries_per_reclaim && e == Error::again; ++step)
            e = take(f, step);
        return e;
    }
};

TEST_F(Reclaim, AllThatTheRootTaskMadeComesBackInAnyOrder) {
    w.start(sel::thread2);
    w.s.reschedule(1);
    w.must(Call::map_frame, {sel::space1, 0x3000, pool_first, 3});
    w.must(Call::map_frame, {sel::guest, 0x5000, pool_first, 7});
    w.must(Call::map_block, {sel::guest, 0x20'0000, root_block, 7});
    w.must(Call::space_io_map, {sel::guest, pool_first + 4});
    w.must(Call::space_msr_map, {sel::guest, pool_first + 8});
    w.must(Call::thread_stop, {sel::thread2});
    w.s.reschedule(1);
    for (u32 i = 0; i < 40; ++i)
        EXPECT_EQ(root(Call::frame_reclaim, {sel::domain1, domain1_first + i, 0}), Error::ok);
    for (u32 i = 0; i < 40; ++i)
        EXPECT_EQ(root(Call::frame_reclaim, {sel::domain2, domain2_first + i, 0}), Error::ok);
    EXPECT_EQ(root(Call::block_reclaim, {sel::domain1, domain1_block}), Error::ok);
    const Frame keep = domains[w.s.root.domain].tables[1]; // root's second table
    for (u32 pass = 0; pass < 6; ++pass) {
        for (Frame f = scenario_first; f < pool_end; ++f) {
            if (f != keep && frames[f].type != ObjectType::ram)
                take_all(f);
            ASSERT_NO_THROW(check_invariants()) << "after frame " << f;
        }
    }
    for (Frame f = scenario_first; f < pool_end; ++f) {
        if (f == keep)
            continue;
        EXPECT_EQ(frames[f].type, ObjectType::ram) << f;
        EXPECT_EQ(frames[f].references + frames[f].mappings, 0) << f;
    }
    EXPECT_EQ(blocks[root_block].mappings, 0u);
}

TEST_F(Reclaim, WhatIsInUseStays) {
    EXPECT_EQ(take(w.object(sel::space1)), Error::frame_in_use);  // its thread refers to it
    EXPECT_EQ(take(w.object(sel::thread1)), Error::frame_in_use); // its time refers to it
    EXPECT_EQ(take(w.object(sel::guest)), Error::frame_in_use);
    EXPECT_EQ(take(w.object(sel::note1)), Error::frame_in_use);
    EXPECT_EQ(take(spaces[w.object(sel::space1)].root), Error::frame_in_use);
    EXPECT_EQ(take(vcpus[w.object(sel::vcpu1)].state), Error::frame_in_use);
    EXPECT_EQ(take(vcpus[w.object(sel::vcpu1)].control), Error::frame_in_use);
    EXPECT_EQ(take(w.object(sel::domain1)), Error::frame_in_use);
    EXPECT_EQ(take(w.s.root.irq_control), Error::wrong_frame_type);
    EXPECT_EQ(take(w.object(sel::sc1) + 0), Error::ok);
    w.start(sel::thread3);
    EXPECT_EQ(take(w.object(sel::sc3)), Error::wrong_state); // it runs
    w.s.reschedule(1);
    w.must(Call::thread_stop, {sel::thread3});
    EXPECT_EQ(take(w.object(sel::sc3)), Error::again); // core 1 has not left it yet
    w.s.reschedule(1);
    EXPECT_EQ(take(w.object(sel::sc3)), Error::ok);
    EXPECT_EQ(take(domain1_first), Error::not_owner);
    EXPECT_EQ(take(0), Error::bad_frame);
    EXPECT_EQ(take(root_block * frames_per_block), Error::block_whole);
    EXPECT_EQ(take(domain1_block * frames_per_block), Error::not_owner);
}

TEST_F(Reclaim, ATableGoesInSteps) {
    w.must(Call::space_create, {pool_first, pool_first + 1, sel::free, 1});
    for (u64 i = 0; i < 3; ++i) // entries in steps 0, 0 and 1 of the top table
        w.must(Call::table_map, {sel::free, (i == 2 ? 7 : i) << 39, 3, pool_first + 2 + i});
    EXPECT_EQ(take(pool_first), Error::ok);
    EXPECT_EQ(take(pool_first + 1, 128), Error::bad_argument);
    EXPECT_EQ(take(pool_first + 1, 5), Error::again);
    EXPECT_EQ(frames[pool_first + 1].live, 3u);
    EXPECT_EQ(take(pool_first + 1, 0), Error::again);
    EXPECT_EQ(frames[pool_first + 1].live, 1u);
    EXPECT_EQ(take(pool_first + 2), Error::ok);
    EXPECT_EQ(take(pool_first + 1, 1), Error::ok);
    EXPECT_EQ(root(Call::cap_info, {sel::free}), Error::stale);
}

TEST_F(Reclaim, RevocationKillsAllCopiesButOne) {
    w.must(Call::cap_mint, {sel::note1, sel::free, right::all, 5});
    w.must(Call::cap_mint, {sel::note1, sel::free + 1, right::write, 0});
    EXPECT_EQ(root(Call::cap_revoke, {sel::free + 1}), Error::no_right);
    w.must(Call::cap_revoke, {sel::free});
    EXPECT_EQ(root(Call::signal, {sel::note1, 1}), Error::stale);
    EXPECT_EQ(root(Call::signal, {sel::free + 1, 1}), Error::stale);
    w.must(Call::signal, {sel::free, 1});
    w.start(sel::thread1); // domain 1 had one too
    EXPECT_EQ(root(Call::signal, {sel::note1, 1}), Error::stale);
    EXPECT_EQ(root(Call::cap_delete, {sel::note1}), Error::ok); // a dead one can be thrown away
}

TEST_F(Reclaim, ASplitBlockBelongsToItsOwnerAndComesBackAsItIs) {
    const Frame f = domain1_block * frames_per_block;
    EXPECT_EQ(root(Call::endpoint_create, {f, sel::free}), Error::not_owner);
    w.start(sel::thread1); // of domain 1; calls on core 0 are its own from now on
    w.must(Call::block_split, {domain1_block});
    EXPECT_EQ(root(Call::block_split, {domain1_block}), Error::block_split);
    w.must(Call::endpoint_create, {f, sel::free});
    w.must(Call::thread_stop, {sel::thread1});
    EXPECT_EQ(take(f), Error::not_owner);
    w.must(Call::block_reclaim, {sel::domain1, domain1_block});
    EXPECT_EQ(frames[f].type, ObjectType::endpoint);
    EXPECT_EQ(take(f), Error::ok);
    w.must(Call::notification_create, {f, sel::free + 1});
}

TEST_F(Reclaim, SharedMemoryEndsWithTheGift) {
    w.must(Call::frame_share, {pool_first, sel::free, right::read | right::grant});
    EXPECT_EQ(root(Call::map_shared, {sel::space1, 0x1000, sel::free, 3}), Error::bad_rights);
    w.must(Call::map_shared, {sel::space1, 0x1000, sel::free, 1});
    EXPECT_EQ(root(Call::frame_give, {sel::domain1, pool_first, 1}), Error::frame_in_use);
    shell.flushed = 0;
    w.must(Call::unmap, {sel::space1, 0x1000, 1});
    w.must(Call::frame_give, {sel::domain1, pool_first, 1});
    EXPECT_EQ(root(Call::map_shared, {sel::space1, 0x1000, sel::free, 1}), Error::stale);
}

TEST_F(Reclaim, UnmapReachesTheCoresThatUseTheSpace) {
    w.start(sel::thread2);
    w.s.reschedule(1);
    w.must(Call::map_frame, {sel::space2, 0x1000, pool_first, 3});
    shell.flushed = 0;
    w.must(Call::unmap, {sel::space2, 0x1000, 1});
    EXPECT_EQ(shell.flushed, 2u); // core 1
    w.must(Call::map_frame, {sel::guest, 0x1000, pool_first, 7});
    const u64 flushes = spaces[w.object(sel::guest)].flushes;
    w.must(Call::unmap, {sel::guest, 0x1000, 1});
    EXPECT_EQ(spaces[w.object(sel::guest)].flushes, flushes + 1);
}

} // namespace horos::test
