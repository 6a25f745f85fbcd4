#include "space_editor.hpp"

#include <horos/abi/objects.hpp>

#include "layout.hpp"

namespace horos::root {
namespace {

// Bytes that one entry of a table of this level covers, times 512: the table's own range.
constexpr u64 table_range(u8 level) { return abi::frame_size << (9 * level); }

} // namespace

FramePool& root_pool() {
    static constinit FramePool pool;
    return pool;
}

SpaceEditor root_space() { return {abi::root_selector::space, root_pool()}; }

Outcome SpaceEditor::add_tables(u64 address, u8 leaf_level) {
    u32 frame = 0; // one that the step before did not use
    for (u8 level = 3; level >= leaf_level; --level) {
        if (frame == 0 && !pool_->take(frame)) {
            return Outcome::failure("out of memory for page tables");
        }
        const auto result =
            user::table_map(space_, address & ~(table_range(level) - 1), level, frame);
        if (result.ok()) {
            frame = 0;
        } else if (result.error != Error::already_mapped) {
            return check("put in a page table", result);
        }
    }
    return {};
}

template <class Map>
Outcome SpaceEditor::with_tables(u64 address, u8 leaf_level, const Map& map) {
    auto result = map();
    if (result.error == Error::table_missing) {
        if (Outcome outcome = add_tables(address, leaf_level); !outcome.ok()) {
            return outcome;
        }
        result = map();
    }
    return check("map", result);
}

Outcome SpaceEditor::map_frame(u64 address, u32 frame, u8 rights) {
    return with_tables(address, 1, [&] { return user::map_frame(space_, address, frame, rights); });
}

Outcome SpaceEditor::map_frames(u64 address, u32 first, u64 count, u8 rights) {
    for (u64 i = 0; i < count; ++i) {
        if (Outcome outcome =
                map_frame(address + i * abi::frame_size, static_cast<u32>(first + i), rights);
            !outcome.ok()) {
            return outcome;
        }
    }
    return {};
}

Outcome SpaceEditor::map_block(u64 address, u32 block, u8 rights) {
    return with_tables(address, 2, [&] { return user::map_block(space_, address, block, rights); });
}

Outcome SpaceEditor::map_device(u64 address, u32 mmio, u32 page, u8 rights) {
    return with_tables(address, 1,
                       [&] { return user::map_mmio(space_, address, mmio, page, rights); });
}

Outcome Scratch::fill(u32 frame, const void* bytes, u64 size) {
    constexpr u8 read_write = abi::right::read | abi::right::write;
    if (Outcome outcome = root_space().map_frame(address::scratch, frame, read_write);
        !outcome.ok()) {
        return outcome;
    }
    auto* page = reinterpret_cast<u8*>(address::scratch);
    __builtin_memcpy(page, bytes, size);
    __builtin_memset(page + size, 0, abi::frame_size - size);
    return check("unmap", user::unmap(abi::root_selector::space, address::scratch, 1));
}

} // namespace horos::root
