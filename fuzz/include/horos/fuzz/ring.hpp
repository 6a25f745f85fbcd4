// A place of the ring: one page of the target's memory that holds a case and then its result.
//
// The page is the VMCB itself, and what the harness needs besides lies behind the VMCB's last
// field: nothing is copied, and little memory is touched. Both matter: VMRUN and #VMEXIT empty an
// emulator's TLB, so each page touched costs it a page walk, and each quadword moved costs an
// emulated instruction or two. A result replaces the case in place; windows of memory that come out
// as they went in are not written back.
//
// The case names its VMCB by an address in the arena's first page, which stays an ordinary page; on
// the way to the harness that becomes the address of the place, and back.
#pragma once

#include "horos/fuzz/wire.hpp"

namespace horos::fuzz::wire {

inline constexpr uint32_t VMCB_TAIL = 0x700; // from here on no field that a target reads or writes

struct RingPatch {
    uint64_t address;
    uint64_t value; // while the case runs; what was there before when the harness is in it
};

struct RingSlot {
    uint64_t control[CONTROL_QWORDS];
    uint64_t controlRest[(SAVE_OFFSET - 8 * CONTROL_QWORDS) / 8]; // always zero
    uint64_t save[SAVE_QWORDS];
    uint64_t saveRest[(VMCB_TAIL - SAVE_OFFSET) / 8 - SAVE_QWORDS]; // always zero
    uint64_t id;
    uint64_t done; // the harness writes `id` here last of all
    uint32_t flags;
    uint32_t windows;    // read after the case
    uint32_t install;    // filled in before the case: those that differ from the template
    uint32_t codeQwords; // copied when FRESH_CODE
    uint64_t codeAddress;
    uint32_t patches;
    uint32_t edits;
    uint64_t rax;
    uint64_t hsave;
    Status status;
    uint32_t vector;
    uint64_t error;
    uint64_t rip;
    uint32_t nmis;
    uint32_t intrs;
    uint32_t early;
    uint32_t hostDiffers; // zero: all of `host` but CR2 and RFLAGS is as in the baseline
    uint64_t gpr[16];
    uint64_t dr[4];
    uint64_t host[H_COUNT];
    uint64_t code[CODE_QWORDS];
    uint64_t window[WINDOW_QWORDS];
    RingPatch patch[PATCHES];
    Edit edit[EDITS];
};
static_assert(sizeof(RingSlot) <= SLOT_SIZE && offsetof(RingSlot, id) == VMCB_TAIL);

// In RingSlot::flags only: nothing of this case needs more than registers, windows and code.
inline constexpr uint32_t PLAIN = 1u << 31;

constexpr uint64_t ringAddress(uint64_t index) { return RING_PA + index % SLOTS * SLOT_SIZE; }

inline void copyWords(uint64_t* to, const uint64_t* from, uint32_t count) {
    __builtin_memcpy(to, from, 8ull * count);
}

constexpr bool isPlain(const CaseSlot& c) {
    constexpr uint64_t INJECTS_NMI = 2;
    return (c.flags & ~FRESH_CODE) == 0 && c.patches == 0 &&
           (c.control[0xa8 / 8] >> 8 & 7) != INJECTS_NMI;
}

// The arena's first page stands for the place's own address.
constexpr uint64_t swapPage(uint64_t value, uint64_t from, uint64_t to) {
    return (value & ~0xfffull) == from ? to | (value & 0xfff) : value;
}

// `contents`: what the windows hold between cases.
inline void pack(const CaseSlot& c, uint64_t address, const Window* windows,
                 const uint64_t* contents, RingSlot& r) {
    r.done = 0;
    copyWords(r.control, c.control, CONTROL_QWORDS);
    copyWords(r.save, c.save, SAVE_QWORDS);
    r.id = c.id;
    r.flags = c.flags | (isPlain(c) ? PLAIN : 0);
    r.windows = c.windows;
    r.install = 0;
    for (uint32_t left = c.windows; left; left &= left - 1) {
        const uint32_t i = uint32_t(__builtin_ctz(left)), at = windows[i].offset;
        copyWords(r.window + at, c.window + at, windows[i].qwords);
        if (__builtin_memcmp(c.window + at, contents + at, 8ull * windows[i].qwords) != 0)
            r.install |= 1u << i;
    }
    r.codeAddress = c.codeAddress;
    r.codeQwords = c.codeQwords;
    if (c.flags & FRESH_CODE)
        copyWords(r.code, c.code, c.codeQwords);
    r.patches = c.patches;
    for (uint32_t i = 0; i < c.patches; ++i)
        r.patch[i] = {c.patch[i].address, c.patch[i].value};
    r.edits = c.flags & TWICE ? uint32_t(c.edits) : 0;
    for (uint32_t i = 0; i < r.edits; ++i)
        r.edit[i] = c.edit[i];
    r.rax = swapPage(c.rax, ARENA_PA, address);
    r.hsave = c.hsave;
    copyWords(r.gpr, c.gpr, 16);
    copyWords(r.dr, c.dr, 4);
}

inline void unpack(const RingSlot& r, uint64_t address, const Window* windows,
                   const uint64_t (&baseline)[H_COUNT], ResultSlot& result) {
    result.id = r.done;
    result.status = r.status;
    result.vector = r.vector;
    result.error = r.error;
    result.rip = r.rip;
    result.nmis = r.nmis;
    result.intrs = r.intrs;
    result.early = r.early;
    copyWords(result.gpr, r.gpr, 16);
    result.gpr[0] = swapPage(r.gpr[0], address, ARENA_PA);
    copyWords(result.dr, r.dr, 4);
    copyWords(result.host, r.hostDiffers ? r.host : baseline, H_COUNT);
    result.host[H_CR2] = r.host[H_CR2];
    result.host[H_RFLAGS] = r.host[H_RFLAGS];
    copyWords(result.control, r.control, CONTROL_QWORDS);
    copyWords(result.save, r.save, SAVE_QWORDS);
    for (uint32_t left = r.windows; left; left &= left - 1) {
        const Window& w = windows[__builtin_ctz(left)];
        copyWords(result.window + w.offset, r.window + w.offset, w.qwords);
    }
}

} // namespace horos::fuzz::wire
