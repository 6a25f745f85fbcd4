// Frames, blocks, capabilities.
#include "native/hypercall_test/check.hpp"

namespace horos::hypercall_test {
namespace {

using abi::ObjectType;
constexpr u32 missing_frame = abi::max_frames - 1; // 64 GiB - 4 KiB: no RAM there
constexpr u32 missing_block = abi::max_blocks - 1;
constexpr u32 own_domain = abi::start_selector::domain;
constexpr u8 read_write = abi::right::read | abi::right::write;

u32 take(u32 count = 1) { return own_memory().take(count); }

void test_give_frames() {
    constexpr u8 most = abi::frames_per_give;
    const u32 frames = take(most);
    const u32 used = take();
    expect("frame_give 0", user::frame_give(fixture::domain, frames, 0), Error::bad_argument);
    expect("frame_give 5", user::frame_give(fixture::domain, frames, most + 1),
           Error::bad_argument);
    expect("frame_give foreign", user::frame_give(fixture::domain, foreign_frame(), 1),
           Error::not_owner);
    expect("frame_give missing", user::frame_give(fixture::domain, missing_frame, 1),
           Error::bad_frame);
    expect("frame_give whole",
           user::frame_give(fixture::domain, own_memory().whole_block(0) * 512, 1),
           Error::block_whole);
    (void)user::notification_create(used, fixture::scratch);
    expect("frame_give object", user::frame_give(fixture::domain, used, 1),
           Error::wrong_frame_type);
    expect("frame_give", user::frame_give(fixture::domain, frames, most));
    expect("frame_info given away", user::frame_info(frames), Error::not_owner);
    expect("frame_reclaim not mine", user::frame_reclaim(own_domain, frames, 0), Error::not_owner);
    expect("frame_reclaim referenced domain",
           user::frame_reclaim(own_domain, static_cast<u32>(user::cap_info(fixture::domain).object),
                               0),
           Error::frame_in_use);
    for (u32 i = 0; i < most; ++i) {
        expect("frame_reclaim", user::frame_reclaim(fixture::domain, frames + i, 0));
    }
    expect("frame_reclaim again", user::frame_reclaim(fixture::domain, frames, 0),
           Error::not_owner);
    expect("frame_reclaim object", user::frame_reclaim(own_domain, used, 0));
    expect("signal reclaimed", user::signal(fixture::scratch, 1), Error::stale);
    expect("cap_delete stale", user::cap_delete(fixture::scratch));
}

void test_share_frames() {
    const u32 frame = take();
    expect("frame_share rights", user::frame_share(frame, fixture::scratch, 0), Error::bad_rights);
    expect("frame_share taken", user::frame_share(frame, fixture::domain, read_write),
           Error::slot_taken);
    expect("frame_share foreign", user::frame_share(foreign_frame(), fixture::scratch, read_write),
           Error::not_owner);
    expect("frame_share missing", user::frame_share(missing_frame, fixture::scratch, read_write),
           Error::bad_frame);
    expect("frame_share object",
           user::frame_share(static_cast<u32>(user::cap_info(fixture::domain).object),
                             fixture::scratch, read_write),
           Error::wrong_frame_type);
    expect("frame_share whole",
           user::frame_share(own_memory().whole_block(0) * 512, fixture::scratch, read_write),
           Error::block_whole);
    expect("frame_share", user::frame_share(frame, fixture::scratch, read_write));
    const auto info = user::cap_info(fixture::scratch);
    expect_value("cap_info type", info.type, static_cast<u64>(ObjectType::ram));
    expect_value("cap_info rights", info.rights, read_write);
    expect_value("cap_info object", info.object, frame);
    expect("cap_delete", user::cap_delete(fixture::scratch));
    expect("cap_delete empty", user::cap_delete(fixture::scratch), Error::no_capability);
}

} // namespace

void test_frames() {
    const u32 frame = take();
    const auto info = user::frame_info(frame);
    expect("frame_info", info);
    expect_value("frame_info type", info.type, static_cast<u64>(ObjectType::ram));
    expect_value("frame_info mappings", info.mappings, 0);
    expect("frame_info foreign", user::frame_info(foreign_frame()), Error::not_owner);
    expect("frame_info missing", user::frame_info(missing_frame), Error::bad_frame);
    expect("frame_reclaim missing", user::frame_reclaim(own_domain, missing_frame, 0),
           Error::bad_frame);
    expect("frame_reclaim whole",
           user::frame_reclaim(own_domain, own_memory().whole_block(0) * 512, 0),
           Error::block_whole);
    expect(
        "frame_reclaim running thread",
        user::frame_reclaim(own_domain, static_cast<u32>(user::cap_info(fixture::space).object), 0),
        Error::frame_in_use);
    test_give_frames();
    test_share_frames();
}

void test_blocks() {
    const u32 block = own_memory().whole_block(0);
    const u32 split = own_memory().whole_block(2);
    const u32 foreign = foreign_frame() / abi::frames_per_block;
    expect_value("frame_info whole", user::frame_info(block * 512).type, 0x100);
    expect("block_split missing", user::block_split(missing_block), Error::bad_frame);
    expect("block_split foreign", user::block_split(foreign), Error::not_owner);
    expect("block_split", user::block_split(split));
    expect("block_split again", user::block_split(split), Error::block_split);
    expect("block_share rights", user::block_share(block, fixture::scratch, 0), Error::bad_rights);
    expect("block_share split", user::block_share(split, fixture::scratch, read_write),
           Error::block_split);
    expect("block_share foreign", user::block_share(foreign, fixture::scratch, read_write),
           Error::not_owner);
    expect("block_share taken", user::block_share(block, fixture::domain, read_write),
           Error::slot_taken);
    expect("block_share", user::block_share(block, fixture::scratch, read_write));
    expect("block_give split", user::block_give(fixture::domain, split), Error::block_split);
    expect("block_give foreign", user::block_give(fixture::domain, foreign), Error::not_owner);
    expect("block_give missing", user::block_give(fixture::domain, missing_block),
           Error::bad_frame);
    expect("block_give", user::block_give(fixture::domain, block));
    expect("share of a given block is dead", user::cap_info(fixture::scratch), Error::stale);
    (void)user::cap_delete(fixture::scratch);
    expect("block_give not mine", user::block_give(fixture::domain, block), Error::not_owner);
    expect("block_reclaim not theirs", user::block_reclaim(own_domain, block), Error::not_owner);
    expect("block_reclaim missing", user::block_reclaim(fixture::domain, missing_block),
           Error::bad_frame);
    expect("block_reclaim", user::block_reclaim(fixture::domain, block));
}

void test_capabilities() {
    using abi::right::all;
    expect("cap_mint rights", user::cap_mint(fixture::memory, fixture::scratch, all, 0),
           Error::bad_rights);
    expect("cap_mint no rights", user::cap_mint(fixture::memory, fixture::scratch, 0, 0),
           Error::bad_rights);
    expect("cap_mint taken", user::cap_mint(fixture::memory, fixture::domain, read_write, 0),
           Error::slot_taken);
    expect("cap_mint", user::cap_mint(fixture::notification, fixture::scratch, read_write, 5));
    expect_value("cap_mint badge", user::cap_info(fixture::scratch).badge, 5);
    expect("cap_mint second badge",
           user::cap_mint(fixture::scratch, fixture::scratch + 1, read_write, 6),
           Error::bad_argument);
    expect("cap_move taken", user::cap_move(fixture::scratch, fixture::domain), Error::slot_taken);
    expect("cap_move", user::cap_move(fixture::scratch, fixture::scratch + 1));
    expect("cap_info moved away", user::cap_info(fixture::scratch), Error::no_capability);
    expect("cap_revoke no right", user::cap_revoke(fixture::scratch + 1), Error::no_right);
    expect("cap_give taken slot",
           user::cap_give(fixture::domain, fixture::notification, 7, read_write, 0));
    expect("cap_give taken",
           user::cap_give(fixture::domain, fixture::notification, 7, read_write, 0),
           Error::slot_taken);
    expect("cap_give rights", user::cap_give(fixture::domain, fixture::notification, 8, 0, 0),
           Error::bad_rights);
    expect("cap_give no table",
           user::cap_give(fixture::domain, fixture::notification, 300, read_write, 0),
           Error::no_table);
    expect("cap_give without grant",
           user::cap_give(fixture::domain, fixture::scratch + 1, 8, read_write, 0),
           Error::no_right);
    expect("cap_take", user::cap_take(fixture::domain, 7));
    expect("cap_take empty", user::cap_take(fixture::domain, 7), Error::no_capability);
    expect("cap_take no table", user::cap_take(fixture::domain, 300), Error::no_table);
    expect("cap_revoke", user::cap_revoke(fixture::notification));
    expect("copy after revoke", user::signal(fixture::scratch + 1, 1), Error::stale);
    expect("original after revoke", user::signal(fixture::notification, 1));
    expect_value("wait after revoke", user::wait(fixture::notification, 0).bits, 1);
    (void)user::cap_delete(fixture::scratch + 1);
}

} // namespace horos::hypercall_test
