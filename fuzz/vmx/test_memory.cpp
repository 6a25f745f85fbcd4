#include "test_memory.hpp"
#include "layout.hpp"

namespace horos::fuzz::vmx {

namespace {

constexpr size_t ARENA_WORDS = (ARENA_END - ARENA_PA) / 8;

const std::vector<uint64_t>& arena() {
    static const std::vector<uint64_t> words = [] {
        std::vector<uint64_t> w(ARENA_WORDS, 0);
        put_arena([&](uint64_t pa, uint64_t value) { w[(pa - ARENA_PA) / 8] = value; });
        return w;
    }();
    return words;
}

} // namespace

std::optional<uint64_t> TestMemory::quadword(uint64_t address) const {
    if (address < ARENA_PA || address >= ARENA_END) {
        return std::nullopt;
    }
    uint64_t value = arena()[(address - ARENA_PA) / 8];
    if (address >= PAE_PDPT_PA && address < PAE_PDPT_PA + 32) {
        value = test_.state[Extra(unsigned(Extra::PDPTE0) + (address - PAE_PDPT_PA) / 8)];
    }
    if (address == VAPIC_PA + 0x80) {
        value = test_.state[Extra::VTPR];
    }
    for (unsigned n = 0; n < test_.guest.pokes; ++n) {
        if (test_.guest.poke[n].address == address) {
            value = test_.guest.poke[n].value;
        }
    }
    for (unsigned n = 0; before_ && n < test_.twice.edits; ++n) {
        if (test_.twice.edit[n].address == address) {
            value = test_.twice.edit[n].value;
        }
    }
    const uint64_t code = address - CODE_PA;
    if (code < test_.guest.code_bytes) {
        __builtin_memcpy(&value, test_.guest.code + code, 8);
    }
    return value;
}

} // namespace horos::fuzz::vmx
