// What the guest sees of CPUID: the host's answer, masked and completed by rules that are data.
#pragma once

#include <array>
#include <span>

#include "base.hpp"
#include "horos/abi/system.hpp"

namespace horos::vmm {

struct CpuidValue {
    u32 eax = 0, ebx = 0, ecx = 0, edx = 0;
    constexpr bool operator==(const CpuidValue&) const = default;
};

// A leaf that the guest may see: (host & keep) | set. Leaves without a rule read as zero.
struct CpuidMask {
    u32 leaf;
    u32 subleaf; // abi::any_subleaf: the leaf has none
    CpuidValue keep;
    CpuidValue set;
};

// The rules in force, in ascending order of leaf.
std::span<const CpuidMask> cpuid_masks();

struct CpuidInputs {
    CpuidValue (*host)(u32 leaf, u32 subleaf); // what the processor says
    u32 vcpus = 1;
    u64 xcr0 = 1;                            // bits the guest may set
    std::span<const abi::CpuidRule> rules{}; // from the system description, applied last
};

// The parts of the answer that depend on the virtual CPU that asks.
struct CpuidCaller {
    u32 apic_id = 0;
    bool osxsave = false; // CR4.OSXSAVE
    u64 xcr0 = 1;
};

class CpuidPolicy {
public:
    void build(const CpuidInputs& inputs);
    CpuidValue answer(u32 leaf, u32 subleaf, const CpuidCaller& caller) const;
    // The answer where it is the same for every subleaf and every caller, of the leaves that are
    // asked most; null elsewhere.
    const CpuidValue* plain(u32 leaf) const {
        return leaf < max_basic && (plain_leaves_ >> leaf & 1) != 0 ? &plain_[leaf] : nullptr;
    }
    u64 guest_xcr0() const { return guest_xcr0_; }
    // CR4 and EFER bits that follow from the features shown.
    bool has_nx() const;

private:
    static constexpr u32 max_entries = 80, max_basic = 0x20, max_extended = 0x20;
    static constexpr u8 no_entry = 0xff;
    struct Entry {
        u32 leaf = 0, subleaf = 0;
        CpuidValue value{};
    };
    const Entry* find(u32 leaf, u32 subleaf) const;
    void add(u32 leaf, u32 subleaf, const CpuidValue& value);
    void add_topology(u32 vcpus);
    void add_xsave(const CpuidInputs& inputs);
    void apply(std::span<const abi::CpuidRule> rules);
    void collect_plain();
    u32 xsave_bytes(u64 xcr0) const;

    std::array<Entry, max_entries> entries_{};
    u32 count_ = 0;
    // First entry of each leaf, so that an exit finds its answer without a search.
    std::array<u8, max_basic> basic_{};
    std::array<u8, max_extended> extended_{};
    std::array<u8, 2> hypervisor_{};
    u64 guest_xcr0_ = 1;
    u32 plain_leaves_ = 0; // a bit each
    std::array<CpuidValue, max_basic> plain_{};
};

} // namespace horos::vmm
