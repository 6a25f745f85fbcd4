// What the arena holds before a case: the harness writes it, the driver tells the model of it.
// Freestanding. `put(address, quadword)` is called for every quadword that is not 0.
#pragma once

#include "wire.hpp"

namespace horos::fuzz::vmx {

// Four bytes of VMCALL and NOP, over and over: wherever a guest goes, it comes back.
inline constexpr uint64_t FILLER = 0x90c1010f90c1010full;

// Pages that a guest may write: its data and stack, and its own page tables (for A and D).
constexpr bool guest_writable(uint64_t page) {
    return page == DATA_PA || page == APIC_PA || (page >= GUEST_PML4_PA && page <= GUEST_PD32_PA) ||
           page == GUEST_PD_PA || page == GUEST_PT_PA;
}

// EPT: all of the first 4 GiB may be read and run; a few pages may be written too. The 2 MiB that
// hold the arena are mapped by 4-KiB entries, so that a case can change the entry of any of its
// pages. A and D are set, so that a run changes nothing that its case did not.
template <class Put>
constexpr void put_ept(Put put, uint64_t pml4) {
    constexpr uint64_t USED = 0x300, TYPE_WB = 6 << 3 | USED, READ_RUN = 5, LARGE = 0x80;
    constexpr uint64_t ALL = 7, TABLE = ALL | USED;
    put(pml4, EPT_PDPT_PA | TABLE);
    put(EPT_PDPT_PA, EPT_PD_PA | TABLE);
    for (uint64_t n = 1; n < 4; ++n) {
        put(EPT_PDPT_PA + n * 8, n << 30 | LARGE | TYPE_WB | READ_RUN);
    }
    for (uint64_t n = 0; n < 512; ++n) {
        const bool here = n == ARENA_PA >> 21;
        put(EPT_PD_PA + n * 8, here ? EPT_PT_PA | TABLE : n << 21 | LARGE | TYPE_WB | READ_RUN);
        const uint64_t page = (ARENA_PA >> 21 << 21) + n * 4096;
        put(EPT_PT_PA + n * 8, page | TYPE_WB | (guest_writable(page) ? ALL : READ_RUN));
    }
}

// The guest's own tables: everything one to one, present, writable, for the user, A and D set.
template <class Put>
constexpr void put_guest_tables(Put put) {
    constexpr uint64_t TABLE = 0x27, PAGE = 0x67, LARGE = 0xe7;
    put(GUEST_PML4_PA, GUEST_PDPT_PA | TABLE);
    put(GUEST_PDPT_PA, GUEST_PD_PA | TABLE);
    for (uint64_t n = 1; n < 4; ++n) {
        put(GUEST_PDPT_PA + n * 8, n << 30 | LARGE);
    }
    for (uint64_t n = 0; n < 512; ++n) {
        const bool here = n == ARENA_PA >> 21;
        put(GUEST_PD_PA + n * 8, here ? GUEST_PT_PA | TABLE : n << 21 | LARGE);
        put(GUEST_PT_PA + n * 8, ((ARENA_PA >> 21 << 21) + n * 4096) | PAGE);
    }
    for (uint64_t n = 0; n < 512; ++n) {
        const uint64_t low = n * 2 << 22 | LARGE, high = (n * 2 + 1) << 22 | LARGE;
        put(GUEST_PD32_PA + n * 8, (low & 0xffffffff) | high << 32);
    }
}

// A GDT with flat segments, and two IDTs whose interrupt gates lead to a page of VMCALLs.
template <class Put>
constexpr void put_descriptors(Put put) {
    put(DESCRIPTORS_PA + 0x08, 0x00af9b000000ffffull);
    put(DESCRIPTORS_PA + 0x10, 0x00cf93000000ffffull);
    put(DESCRIPTORS_PA + 0x18, 0x00cf9b000000ffffull);
    // Handlers of 32-bit mode, and of real-address mode: there FFFF:F810, which a case maps here.
    for (uint64_t n = 0; n < 32; ++n) {
        const uint64_t target = HANDLER_PA + n * 16;
        put(GATES32_PA + n * 8,
            (target & 0xffff) | 0x18ull << 16 | 0x8e00ull << 32 | (target >> 16 & 0xffff) << 48);
        put(VECTORS_PA + n * 8, 0xfffff810fffff810);
        put(DESCRIPTORS_PA + 0x800 + n * 8, FILLER);
    }
    for (uint64_t n = 0; n < 256; ++n) {
        const uint64_t target = HANDLER_PA + n * 16;
        const uint64_t gate =
            (target & 0xffff) | 0x08ull << 16 | 0x8e00ull << 32 | (target >> 16 & 0xffff) << 48;
        put(IDT_PA + n * 16, gate);
        if (n < 32) {
            put(DESCRIPTORS_PA + 0x400 + n * 16, gate);
        }
    }
}

// Quadword n of the page that a case may map in place of the data page.
constexpr uint64_t second_data(uint64_t n) { return 0x5ec0dd0000000000ull + n; }

// Selectors of the GDT beyond the flat segments: task-state segments to switch to (one of each
// width, and one that is busy), a task gate, and segments of level 1.
namespace selector {
inline constexpr uint16_t TSS32 = 0x20, TSS16 = 0x28, BUSY_TSS = 0x30, GATE = 0x38, CODE1 = 0x40,
                          DATA1 = 0x48, CODE1_LONG = 0x50, GDT_LIMIT = 0x57;
}
constexpr uint64_t system_descriptor(uint64_t base, uint64_t limit, uint64_t type) {
    return limit | (base & 0xffffff) << 16 | type << 40 | (base >> 24) << 56;
}

// The stacks of a guest's TSS end at STACK_PA: 64-bit (with IST), 32-bit, 16-bit (its stack is
// where SS.base leads with 16 bits). A fourth names a busy TSS as the task before it.
template <class Put>
constexpr void put_tasks(Put put) {
    put(DESCRIPTORS_PA + selector::TSS32, system_descriptor(TSS32_PA, 0x67, 0x89));
    put(DESCRIPTORS_PA + selector::TSS16, system_descriptor(TSS16_PA, 0x2b, 0x81));
    put(DESCRIPTORS_PA + selector::BUSY_TSS, system_descriptor(TSS32_PA, 0x67, 0x8b));
    put(DESCRIPTORS_PA + selector::GATE, uint64_t{selector::TSS32} << 16 | 0xe5ull << 40);
    put(DESCRIPTORS_PA + selector::CODE1, 0x00cfbb000000ffffull);
    put(DESCRIPTORS_PA + selector::DATA1, 0x00cfb3000000ffffull);
    put(DESCRIPTORS_PA + selector::CODE1_LONG, 0x00afbb000000ffffull);
    // RSP0 to RSP2 at 4, 12, 20; IST1 to IST7 at 24h and up: quadwords that lie across two.
    for (uint64_t at = 0; at < 0x60; at += 8) {
        put(TSS_PA + at, STACK_PA << 32);
    }
    constexpr uint64_t NO_MAP = 0x80; // the offset of an I/O map, at 66h: 32 ports' bits
    put(TSS_PA + 0x60, NO_MAP << 48);
    put(TSS32_PA, STACK_PA << 32 | selector::BUSY_TSS);
    put(TSS32_PA + 8, STACK_PA << 32 | 0x10); // SS0, ESP1
    put(TSS32_PA + 16, selector::DATA1 | 1);
    put(TSS32_PA + 0x60, NO_MAP << 48);
    put(TSS16_PA, 0x10ull << 32 | (STACK_PA & 0xffff) << 16 | selector::BUSY_TSS);
    put(BACK_TSS_PA, STACK_PA << 32 | selector::BUSY_TSS);
}

template <class Put>
constexpr void put_arena(Put put) {
    put_tasks(put);
    for (uint64_t n = 0; n < 512; ++n) {
        put(SECOND_DATA_PA + n * 8, second_data(n));
    }
    put_ept(put, EPT_PML4_PA);
    put(OTHER_EPT_PA, EPT_PDPT_PA | 0x307);
    put_guest_tables(put);
    put_descriptors(put);
    for (uint64_t n = 0; n < MSR_ENTRIES; ++n) { // IA32_SYSENTER_CS
        put(MSR_LIST_PA + n * 16, 0x174);
        put(MSR_STORE_PA + n * 16, 0x174);
    }
    for (uint64_t n = 0; n < 512; ++n) {
        put(CODE_PA + n * 8, FILLER);
        put(HANDLER_PA + n * 8, FILLER);
    }
}

} // namespace horos::fuzz::vmx
