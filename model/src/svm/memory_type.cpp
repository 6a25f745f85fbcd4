#include "horos/model/svm/memory_type.hpp"

#include <stdexcept>

namespace horos::model::svm {

namespace {

using E = EffectiveType;
using M = x86::MemoryType;

// Rows and columns of both tables: UC, UC-, WC, WP, WT, WB.
unsigned column(M type) {
    switch (type) {
    case M::UC:
        return 0;
    case M::UC_MINUS:
        return 1;
    case M::WC:
        return 2;
    case M::WP:
        return 3;
    case M::WT:
        return 4;
    case M::WB:
        return 5;
    }
    throw std::invalid_argument("not a memory type");
}

constexpr E PAT_TABLE[6][6] = {
    // host: UC   UC-          WC     WP          WT          WB
    {E::UC, E::UC, E::UC, E::UC, E::UC, E::UC},                // guest UC
    {E::UC, E::UC_MINUS, E::WC, E::UC, E::UC, E::UC},          // guest UC-
    {E::WC, E::WC, E::WC, E::WC_PLUS, E::WC_PLUS, E::WC_PLUS}, // guest WC
    {E::UC, E::UC, E::UC, E::WP, E::UC, E::WP},                // guest WP
    {E::UC, E::UC, E::UC, E::UC, E::WT, E::WT},                // guest WT
    {E::UC, E::UC, E::WC, E::WP, E::WT, E::WB},                // guest WB
};

// By EffectiveType UC, UC-, WC, WC+, WP, WT, WB; columns UC, WC, WP, WT, WB.
constexpr E MTRR_TABLE[7][5] = {
    {E::UC, E::CD, E::CD, E::CD, E::CD}, {E::UC, E::WC, E::CD, E::CD, E::CD},
    {E::WC, E::WC, E::WC, E::WC, E::WC}, {E::WC, E::WC, E::WC_PLUS, E::WC_PLUS, E::WC_PLUS},
    {E::UC, E::CD, E::WP, E::CD, E::WP}, {E::UC, E::CD, E::CD, E::WT, E::WT},
    {E::UC, E::WC, E::WP, E::WT, E::WB},
};

} // namespace

EffectiveType effective_type(M type) {
    constexpr E TYPES[] = {E::UC, E::UC_MINUS, E::WC, E::WP, E::WT, E::WB};
    return TYPES[column(type)];
}

EffectiveType combine_pat(M guest, M host) { return PAT_TABLE[column(guest)][column(host)]; }

EffectiveType combine_mtrr(E pat, M mtrr) {
    if (mtrr == M::UC_MINUS) {
        throw std::invalid_argument("UC- is not an MTRR type");
    }
    if (pat == E::CD) {
        return E::CD;
    }
    const unsigned at = column(mtrr);
    return MTRR_TABLE[static_cast<unsigned>(pat)][at == 0 ? 0 : at - 1];
}

EffectiveType guest_memory_type(M guest_pat, M host_pat, M mtrr, bool guest_cd, bool host_cd) {
    return guest_cd || host_cd ? E::CD : combine_mtrr(combine_pat(guest_pat, host_pat), mtrr);
}

unsigned pat_index(uint64_t entry, bool large_page) {
    const uint64_t pat = large_page ? x86::pte::PAT_LARGE : x86::pte::PAT_4K;
    return ((entry & pat) != 0 ? 4u : 0u) | ((entry & x86::pte::PCD) != 0 ? 2u : 0u) |
           ((entry & x86::pte::PWT) != 0 ? 1u : 0u);
}

M pat_type(uint64_t pat_msr, unsigned index) {
    const M type = static_cast<M>(pat_msr >> (8 * (index & 7)) & 0xff);
    column(type); // refuses reserved encodings
    return type;
}

std::string_view type_name(E type) {
    constexpr std::string_view NAMES[] = {"UC", "UC-", "WC", "WC+", "WP", "WT", "WB", "CD"};
    return NAMES[static_cast<unsigned>(type)];
}

} // namespace horos::model::svm
