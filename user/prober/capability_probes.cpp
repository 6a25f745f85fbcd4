// Capabilities that the prober does not have, and what it may not do with those it has.
#include <horos/abi/objects.hpp>

#include "prober/probe.hpp"

namespace horos::prober {
namespace {

namespace selector = abi::start_selector;
using native::own_memory;

constexpr u32 free_slot = selector::first_free;
constexpr u64 scratch_address = abi::free_address + 0x4000'0000;

bool was_given(u32 slot) {
    const u32 threads = rt::start_page().thread_count;
    return slot == selector::domain || slot == selector::space || slot == selector::report ||
           slot == selector::console ||
           (slot >= selector::first_thread && slot < selector::first_thread + threads) ||
           (slot >= selector::first_notification && slot < selector::first_notification + threads);
}

// Every selector there is: only what the start page speaks of may answer.
void guess_selectors() {
    for (u32 slot = 0; slot < abi::max_selector; ++slot) {
        if (user::cap_info(slot).ok() && !was_given(slot)) {
            rt::Text<48> text;
            text.format("selector {} is something", slot);
            return not_stopped(text.view());
        }
    }
    stopped("all others are empty");
}

void guess_large_selectors() {
    constexpr u32 guesses[] = {1024, 0x1'0000, 0x7fff'ffff, 0x8000'0000, 0xffff'ffff};
    for (const u32 guess : guesses) {
        if (user::cap_info(guess).ok()) {
            return not_stopped("a selector beyond the tables is something");
        }
    }
    stopped("bad_selector");
}

void power_off() {
    for (u32 slot = 0; slot < abi::max_selector; ++slot) {
        if (user::platform_control(slot, static_cast<u32>(abi::PlatformOp::reset), 0).ok()) {
            return not_stopped("the machine is being reset");
        }
    }
    stopped("no selector is the platform");
}

void all_ports() {
    for (u32 slot = 0; slot < abi::max_selector; ++slot) {
        if (user::port_in(slot, 0x3f8, 1).ok() || user::port_out(slot, 0x80, 1, 0).ok()) {
            return not_stopped("a port could be used");
        }
    }
    stopped("no selector is a port range");
}

// The notification that wakes the root task was given for signalling only.
void more_rights() {
    const Error error = user::cap_mint(selector::report, free_slot, abi::right::all, 0).error;
    expect_refused(error);
}
void other_badge() {
    const Error error = user::cap_mint(selector::report, free_slot, abi::right::write, 0xff).error;
    expect_refused(error);
}
void wait_for_root() { expect_refused(user::wait(selector::report, 0).error); }
void revoke_roots() { expect_refused(user::cap_revoke(selector::report).error); }
void revoke_thread() { expect_refused(user::cap_revoke(selector::thread(0)).error); }
void give_away() {
    expect_refused(
        user::cap_give(selector::domain, selector::report, free_slot, abi::right::write, 0).error);
}

// A thread that starts in the kernel's half, or on its stack.
void start_in_kernel() {
    expect_refused(user::thread_start(selector::thread(0), 0xffff'ffff'8020'0000,
                                      abi::thread_stack_top(0), 0, 0)
                       .error);
}
void stack_in_kernel() {
    expect_refused(
        user::thread_start(selector::thread(0), abi::program_address, 0xffff'8000'0000'1000, 0, 0)
            .error);
}
void fs_in_kernel() {
    expect_refused(user::thread_start(selector::thread(0), abi::program_address,
                                      abi::thread_stack_top(0), 0, 0xffff'8000'0000'0000)
                       .error);
}

// Frames: nothing that is not the prober's may be told about, mapped, retyped or given away.
template <class Try>
void for_all_foreign_frames(const Try& attempt) {
    constexpr u32 limit = 1u << 19; // 2 GiB of physical addresses
    constexpr u32 step = 7;         // odd: meets every position within a block
    for (u32 frame = 0; frame < limit; frame += step) {
        if (!own_memory().owns(frame) && attempt(frame)) {
            rt::Text<48> text;
            text.format("frame {:x}", frame);
            return not_stopped(text.view());
        }
    }
    stopped("every frame refused");
}

void ask_about_frames() {
    for_all_foreign_frames([](u32 frame) { return user::frame_info(frame).ok(); });
}
void map_frames() {
    for_all_foreign_frames([](u32 frame) {
        return user::map_frame(selector::space, scratch_address, frame, abi::right::read).ok();
    });
}
void retype_frames() {
    for_all_foreign_frames(
        [](u32 frame) { return user::notification_create(frame, free_slot).ok(); });
}
void share_frames() {
    for_all_foreign_frames(
        [](u32 frame) { return user::frame_share(frame, free_slot, abi::right::read).ok(); });
}
void reclaim_frames() {
    for_all_foreign_frames(
        [](u32 frame) { return user::frame_reclaim(selector::domain, frame, 0).ok(); });
}
void page_table_frames() {
    for_all_foreign_frames(
        [](u32 frame) { return user::table_map(selector::space, u64{0x7f} << 39, 3, frame).ok(); });
}
void take_blocks() {
    for (u32 block = 0; block < abi::max_blocks; ++block) {
        const bool mine = own_memory().owns(block * abi::frames_per_block);
        if (!mine &&
            (user::block_split(block).ok() ||
             user::map_block(selector::space, abi::free_address, block, abi::right::read).ok() ||
             user::block_share(block, free_slot, abi::right::read).ok() ||
             user::block_reclaim(selector::domain, block).ok())) {
            return not_stopped("a block of another domain");
        }
    }
    stopped("every block refused");
}

void map_writable_and_executable() {
    const u32 frame = own_memory().take();
    expect_refused(own_memory().map(scratch_address, frame, 7));
}
void map_into_kernel_half() {
    const u32 frame = own_memory().take();
    expect_refused(user::map_frame(selector::space, 0xffff'8000'0000'0000, frame, 3).error);
}
// Were a page table also mapped as memory, the prober could write its own translations.
void map_own_page_table() {
    const u32 table = own_memory().take();
    if (!user::table_map(selector::space, u64{1} << 45, 3, table).ok()) {
        return not_stopped("could not set the stage");
    }
    expect_refused(own_memory().map(scratch_address, table, 3));
}
void retype_mapped_frame() {
    const u32 frame = own_memory().page(scratch_address + 0x10'0000);
    expect_refused(user::notification_create(frame, free_slot).error);
}
void map_kernel_object() {
    const u32 frame = own_memory().take();
    if (!user::notification_create(frame, free_slot).ok()) {
        return not_stopped("could not set the stage");
    }
    const Error error = own_memory().map(scratch_address, frame, 3);
    (void)user::cap_delete(free_slot);
    expect_refused(error);
}

// Dead capabilities must stay dead, also when the same frame becomes an object of the same type.
void use_destroyed() {
    const u32 frame = own_memory().take();
    const bool ready = user::notification_create(frame, free_slot).ok() &&
                       user::frame_reclaim(selector::domain, frame, 0).ok() &&
                       user::notification_create(frame, free_slot + 1).ok();
    const Error error = user::signal(free_slot, 1).error;
    (void)user::cap_delete(free_slot);
    (void)user::cap_delete(free_slot + 1);
    ready ? expect_refused(error) : not_stopped("could not set the stage");
}
void use_revoked() {
    const u32 frame = own_memory().take();
    const bool ready = user::notification_create(frame, free_slot).ok() &&
                       user::cap_mint(free_slot, free_slot + 1, abi::right::write, 0).ok() &&
                       user::cap_revoke(free_slot).ok() && user::signal(free_slot, 1).ok();
    const Error error = user::signal(free_slot + 1, 1).error;
    (void)user::cap_delete(free_slot);
    (void)user::cap_delete(free_slot + 1);
    ready ? expect_refused(error) : not_stopped("could not set the stage");
}
void own_time() {
    for (u32 slot = 0; slot < abi::max_selector; ++slot) {
        if (user::core_schedule(slot, 0).ok() ||
            user::sc_create(own_memory().first_frame(), free_slot, slot, 5, 0).ok()) {
            return not_stopped("a core's time could be changed");
        }
    }
    stopped("no selector is a core");
}
void own_interrupts() {
    for (u32 slot = 0; slot < abi::max_selector; ++slot) {
        if (user::irq_create(own_memory().first_frame(), free_slot, slot, slot, 4, 0).ok() ||
            user::irq_ack(slot).ok()) {
            return not_stopped("an interrupt could be had");
        }
    }
    stopped("no selector is an interrupt");
}

constexpr Probe probes[] = {
    {"guess-selectors", guess_selectors},
    {"guess-large-selectors", guess_large_selectors},
    {"power-off-by-any-selector", power_off},
    {"ports-by-any-selector", all_ports},
    {"time-by-any-selector", own_time},
    {"interrupts-by-any-selector", own_interrupts},
    {"more-rights", more_rights},
    {"other-badge", other_badge},
    {"wait-for-root's-notification", wait_for_root},
    {"revoke-root's-notification", revoke_roots},
    {"revoke-thread", revoke_thread},
    {"give-without-grant", give_away},
    {"start-thread-in-kernel", start_in_kernel},
    {"thread-stack-in-kernel", stack_in_kernel},
    {"thread-fs-in-kernel", fs_in_kernel},
    {"ask-about-foreign-frames", ask_about_frames},
    {"map-foreign-frames", map_frames},
    {"retype-foreign-frames", retype_frames},
    {"share-foreign-frames", share_frames},
    {"reclaim-foreign-frames", reclaim_frames},
    {"foreign-frames-as-page-tables", page_table_frames},
    {"foreign-blocks", take_blocks},
    {"map-writable-and-executable", map_writable_and_executable},
    {"map-into-kernel-half", map_into_kernel_half},
    {"map-own-page-table", map_own_page_table},
    {"retype-mapped-frame", retype_mapped_frame},
    {"map-kernel-object", map_kernel_object},
    {"use-destroyed-object", use_destroyed},
    {"use-revoked-capability", use_revoked},
};

} // namespace

std::span<const Probe> capability_probes() { return probes; }

} // namespace horos::prober
