#include "tlb.hpp"
#include "violation.hpp"
#include <map>

namespace horos::test {

using namespace core;

namespace {

struct Tagged {
    Frame space;
    u32 generation; // of the space's frame: a new space may live in an old one's frame
    u64 flushes;
};
std::map<u32, Tagged> tlb[max_cores];

} // namespace

void reset_tlb() {
    for (auto& core : tlb)
        core.clear();
}

void tlb_enter(u32 core, u32 tag, u8 control, Frame space) {
    if (control > 1 && control != 3 && control != 7)
        throw Violation("a reserved value of TLB_CONTROL");
    if (control == 1)
        tlb[core].clear();
    const Tagged now{space, frames[space].generation, spaces[space].flushes};
    const auto [entry, fresh] = tlb[core].try_emplace(tag, now);
    const Tagged& was = entry->second;
    if (!fresh && was.space != space)
        throw Violation("a guest enters with a TLB tag of another guest");
    if (!fresh && was.flushes != now.flushes)
        throw Violation("a guest enters with a TLB tag from before an unmap");
}

} // namespace horos::test
