// The memory of a guest: what its case puts there, and how it is taken back.
#pragma once

#include "instructions.hpp"

#include <stddef.h>

extern "C" uint64_t guest_registers[16];
extern "C" void* memset(void* to, int value, size_t size);

namespace horos::fuzz::vmx {

inline uint64_t replaced[POKES], replaced_code[CODE_BYTES / 8], replaced_by_edit[TWICE_EDITS];

// The guest of an entry or of a sequence has the registers that the last one left; where an event
// or its RIP leads it, it may store by them.
inline bool data_clean = false;

inline void prepare_guest(const GuestPart& g) {
    if (!data_clean) {
        memset(reinterpret_cast<void*>(DATA_PA), 0, 4096);
    }
    for (unsigned n = 0; n < g.pokes; ++n) {
        replaced[n] = *qwords(g.poke[n].address);
        *qwords(g.poke[n].address) = g.poke[n].value;
    }
    const auto* code = reinterpret_cast<const uint64_t*>(g.code);
    for (unsigned n = 0; n * 8 < g.code_bytes; ++n) {
        replaced_code[n] = qwords(CODE_PA)[n];
        qwords(CODE_PA)[n] = code[n];
    }
    if (g.pokes != 0) {
        invept(2, 0);
    }
}
inline void finish_guest(const GuestPart& g, Result& result, uint64_t host_cr0) {
    for (unsigned n = 0; n < 16; ++n) {
        result.gpr[n] = guest_registers[n];
    }
    for (unsigned n = 0; n < 8; ++n) {
        result.data[n] = qwords(DATA_PA)[n];
        result.data[8 + n] = qwords(STACK_PA - 64)[n];
    }
    for (unsigned n = g.pokes; n-- > 0;) {
        result.after[n] = *qwords(g.poke[n].address);
    }
    for (unsigned n = g.pokes; n-- > 0;) {
        *qwords(g.poke[n].address) = replaced[n];
    }
    for (unsigned n = 0; n * 8 < g.code_bytes; ++n) {
        qwords(CODE_PA)[n] = replaced_code[n];
    }
    // Behind the code lies what a case may store to where its EPT lets it.
    for (unsigned n = CODE_BYTES / 8; n < 16; ++n) {
        qwords(CODE_PA)[n] = FILLER;
    }
    for (unsigned n = 0; n < 8; ++n) { // and where RBX leads some
        qwords(HANDLER_PA)[n] = FILLER;
    }
    memset(reinterpret_cast<void*>(DATA_PA), 0, 4096);
    data_clean = true;
    qwords(LOG_PA)[0] = 0;
    // An exit leaves CD and NW as the guest had them.
    asm volatile("mov %0, %%cr8; mov %1, %%cr0" ::"r"(uint64_t{0}), "r"(host_cr0));
}

// ---- two entries ----

// The page that some cases map in place of the data page.
inline void fill_second_page() {
    for (unsigned n = 0; n < 512; ++n) {
        qwords(SECOND_DATA_PA)[n] = second_data(n);
    }
}

inline void put_edits(const Twice& t) {
    for (unsigned n = 0; n < t.edits; ++n) {
        replaced_by_edit[n] = *qwords(t.edit[n].address);
        *qwords(t.edit[n].address) = t.edit[n].value;
    }
}
inline void take_edits_back(const Twice& t) {
    for (unsigned n = t.edits; n-- > 0;) {
        *qwords(t.edit[n].address) = replaced_by_edit[n];
    }
}
// What the first guest may have written.
inline void restore_memory(const GuestPart& g) {
    memset(reinterpret_cast<void*>(DATA_PA), 0, 4096);
    memset(reinterpret_cast<void*>(VE_PA), 0, VE_WORDS * 8);
    fill_second_page();
    for (unsigned n = 0; n < g.pokes; ++n) {
        *qwords(g.poke[n].address) = g.poke[n].value;
    }
    asm volatile("mov %0, %%cr8" ::"r"(uint64_t{0}));
}

} // namespace horos::fuzz::vmx
