#include "spec/translate.hpp"
#include "spec/page_entry.hpp"

namespace horos::spec {

// One level: what the entry takes away from the rights of those above it.
static u8 narrowed(u8 rights, u64 entry, bool ept) {
    const bool user = ept || (entry & pte::user) != 0;
    const bool readable = (entry & pte::present) != 0;
    const bool executable = ept ? (entry & ept::executable) != 0 : (entry & pte::no_execute) == 0;
    const u8 allowed = static_cast<u8>((readable ? right::read : 0) |
                                       ((entry & pte::writable) != 0 ? right::write : 0) |
                                       (executable ? right::exec : 0));
    return static_cast<u8>(user ? rights & allowed : 0);
}

u64 translate(Frame space, u64 address) {
    const bool ept = has_ept(space);
    Frame table = spaces[space].root;
    u8 rights = right::read | right::write | right::exec;
    for (u32 level = 4; level > 0; --level) {
        const u64 entry = page_tables[table].entries[index_in(address, level)];
        const bool present = ept ? (entry & 7) != 0 : is_present(entry);
        if (!present)
            return 0;
        rights = narrowed(rights, entry, ept);
        if (level == 1 || (level < 4 && is_large(entry))) {
            const u64 inside = address & (bit(covered_bits(level)) - 1);
            const u64 base = entry & pte::address & ~(bit(covered_bits(level)) - 1);
            const u64 page = (base | inside) >> frame_bits;
            return rights == 0 ? 0 : page << frame_bits | rights;
        }
        table = target_of(entry);
    }
    return 0;
}

bool is_user_address(Frame space, u64 address) {
    return address < (spaces[space].kind == SpaceKind::host ? user_end : guest_end);
}

bool reaches_memory(u64 translation) {
    const u64 page = page_of(translation);
    if (translation == 0 || is_free_device(page))
        return true;
    if (page >= machine.frame_limit)
        return false;
    const Frame f = static_cast<Frame>(page);
    const BlockInfo& block = blocks[block_of(f)];
    return (block.state == BlockState::whole && block.mappings != 0) ||
           (block.state == BlockState::split && frames[f].type == ObjectType::ram &&
            frames[f].mappings != 0);
}

static bool within(u64 translation, u8 rights) {
    return (rights_of(translation) & ~(rights & (right::read | right::write | right::exec))) == 0;
}

bool maps_frame(u64 translation, Frame domain, Frame frame, u8 rights) {
    return page_of(translation) == frame && owner_of(frame) == domain &&
           within(translation, rights);
}
bool maps_block(u64 translation, Frame domain, Block block, u8 rights) {
    return page_of(translation) / frames_per_block == block && owner_of_block(block) == domain &&
           within(translation, rights);
}
bool maps_shared(u64 translation, Frame domain, u32 selector, u8 rights) {
    Cap cap;
    if (find(domain, selector, cap) != Error::ok)
        return false;
    const u64 page = page_of(translation);
    const bool same = cap.type == ObjectType::block
                          ? page / frames_per_block == cap.object
                          : cap.type == ObjectType::ram && page == cap.object;
    return same && within(translation, rights & cap.rights);
}
bool maps_device(u64 translation, Frame domain, u32 selector, u64 page, u8 rights) {
    Cap cap;
    if (find(domain, selector, ObjectType::mmio, right::read, cap) != Error::ok)
        return false;
    const Mmio& range = mmio_ranges[cap.object];
    return page < range.count && page_of(translation) == range.first + page &&
           (rights_of(translation) & right::exec) == 0 && within(translation, rights & cap.rights);
}

} // namespace horos::spec
