// Capabilities: copies with fewer rights, badges, moving, giving and taking; what a mapping and a
// port range may be.
#include "support/check.hpp"
#include "support/scenario.hpp"
#include <gtest/gtest.h>

namespace horos::test {

struct Caps : testing::Test {
    Scenario w;
    void SetUp() override { w.build(); }
    void TearDown() override { EXPECT_NO_THROW(check_invariants()); }
    Error root(Call call, const Registers6& a) { return w.s.call(0, call, a).error; }
};

TEST_F(Caps, CopiesHaveNoMoreRightsAndOneBadge) {
    w.must(Call::cap_mint, {sel::note1, sel::free, right::write | right::grant, 5});
    const Outcome info = w.s.call(0, Call::cap_info, {sel::free});
    EXPECT_EQ(info.values.v[0], static_cast<u64>(ObjectType::notification));
    EXPECT_EQ(info.values.v[1], right::write | right::grant);
    EXPECT_EQ(info.values.v[2], 5u);
    EXPECT_EQ(info.values.v[3], w.object(sel::note1));
    EXPECT_EQ(root(Call::cap_mint, {sel::free, sel::free + 1, right::all, 0}), Error::bad_rights);
    EXPECT_EQ(root(Call::cap_mint, {sel::free, sel::free + 1, 0, 0}), Error::bad_rights);
    EXPECT_EQ(root(Call::cap_mint, {sel::free, sel::free + 1, right::write, 6}),
              Error::bad_argument);
    EXPECT_EQ(root(Call::cap_mint, {sel::free, sel::note1, right::write, 0}), Error::slot_taken);
    EXPECT_EQ(root(Call::cap_mint, {sel::free, sel::free + 1, right::write, 0}), Error::ok);
    w.must(Call::signal, {sel::free + 1, 0xff}); // the badge's bits, not these
    EXPECT_EQ(notifications[w.object(sel::note1)].bits, 5u);
}

TEST_F(Caps, MovingLeavesNothingBehind) {
    EXPECT_EQ(root(Call::cap_move, {sel::note1, sel::note2}), Error::slot_taken);
    w.must(Call::cap_move, {sel::note1, sel::free});
    EXPECT_EQ(root(Call::cap_info, {sel::note1}), Error::no_capability);
    EXPECT_EQ(root(Call::signal, {sel::free, 1}), Error::ok);
    w.must(Call::cap_delete, {sel::free});
    EXPECT_EQ(root(Call::cap_delete, {sel::free}), Error::no_capability);
}

TEST_F(Caps, GivingNeedsTheGrantRight) {
    w.must(Call::cap_mint, {sel::note1, sel::free, right::all & ~right::grant, 0});
    EXPECT_EQ(root(Call::cap_give, {sel::domain1, sel::free, sel::free, 1, 0}), Error::no_right);
    EXPECT_EQ(root(Call::cap_give, {sel::domain1, sel::note1, sel::note1, 1, 0}),
              Error::slot_taken);
    EXPECT_EQ(root(Call::cap_give, {sel::domain1, sel::note1, 300, 1, 0}), Error::no_table);
    w.must(Call::cap_give, {sel::domain1, sel::note1, sel::free, right::write, 9});
    w.must(Call::cap_take, {sel::domain1, sel::free});
    EXPECT_EQ(root(Call::cap_take, {sel::domain1, sel::free}), Error::no_capability);
}

TEST_F(Caps, MappingsAreReadableAndInHostSpacesNotWritableAndExecutable) {
    const Frame f = pool_first;
    EXPECT_EQ(root(Call::map_frame, {sel::space1, 0x1000, f, 7}), Error::bad_rights);
    EXPECT_EQ(root(Call::map_frame, {sel::space1, 0x1000, f, 2}), Error::bad_rights);
    EXPECT_EQ(root(Call::map_frame, {sel::guest, 0x1000, f, 7}), Error::ok);
    EXPECT_EQ(root(Call::map_frame, {sel::guest, 0x1000, f, 7}), Error::already_mapped);
    EXPECT_EQ(root(Call::map_frame, {sel::guest, 0x1234, f, 1}), Error::bad_address);
    EXPECT_EQ(root(Call::map_frame, {sel::guest, u64{1} << 48, f, 1}), Error::bad_address);
    EXPECT_EQ(root(Call::map_frame, {sel::space1, u64{1} << 47, f, 1}), Error::bad_address);
    EXPECT_EQ(root(Call::map_frame, {sel::guest, 0x4000'0000, f, 1}), Error::table_missing);
    EXPECT_EQ(root(Call::map_block, {sel::guest, 0x20'0000, root_block, 3}), Error::ok);
    EXPECT_EQ(root(Call::map_frame, {sel::guest, 0x20'0000, f, 1}), Error::already_mapped);
    EXPECT_EQ(root(Call::unmap, {sel::guest, 0x20'0000, 1}), Error::not_mapped);
    EXPECT_EQ(root(Call::block_split, {root_block}), Error::frame_in_use);
    EXPECT_EQ(root(Call::block_give, {sel::domain1, root_block}), Error::frame_in_use);
    EXPECT_EQ(root(Call::table_unmap, {sel::guest, 0, 1}), Error::table_in_use);
    EXPECT_EQ(root(Call::unmap, {sel::guest, 0x20'0000, 2}), Error::ok);
    EXPECT_EQ(root(Call::unmap, {sel::guest, 0x1000, 1}), Error::ok);
    EXPECT_EQ(root(Call::table_unmap, {sel::guest, 0, 1}), Error::ok);
    EXPECT_EQ(root(Call::unmap, {sel::guest, 0x1000, 1}), Error::table_missing);
}

TEST_F(Caps, DevicesOfTheKernelAreNobodys) {
    for (const u64 page : {0xfee00, 0xfec00, 300})
        EXPECT_EQ(root(Call::map_mmio, {sel::space1, 0x1000, sel::mmio, page, 1}),
                  Error::bad_argument);
    EXPECT_EQ(root(Call::map_mmio, {sel::space1, 0x1000, sel::mmio_part, 16, 1}),
              Error::bad_argument); // beyond the range
    EXPECT_EQ(root(Call::map_mmio, {sel::space1, 0x1000, sel::mmio_part, 15, 5}),
              Error::bad_rights);
    EXPECT_EQ(root(Call::map_mmio, {sel::space1, 0x1000, sel::mmio_part, 15, 3}), Error::ok);
    for (const u64 port : {0x20, 0x21, 0xa0, 0xa1, 0x1f})
        EXPECT_EQ(root(Call::port_in, {sel::ports, port, port == 0x1f ? u64{2} : 1}),
                  Error::port_denied);
    EXPECT_EQ(root(Call::port_in, {sel::ports_part, 0x3ff, 2}), Error::port_denied);
    EXPECT_EQ(root(Call::port_in, {sel::ports_part, 0x3fe, 2}), Error::ok);
    EXPECT_EQ(root(Call::port_in, {sel::ports_part, 0x3fc, 3}), Error::bad_argument);
    EXPECT_EQ(root(Call::ports_create, {pool_first, sel::free, sel::ports_part, 0x3f8, 0x400}),
              Error::port_denied);
    EXPECT_EQ(
        root(Call::irq_create, {pool_first, sel::free, sel::irq_control, sel::first_core, 4, 0}),
        Error::irq_taken);
    EXPECT_EQ(root(Call::irq_create,
                   {pool_first, sel::free, sel::irq_control, sel::first_core, missing_line, 0}),
              Error::irq_taken);
}

TEST_F(Caps, ALevelInterruptComesOnceUntilItIsAcknowledged) {
    EXPECT_EQ(root(Call::irq_ack, {sel::irq}), Error::wrong_state);
    w.s.interrupt(0, 0x34);
    EXPECT_TRUE(shell.line_masked[4]);
    EXPECT_EQ(notifications[w.object(sel::note1)].bits, 8u);
    EXPECT_EQ(root(Call::irq_ack, {sel::irq}), Error::ok);
    EXPECT_FALSE(shell.line_masked[4]);
    EXPECT_EQ(root(Call::irq_bind, {sel::irq, sel::note2, 1}), Error::busy);
    w.must(Call::frame_reclaim, {sel::domain, w.object(sel::irq), 0});
    EXPECT_TRUE(shell.line_masked[4]);
    w.s.interrupt(0, 0x34); // nobody's
}

} // namespace horos::test
