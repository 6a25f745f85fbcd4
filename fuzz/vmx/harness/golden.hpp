// Copies of what no case may change for the next one: the arena, as it was set up, and this
// program. They lie where no guest's stray address leads.
#pragma once

#include "instructions.hpp"

#include <stddef.h>

extern "C" char program_start[], program_end[];

namespace horos::fuzz::vmx {

inline constexpr uint64_t GOLDEN_ARENA_PA = 0x1800000;
inline constexpr uint64_t GOLDEN_PROGRAM_PA = 0x1900000;

inline void copy(uint64_t to, uint64_t from, uint64_t bytes) {
    uint64_t count = bytes / 8;
    asm volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(count)::"memory");
}
inline void keep_arena() { copy(GOLDEN_ARENA_PA, ARENA_PA, ARENA_END - ARENA_PA); }

// With EPT a guest can write its data, its own tables and the APIC-access page; without, anything.
// Stacks of real-address and virtual-8086 mode come to lie in all of these.
inline void restore_arena(bool ept) {
    const auto pages = [](uint64_t from, uint64_t end) {
        copy(from, GOLDEN_ARENA_PA + (from - ARENA_PA), end - from);
    };
    if (!ept) {
        pages(ARENA_PA, ARENA_END);
        return;
    }
    pages(GUEST_PML4_PA, EPT_PD_PA);
    pages(GUEST_PD_PA, DESCRIPTORS_PA);
    pages(APIC_PA, APIC_PA + 4096);
}

struct Stretch {
    uint64_t from, end;
};

// The first quadword of a stretch that is not as it was kept: its address, or 0.
inline uint64_t first_change(const Stretch& s, uint64_t golden) {
    for (uint64_t at = s.from; at < s.end; at += 8, golden += 8) {
        if (*qwords(at) != *qwords(golden)) {
            return at;
        }
    }
    return 0;
}

// This program: its code and tables, with the VMWRITEs and VMREADs that were made at run time.
inline uint64_t program(bool keep) {
    const Stretch all{reinterpret_cast<uint64_t>(program_start),
                      reinterpret_cast<uint64_t>(program_end)};
    if (keep) {
        copy(GOLDEN_PROGRAM_PA, all.from, all.end - all.from);
        return 0;
    }
    return first_change(all, GOLDEN_PROGRAM_PA);
}

// What of the arena no case leaves changed: not the pages that entries without a guest of their own
// may store to (the virtual APIC, MSRs stored by an exit, logs, data), and not the PDPTEs, which
// each case brings.
inline uint64_t changed_arena() {
    constexpr Stretch SAME[] = {{EPT_PML4_PA, PAE_PDPT_PA},
                                {PAE_PDPT_PA + 32, MSR_STORE_PA},
                                {ZERO_PA, LOG_PA},
                                {SECOND_DATA_PA, APIC_PA},
                                {IDT_PA, ARENA_END}};
    for (const Stretch& s : SAME) {
        const uint64_t at = first_change(s, GOLDEN_ARENA_PA + (s.from - ARENA_PA));
        if (at != 0) {
            return at;
        }
    }
    return 0;
}

} // namespace horos::fuzz::vmx
