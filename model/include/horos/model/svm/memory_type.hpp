// Memory types under nested paging (APM vol. 2 rev. 3.42 §15.25.8): how the guest's PAT type, the
// host's PAT type and the MTRR type of a page combine.
#pragma once

#include "horos/defs/x86.hpp"

#include <cstdint>
#include <string_view>

namespace horos::model::svm {

// The PAT's types and the two that only arise by combination.
enum class EffectiveType : uint8_t { UC, UC_MINUS, WC, WC_PLUS, WP, WT, WB, CD };

EffectiveType effective_type(x86::MemoryType type);

// Table 15-19.
EffectiveType combine_pat(x86::MemoryType guest, x86::MemoryType host);
// Table 15-20. `mtrr` is UC, WC, WP, WT or WB (the MTRRs have no UC-).
EffectiveType combine_mtrr(EffectiveType pat, x86::MemoryType mtrr);
// Both, and caching switched off by either CR0.CD.
EffectiveType guest_memory_type(x86::MemoryType guest_pat, x86::MemoryType host_pat,
                                x86::MemoryType mtrr, bool guest_cd, bool host_cd);

// The PAT entry that a page-table entry selects: bits PAT, PCD, PWT as a number (§7.8.2).
unsigned pat_index(uint64_t entry, bool large_page);
x86::MemoryType pat_type(uint64_t pat_msr, unsigned index);

std::string_view type_name(EffectiveType type);

} // namespace horos::model::svm
