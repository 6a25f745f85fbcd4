#include "emul/page_walk.hpp"

#include "horos/defs/x86.hpp"

namespace horos::vmm {
namespace {

// Page-table entry bits, the same in every format (APM vol. 2 §5.4.1).
constexpr u64 pte_present = bit(0), pte_write = bit(1), pte_user = bit(2), pte_accessed = bit(5),
              pte_dirty = bit(6), pte_large = bit(7), pte_no_execute = bit(63);
constexpr u64 address_mask = 0x000f'ffff'ffff'f000ull;
// Page-fault error code.
constexpr u32 error_present = 1, error_write = 2, error_user = 4, error_reserved = 8,
              error_fetch = 16;

struct Walk {
    const GuestMemory& memory;
    const PagingState& paging;
    u64 linear;
    Access access;
    bool mark;
    bool no_execute_enabled;
    WalkTrace* trace;

    // Permissions, gathered on the way down.
    bool writable = true, user = true, executable = true;

    Translation fault(u32 error) const {
        if (access == Access::write)
            error |= error_write;
        if (paging.cpl == 3)
            error |= error_user;
        // The fetch bit is reported only where it can make a difference.
        const bool smep = (paging.cr4 & x86::cr4::SMEP) != 0;
        if (access == Access::fetch && (no_execute_enabled || smep))
            error |= error_fetch;
        return {Translation::Status::page_fault, error, 0};
    }

    bool allowed() const {
        const bool supervisor = paging.cpl != 3;
        if (!supervisor && !user)
            return false;
        if (access == Access::fetch)
            return executable && !(supervisor && user && (paging.cr4 & x86::cr4::SMEP));
        if (supervisor && user && (paging.cr4 & x86::cr4::SMAP) && !paging.ac_flag)
            return false;
        if (access == Access::write && !writable)
            return supervisor && !(paging.cr0 & x86::cr0::WP);
        return true;
    }

    void gather(u64 entry) {
        writable = writable && (entry & pte_write);
        user = user && (entry & pte_user);
        if (no_execute_enabled && (entry & pte_no_execute))
            executable = false;
    }

    Translation finish(u64 frame, u64 page_mask) const {
        return {Translation::Status::ok, 0, (frame & ~page_mask) | (linear & page_mask)};
    }
};

// Marking is one atomic OR: the guest's other processors walk the same tables.
template <class Entry>
void mark_entry(const GuestMemory& memory, u64 address, Entry entry, bool dirty) {
    const Entry wanted = static_cast<Entry>(pte_accessed | (dirty ? pte_dirty : 0));
    if ((entry & wanted) == wanted)
        return;
    if (u8* place = memory.at(address, sizeof(Entry)))
        __atomic_fetch_or(reinterpret_cast<Entry*>(place), wanted, __ATOMIC_RELAXED);
}

constexpr Translation outside{Translation::Status::outside_ram, 0, 0};

// Long mode and legacy PAE: 64-bit entries, nine index bits a level.
Translation walk_64(Walk& walk, u64 table, unsigned levels, bool pae) {
    for (unsigned level = levels; level > 0; --level) {
        const unsigned shift = 12 + 9 * (level - 1);
        const u64 index = (walk.linear >> shift) & (pae && level == 3 ? 3 : 511);
        const u64 address = table + index * 8;
        u64 entry = 0;
        if (!walk.memory.load(address, entry))
            return outside;
        if (walk.trace != nullptr)
            walk.trace->add(walk.memory.at(address, 8), entry);
        if (!(entry & pte_present))
            return walk.fault(0);
        if (!walk.no_execute_enabled && (entry & pte_no_execute))
            return walk.fault(error_present | error_reserved);
        // A PAE page-directory pointer has no rights and is never marked.
        const bool pointer_only = pae && level == 3;
        const bool large = !pointer_only && level > 1 && (entry & pte_large);
        if (large && level > 3)
            return walk.fault(error_present | error_reserved);
        if (!pointer_only)
            walk.gather(entry);
        if (level == 1 || large) {
            const u64 page_mask = (u64{1} << shift) - 1;
            // Below a large page's frame only the PAT bit (12) may be set.
            if (large && (entry & address_mask & page_mask & ~bit(12)))
                return walk.fault(error_present | error_reserved);
            if (!walk.allowed())
                return walk.fault(error_present);
            if (walk.mark)
                mark_entry<u64>(walk.memory, address, entry, walk.access == Access::write);
            return walk.finish(entry & address_mask, page_mask);
        }
        if (walk.mark && !pointer_only)
            mark_entry<u64>(walk.memory, address, entry, false);
        table = entry & address_mask;
    }
    return outside; // not reached: level 1 always returns
}

// Legacy two-level tables with 32-bit entries and, with CR4.PSE, 4 MiB pages.
Translation walk_32(Walk& walk, u64 table) {
    const bool pse = (walk.paging.cr4 & x86::cr4::PSE) != 0;
    for (unsigned level = 2; level > 0; --level) {
        const unsigned shift = level == 2 ? 22 : 12;
        const u64 address = table + ((walk.linear >> shift) & 1023) * 4;
        u32 entry = 0;
        if (!walk.memory.load(address, entry))
            return outside;
        if (!(entry & pte_present))
            return walk.fault(0);
        walk.gather(entry);
        const bool large = level == 2 && pse && (entry & pte_large);
        if (level == 1 || large) {
            if (!walk.allowed())
                return walk.fault(error_present);
            if (walk.mark)
                mark_entry<u32>(walk.memory, address, entry, walk.access == Access::write);
            if (!large)
                return walk.finish(entry & 0xffff'f000u, 0xfff);
            // PSE-36: bits 20:13 are address bits 39:32 (APM vol. 2 §5.2.2).
            const u64 frame = (entry & 0xffc0'0000u) | u64{(entry >> 13) & 0xff} << 32;
            return walk.finish(frame, 0x3f'ffff);
        }
        if (walk.mark)
            mark_entry<u32>(walk.memory, address, entry, false);
        table = entry & 0xffff'f000u;
    }
    return outside; // not reached
}

} // namespace

Translation translate(const GuestMemory& memory, const PagingState& paging, u64 linear,
                      Access access, bool mark, WalkTrace* trace) {
    const bool long_mode = (paging.efer & x86::efer::LMA) != 0;
    if (!(paging.cr0 & x86::cr0::PG))
        return {Translation::Status::ok, 0, linear & 0xffff'ffffull};
    Walk walk{.memory = memory,
              .paging = paging,
              .linear = linear,
              .access = access,
              .mark = mark,
              .no_execute_enabled = (paging.efer & x86::efer::NXE) != 0,
              .trace = trace};
    if (long_mode) {
        const unsigned levels = (paging.cr4 & x86::cr4::LA57) ? 5 : 4;
        const unsigned bits = 12 + 9 * levels;
        const u64 top = static_cast<u64>(static_cast<i64>(linear << (64 - bits)) >> (64 - bits));
        if (top != linear)
            return {Translation::Status::not_canonical, 0, 0};
        return walk_64(walk, paging.cr3 & address_mask, levels, false);
    }
    walk.linear = linear & 0xffff'ffffull;
    if (paging.cr4 & x86::cr4::PAE)
        return walk_64(walk, paging.cr3 & x86::cr3::ADDR_PAE_MASK, 3, true);
    return walk_32(walk, paging.cr3 & x86::cr3::ADDR_LEGACY_MASK);
}

} // namespace horos::vmm
