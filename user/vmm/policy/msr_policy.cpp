#include "policy/msr_policy.hpp"

#include <iterator>

namespace horos::vmm {
namespace {

constexpr u64 any = ~u64{0};

// MTRRs: no variable and no fixed ranges, write-combining known; all memory write-back. It is
// enough for Linux to enable PAT, and there is nothing in it that a guest could harm.
constexpr u64 mtrr_capabilities = bit(10);
constexpr u64 mtrr_enabled_write_back = bit(11) | 6;
// HWCR: the TSC counts at the rate of P-state 0 (bit 24), which Linux checks on AMD.
constexpr u64 hwcr_tsc_p0 = bit(24);
constexpr u64 lfence_serialising = bit(1);
constexpr u64 fast_strings = 1;

constexpr MsrRule rules[] = {
    {0x10, 0x10, MsrKind::tsc, 0, any},
    {0x17, 0x17, MsrKind::read_only, 0, 0}, // platform ID (Intel)
    {0x1b, 0x1b, MsrKind::apic_base, 0, any},
    {0x2a, 0x2a, MsrKind::fixed, 0, 0}, // power-on configuration (Intel)
    {0x3b, 0x3b, MsrKind::tsc_adjust, 0, any},
    {0x79, 0x79, MsrKind::fixed, 0, 0}, // microcode update trigger
    {0x8b, 0x8b, MsrKind::fixed, 0, 0}, // microcode revision
    {0xfe, 0xfe, MsrKind::read_only, mtrr_capabilities, 0},
    {0x179, 0x179, MsrKind::read_only, 0, 0}, // MCG_CAP: no banks
    {0x17a, 0x17a, MsrKind::stored, 0, 7},    // MCG_STATUS
    {0x1a0, 0x1a0, MsrKind::stored, fast_strings, any},
    {0x1d9, 0x1d9, MsrKind::stored, 0, 0x3},  // DEBUGCTL: LBR and BTF have no effect
    {0x1db, 0x1de, MsrKind::read_only, 0, 0}, // last-branch records
    {0x2ff, 0x2ff, MsrKind::stored, mtrr_enabled_write_back, 0xcff},
    {0x6e0, 0x6e0, MsrKind::tsc_deadline, 0, any},
    {0x800, 0x8ff, MsrKind::x2apic, 0, any},
    {0x4b56'4d00, 0x4b56'4d00, MsrKind::kvm_wall_clock, 0, any},
    {0x4b56'4d01, 0x4b56'4d01, MsrKind::kvm_system_time, 0, any},
    {0x4b56'4d04, 0x4b56'4d04, MsrKind::kvm_eoi, 0, any},
    {0xc000'0080, 0xc000'0080, MsrKind::efer, 0, any},
    {0xc001'0010, 0xc001'0010, MsrKind::stored, 0, 0x00ff'0000}, // SYSCFG
    {0xc001'0015, 0xc001'0015, MsrKind::stored, hwcr_tsc_p0, any},
    {0xc001'001a, 0xc001'001a, MsrKind::fixed, 0, 0},    // TOP_MEM
    {0xc001'001d, 0xc001'001d, MsrKind::fixed, 0, 0},    // TOP_MEM2
    {0xc001'001f, 0xc001'001f, MsrKind::stored, 0, any}, // NB_CFG
    {0xc001'0055, 0xc001'0055, MsrKind::fixed, 0, 0},    // interrupt pending message
    {0xc001'0058, 0xc001'0058, MsrKind::fixed, 0, 0},    // MMIO configuration base: none
    {0xc001'0112, 0xc001'0113, MsrKind::fixed, 0, 0},    // SMM segment: none
    {0xc001'0140, 0xc001'0141, MsrKind::fixed, 0, 0},    // OS-visible workarounds: none
    {0xc001'1020, 0xc001'1023, MsrKind::fixed, 0, 0},    // load-store, fetch, cache configuration
    {0xc001'1029, 0xc001'1029, MsrKind::stored, lfence_serialising, any},
    {0xc001'102a, 0xc001'102c, MsrKind::fixed, 0, 0},
};

constexpr MsrRule fault_rule{0, 0, MsrKind::fault, 0, 0};

} // namespace

std::span<const MsrRule> msr_rules() { return rules; }

MsrRule MsrPolicy::find(u32 number) const {
    for (const abi::MsrRule& rule : rules_) {
        if (rule.msr != number)
            continue;
        if (rule.action == abi::MsrAction::fixed)
            return {number, number, MsrKind::fixed, rule.value, 0};
        if (rule.action == abi::MsrAction::fault)
            return fault_rule;
    }
    // The table is ascending (a test checks): halve it.
    std::size_t low = 0, high = std::size(rules);
    while (low < high) {
        const std::size_t middle = (low + high) / 2;
        if (number > rules[middle].last)
            low = middle + 1;
        else
            high = middle;
    }
    return low < std::size(rules) && number >= rules[low].first ? rules[low] : fault_rule;
}

int MsrPolicy::storage_index(u32 number) {
    int index = 0;
    for (const MsrRule& rule : rules) {
        if (rule.kind != MsrKind::stored)
            continue;
        if (rule.first == number)
            return index;
        ++index;
    }
    return -1;
}

namespace {
constexpr u32 stored_count() {
    u32 count = 0;
    for (const MsrRule& rule : rules)
        count += rule.kind == MsrKind::stored;
    return count;
}
static_assert(stored_count() <= MsrPolicy::storage_count);
} // namespace

} // namespace horos::vmm
