// A TLB that remembers which guest each tag belongs to: a tag must never reach another guest's
// translations, nor those from before an unmap.
#pragma once
#include "kernel/core/state.hpp"

namespace horos::test {

void reset_tlb();
void tlb_enter(core::u32 core, core::u32 tag, core::u8 control, core::Frame space);

} // namespace horos::test
