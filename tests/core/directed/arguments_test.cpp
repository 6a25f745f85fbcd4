// Arguments outside of their types, for every hypercall, and what every selector argument can
// answer. Nothing may change.
#include "support/check.hpp"
#include "support/scenario.hpp"
#include "support/transitions.hpp"
#include <gtest/gtest.h>
#include <horos/abi/gen/bad_arguments.hpp>

namespace horos::test {

struct Arguments : testing::Test {
    Scenario w;
    void SetUp() override {
        w.build();
        w.s.after_call = check_call;
    }
    Error root(Call call, const Registers6& a) {
        journal_begin();
        remember_state();
        return w.s.call(0, call, a).error;
    }
};

TEST_F(Arguments, OutOfTheirTypes) {
    for (const BadArgument& bad : bad_arguments) {
        Registers6 a{};
        std::copy(std::begin(bad.registers), std::end(bad.registers), a.begin());
        ASSERT_EQ(root(bad.call, a), bad.expected)
            << call_table[static_cast<u32>(bad.call)].name << " argument " << bad.argument;
    }
    EXPECT_NO_THROW(check_invariants());
}

// First selector argument of each call that has one first, with the type it wants.
TEST_F(Arguments, Selectors) {
    const struct {
        Call call;
        u32 good; // a selector of the right type
        Registers6 rest;
    } table[] = {
        {Call::frame_give, sel::domain1, {0, pool_first, 1}},
        {Call::block_give, sel::domain1, {0, root_block}},
        {Call::frame_reclaim, sel::domain, {0, pool_first, 0}},
        {Call::block_reclaim, sel::domain, {0, root_block}},
        {Call::cap_give, sel::domain1, {0, sel::note1, sel::free, 1, 0}},
        {Call::cap_take, sel::domain1, {0, sel::note1}},
        {Call::domain_add_table, sel::domain1, {0, pool_first, 1}},
        {Call::table_map, sel::space1, {0, 0x20'0000, 1, pool_first}},
        {Call::table_unmap, sel::space1, {0, 0, 1}},
        {Call::map_frame, sel::space1, {0, 0x1000, pool_first, 1}},
        {Call::map_block, sel::space1, {0, 0x20'0000, root_block, 1}},
        {Call::map_shared, sel::space1, {0, 0x1000, sel::shared_frame, 1}},
        {Call::map_mmio, sel::space1, {0, 0x1000, sel::mmio_part, 0, 1}},
        {Call::unmap, sel::space1, {0, 0x1000, 1}},
        {Call::thread_start, sel::thread1, {0, 0x1000, 0x1000, 0, 0}},
        {Call::thread_stop, sel::thread1, {0}},
        {Call::thread_resume, sel::thread1, {0}},
        {Call::thread_monitor, sel::thread1, {0, sel::note1, 1}},
        {Call::thread_info, sel::thread1, {0, 0}},
        {Call::thread_bind, sel::thread1, {0, sel::note1}},
        {Call::sc_bind, sel::sc1, {0, sel::thread1}},
        {Call::core_window, sel::first_core, {0, 0, 20'000, 1}},
        {Call::core_schedule, sel::first_core, {0, 0}},
        {Call::call, sel::endpoint0, {0}},
        {Call::receive, sel::endpoint0, {0}},
        {Call::reply_receive, sel::endpoint0, {0}},
        {Call::signal, sel::note1, {0, 1}},
        {Call::wait, sel::note1, {0, 0}},
        {Call::irq_bind, sel::irq, {0, sel::note1, 1}},
        {Call::irq_ack, sel::irq, {0}},
        {Call::port_in, sel::ports, {0, 0x60, 1}},
        {Call::port_out, sel::ports, {0, 0x60, 1, 0}},
        {Call::vcpu_run, sel::vcpu1, {0}},
        {Call::space_io_map, sel::guest, {0, pool_first}},
        {Call::space_msr_map, sel::guest, {0, pool_first}},
        {Call::guest_port, sel::guest, {0, sel::ports, 0x60, 1}},
        {Call::guest_msr, sel::guest, {0, 0xc000'0081, 1}},
        {Call::platform_control, sel::platform, {0, 0, 0}},
        {Call::log, sel::platform, {0, 1, 0, 0, 0, 0}},
    };
    w.must(Call::notification_create, {pool_first + 20, sel::free + 1});
    w.must(Call::frame_reclaim, {sel::domain, pool_first + 20, 0}); // free + 1 is stale now
    for (const auto& row : table) {
        const auto answer = [&](u64 selector) {
            Registers6 a = row.rest;
            a[0] = selector;
            return root(row.call, a);
        };
        const char* name = call_table[static_cast<u32>(row.call)].name;
        EXPECT_EQ(answer(max_selector), Error::bad_selector) << name;
        EXPECT_EQ(answer(3 * slots_per_table), Error::no_table) << name;
        EXPECT_EQ(answer(sel::free), Error::no_capability) << name;
        EXPECT_EQ(answer(sel::free + 1), Error::stale) << name;
        const u32 other = row.good == sel::note1 ? sel::endpoint0 : sel::note1;
        EXPECT_EQ(answer(other), Error::wrong_type) << name;
        w.must(Call::cap_mint, {row.good, sel::free + 2, right::exec, 0});
        EXPECT_EQ(answer(sel::free + 2), Error::no_right) << name;
        w.must(Call::cap_delete, {sel::free + 2});
    }
    EXPECT_NO_THROW(check_invariants());
}

// Calls that make an object from a frame, with their error for each kind of wrong frame and slot.
TEST_F(Arguments, NewObjects) {
    const auto makes = [&](auto call_with) {
        const struct {
            Frame frame;
            Error error;
        } table[] = {{0, Error::bad_frame},
                     {machine_frames, Error::bad_frame},
                     {domain1_first, Error::not_owner},
                     {16, Error::not_owner}, // the kernel's
                     {root_block * frames_per_block, Error::block_whole},
                     {w.object(sel::note1), Error::wrong_frame_type},
                     {vcpus[w.object(sel::vcpu1)].state, Error::frame_in_use}};
        for (const auto& row : table)
            EXPECT_EQ(call_with(row.frame, sel::free), row.error) << row.frame;
        EXPECT_EQ(call_with(pool_first, sel::note1), Error::slot_taken);
        EXPECT_EQ(call_with(pool_first, 3 * slots_per_table), Error::no_table);
        EXPECT_EQ(call_with(pool_first, sel::free), Error::ok);
        w.must(Call::cap_delete, {sel::free});
        w.must(Call::frame_reclaim, {sel::domain, pool_first, 0});
        EXPECT_NO_THROW(check_invariants());
    };
    makes([&](Frame f, u64 s) { return root(Call::endpoint_create, {f, s}); });
    makes([&](Frame f, u64 s) { return root(Call::notification_create, {f, s}); });
    makes([&](Frame f, u64 s) { return root(Call::domain_create, {f, w.take_frame(), s}); });
    makes([&](Frame f, u64 s) { return root(Call::space_create, {f, w.take_frame(), s, 0}); });
    makes([&](Frame f, u64 s) {
        return root(Call::thread_create, {f, s, sel::domain1, sel::space1});
    });
    makes([&](Frame f, u64 s) { return root(Call::sc_create, {f, s, sel::first_core, 9, 0}); });
    makes([&](Frame f, u64 s) {
        return root(Call::irq_create, {f, s, sel::irq_control, sel::first_core, 9, 0});
    });
    makes([&](Frame f, u64 s) {
        return root(Call::msi_create, {f, s, sel::irq_control, sel::first_core, 9});
    });
    makes([&](Frame f, u64 s) { return root(Call::ports_create, {f, s, sel::ports, 1, 2}); });
    makes([&](Frame f, u64 s) { return root(Call::mmio_create, {f, s, sel::mmio, 0xfe000, 1}); });
}

} // namespace horos::test
